"""Sub-commands that make and score runs: run, generate, score, merge."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import BENCHMARKS
from benchmarks.inspection_commands import add_inspection_commands
from evalkit.arguments import (
    EXIT_FAILURES,
    add_engine_arguments,
    add_sampling_arguments,
    default_output,
    folder_name,
    model_label,
    open_engine,
    positive,
    sampling_from,
    share,
)
from evalkit.errors import DataError, EngineError, UsageError

if TYPE_CHECKING:
    from evalkit.benchmark import Benchmark
    from evalkit.engines import Engine
    from evalkit.harness import Plan
    from evalkit.summary import Summary

SHORTHANDS = ("image_ids", "references", "variant")  # options with a flag of their own


def add_commands(commands: Any) -> None:
    """Add this layer's sub-commands."""
    add_inspection_commands(commands)

    run = commands.add_parser("run", help="generate and score: one checkpoint on one or more benchmarks")
    add_task_arguments(run)
    add_engine_arguments(run)
    add_sampling_arguments(run)
    add_judge_arguments(run)
    add_result_arguments(run)
    run.add_argument(
        "--check-parity",
        type=positive,
        metavar="N",
        help="first prove on N items that batched text equals batch-1 text",
    )
    run.set_defaults(command=run_benchmarks)

    generate = commands.add_parser("generate", help="only ask the model; score later, elsewhere, with `evalkit score`")
    add_task_arguments(generate)
    add_engine_arguments(generate)
    add_sampling_arguments(generate)
    generate.add_argument("--output-path", type=Path, default=default_output(), metavar="DIR")
    generate.set_defaults(command=generate_responses)

    score = commands.add_parser("score", help="score stored responses: a run's, or files made elsewhere")
    score.add_argument("target", metavar="RUN|BENCHMARK", help="a run directory, or a benchmark with --responses FILE")
    score.add_argument(
        "--responses",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="responses made elsewhere, joined by id or content",
    )
    score.add_argument(
        "--format", default="auto", metavar="F", help="format of --responses (default: told by its content)"
    )
    score.add_argument("--partial", action="store_true", help="allow responses for a part of the items")
    score.add_argument("--label", help="name of the model in tables (default: the file's name)")
    add_task_options(score)
    add_judge_arguments(score)
    add_result_arguments(score)
    score.set_defaults(command=score_responses)

    merge = commands.add_parser("merge", help="join the shards of a job array (--shard) into one run")
    merge.add_argument("shards", nargs="+", type=Path, metavar="RUN")
    merge.add_argument("--output-path", type=Path, default=default_output(), metavar="DIR")
    add_task_options(merge)
    merge.set_defaults(command=merge_runs)


def add_task_arguments(parser: argparse.ArgumentParser) -> None:
    """--tasks and what a benchmark can be told."""
    tasks_argument(parser)
    add_task_options(parser)


def tasks_argument(parser: argparse.ArgumentParser) -> None:
    """--tasks."""
    known = ", ".join(BENCHMARKS)
    parser.add_argument("--tasks", required=True, metavar="A,B", help=f"benchmarks: {known}, or package.module:Class")


def add_task_options(parser: argparse.ArgumentParser) -> None:
    """Data, items and variants."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("EVALKIT_DATA"),
        metavar="DIR",
        help="folder laid out as `evalkit doctor` says (or EVALKIT_DATA)",
    )
    group.add_argument("--world", type=Path, metavar="DIR", help="a miniature world instead of the real data")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="BENCHMARK.OPTION=VALUE",
        help="an option of a benchmark, see `evalkit list BENCHMARK`; repeatable",
    )
    group.add_argument("--image-ids", metavar="FILE", help="list of image ids")
    group.add_argument("--references", metavar="FILE", help="ready reference objects {image_id: [objects]}")
    group.add_argument("--variant", help="variant of the scorer")
    group.add_argument("--limit", type=positive, metavar="N", help="the first N items only")
    group.add_argument(
        "--shard", metavar="I/N", help="every N-th item from the I-th, for job arrays; join with `evalkit merge`"
    )


def add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    """Who judges, for the benchmarks that need it."""
    group = parser.add_argument_group("judge (Object HalBench with an extractor, MMHal-Bench)")
    group.add_argument(
        "--judge",
        metavar="M",
        help="model name at a server, a checkpoint with --judge-engine, or 'rules' (miniature world only)",
    )
    group.add_argument("--judge-engine", choices=("openai", "vllm", "transformers"), default="openai")
    group.add_argument("--judge-base-url", action="append", metavar="URL")
    group.add_argument("--judge-args", action="append", default=[], metavar="KEY=VALUE")
    group.add_argument(
        "--budget", metavar="B", help="stop cleanly before judging takes more: calls:500, tokens:2e6 or usd:5"
    )
    group.add_argument("--price", metavar="P", help="IN,OUT in USD per million tokens, or a TOML table of models")
    group.add_argument(
        "--dry-run", action="store_true", help="say how many generations and judge calls this takes, and stop"
    )


def add_result_arguments(parser: argparse.ArgumentParser) -> None:
    """Where results go and how they are printed."""
    group = parser.add_argument_group("results")
    group.add_argument(
        "--output-path",
        type=Path,
        default=default_output(),
        metavar="DIR",
        help="runs go to DIR/<model>/<benchmark> (default: ./runs)",
    )
    group.add_argument(
        "--tolerance",
        type=share,
        default=0.02,
        metavar="F",
        help="share of failed samples beyond which the exit code is 2 (default 0.02)",
    )
    group.add_argument(
        "--rescore", action="store_true", help="allow other scoring settings than the run was scored with"
    )


def run_benchmarks(options: argparse.Namespace) -> int:
    """`evalkit run`: every task in turn through one engine, then the table."""
    from benchmarks.judging import judge_from
    from evalkit.harness import generate, score
    from evalkit.progress import ProgressBar

    plans = plans_of(options)
    if options.dry_run:
        return _forecast(options, plans)
    judge = judge_from(options)
    engine = open_engine(options)
    label = model_label(options)
    summaries: list[Summary] = []
    try:
        if options.check_parity:
            _prove_parity(engine, plans, options.check_parity)
        for work in plans:
            run_dir = options.output_path / label / work.benchmark.name
            with ProgressBar(f"{label} {work.benchmark.name}") as progress:
                generate(work, engine, run_dir, label, progress)
                summaries.append(score(work, run_dir, judge, progress, options.rescore))
    finally:
        engine.close()
        if judge is not None:
            judge.engine.close()
    return finish(summaries, options.tolerance)


def generate_responses(options: argparse.Namespace) -> int:
    """`evalkit generate`: the generate stage alone."""
    from evalkit.harness import generate
    from evalkit.progress import ProgressBar

    plans = plans_of(options)
    engine = open_engine(options)
    label = model_label(options)
    try:
        for work in plans:
            run_dir = options.output_path / label / work.benchmark.name
            with ProgressBar(f"{label} {work.benchmark.name}") as progress:
                generate(work, engine, run_dir, label, progress)
            print(f"{run_dir}: {len(work.items) * work.sampling.n} responses; next: evalkit score {run_dir}")
    finally:
        engine.close()
    return 0


def score_responses(options: argparse.Namespace) -> int:
    """`evalkit score`: a run directory, or responses made elsewhere."""
    from benchmarks.judging import judge_from
    from benchmarks.stored import default_label, import_run, plan_of_run
    from evalkit.harness import score
    from evalkit.progress import ProgressBar

    if options.responses:
        _check_settings(options.set, [options.target])
        benchmark, origin = _benchmark(options, options.target)
        label = folder_name(options.label or default_label(options.responses))
        run_dir = options.output_path / label / benchmark.name
        work = import_run(
            benchmark,
            options.responses,
            run_dir,
            label,
            format_name=options.format,
            partial=options.partial,
            origin=origin,
        )
    else:
        run_dir = Path(options.target)
        work = plan_of_run(run_dir, _rebuild(options))
    judge = judge_from(options)
    try:
        with ProgressBar(f"score {run_dir.name}") as progress:
            summary = score(work, run_dir, judge, progress, options.rescore)
    finally:
        if judge is not None:
            judge.engine.close()
    return finish([summary], options.tolerance)


def merge_runs(options: argparse.Namespace) -> int:
    """`evalkit merge`: the shards of a job array become one run."""
    from benchmarks.stored import merge_shards
    from evalkit.records import read_manifest

    manifest = read_manifest(options.shards[0])
    run_dir = options.output_path / str(manifest["label"]) / str(manifest["benchmark"])
    work = merge_shards(options.shards, run_dir, _rebuild(options))
    print(
        f"{run_dir}: {len(work.items) * work.sampling.n} responses of {len(options.shards)} shards; "
        f"next: evalkit score {run_dir}"
    )
    return 0


def finish(summaries: "list[Summary]", tolerance: float) -> int:
    """Print the table; exit code 2 if a run has more failures than tolerated."""
    from evalkit.report import table

    print(table([summary.run_dir for summary in summaries]))
    over = [s for s in summaries if s.n_total and 1 - s.n_scored / s.n_total > tolerance]
    for summary in over:
        print(
            f"evalkit: {summary.run_dir}: {summary.n_total - summary.n_scored} of {summary.n_total} samples failed, "
            f"more than the tolerated {tolerance:.0%}, e.g. {summary.first_failure}; the same command tries them again",
            file=sys.stderr,
        )
    return EXIT_FAILURES if over else 0


def plans_of(options: argparse.Namespace) -> "list[Plan]":
    """A plan per task of the command line."""
    from evalkit.harness import plan

    shard = _shard(options.shard)
    names = [name for name in dict.fromkeys(options.tasks.replace(" ", ",").split(",")) if name]
    if not names:
        raise UsageError("--tasks names no benchmark")
    _check_settings(options.set, names)
    plans = []
    for name in names:
        benchmark, origin = _benchmark(options, name)
        plans.append(plan(benchmark, sampling_from(options, benchmark.sampling), options.limit, shard, origin))
    if getattr(options, "engine", None) != "replay":
        _need_images(plans)
    return plans


def _need_images(plans: "list[Plan]") -> None:
    """A model must not be asked about images that nobody showed it."""
    for work in plans:
        blind = [item.id for item in work.items if item.image is None]
        if blind:
            name = work.benchmark.name
            raise DataError(
                f"{name}: {len(blind)} items have no image, e.g. {blind[0]!r}; name the image folder with "
                f"--set {name}.images=DIR, or lay the data out as `evalkit doctor {name}` says and give --data"
            )


def _benchmark(options: argparse.Namespace, name: str) -> "tuple[Benchmark, dict[str, Any]]":
    """A benchmark, and how to build it again; responses made elsewhere are scored without images."""
    from benchmarks.layout import located
    from benchmarks.registry import build, options_of

    name = name.replace("-", "_") if name.replace("-", "_") in BENCHMARKS else name
    known = options_of(name)
    given = located(name, Path(options.data)) if options.data and not options.world else {}
    given |= {key: getattr(options, key) for key in SHORTHANDS if getattr(options, key) and key in known}
    made_elsewhere = bool(getattr(options, "responses", None)) and not options.world
    if made_elsewhere and "without_images" in known and "images" not in given:
        given["without_images"] = "true"
    given |= _task_settings(options.set, name)
    world = options.world.resolve() if options.world else None
    origin = {"name": name, "options": given, "world": str(world) if world else None}
    return build(name, given, world), origin


def _rebuild(options: argparse.Namespace) -> "Callable[[str, Mapping[str, Any]], Benchmark]":
    """Builds the benchmark of a stored run: its own options, with those of this command line over them."""
    from benchmarks.registry import build

    def rebuilt(name: str, origin: "Mapping[str, Any]") -> "Benchmark":
        stored = dict(origin.get("options") or {})
        world = options.world.resolve() if options.world else Path(origin["world"]) if origin.get("world") else None
        given = {key: getattr(options, key) for key in SHORTHANDS if getattr(options, key, None)}
        own = str(origin.get("name") or name)
        return build(own, stored | given | _task_settings(options.set, own), world)

    return rebuilt


def _check_settings(pairs: list[str], names: list[str]) -> None:
    """A --set for a benchmark that is not asked for is a slip of the pen."""
    for pair in pairs:
        task = pair.partition("=")[0].rpartition(".")[0]
        if task and task.replace("-", "_") not in {*names, *(name.replace("-", "_") for name in names)}:
            raise UsageError(f"--set {pair!r}: {task!r} is none of the benchmarks asked for: {', '.join(names)}")


def _task_settings(pairs: list[str], name: str) -> dict[str, str]:
    """The --set words of one benchmark."""
    settings: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        task, dot, option = key.rpartition(".")
        if not equals or not dot:
            raise UsageError(f"--set {pair!r}: expected BENCHMARK.OPTION=VALUE")
        if task.replace("-", "_") == name:
            settings[option] = value
    return settings


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    index, slash, count = text.partition("/")
    if not slash or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in (index, count)):
        raise UsageError(f"--shard {text[:40]!r}: expected I/N, e.g. 1/8")
    return int(index), int(count)


def _forecast(options: argparse.Namespace, plans: "list[Plan]") -> int:
    """`--dry-run`: what a run would ask, without asking."""
    from benchmarks.judging import judge_from, price_from
    from evalkit.benchmark import Judged
    from evalkit.judge import JudgeRequest

    judge = judge_from(options)
    for work in plans:
        responses = len(work.items) * work.sampling.n
        print(f"{work.benchmark.name}: {responses:,} generations of at most {work.sampling.max_new_tokens} tokens")
        benchmark = work.benchmark
        if not isinstance(benchmark, Judged) or judge is None:
            continue
        long_response = "word " * work.sampling.max_new_tokens  # the judge reads the response; take it at its longest
        requests = [
            JudgeRequest(item.id, index, prompt)
            for item in work.items
            for index in range(work.sampling.n)
            if (prompt := benchmark.judge_prompt(item, long_response)) is not None
        ]
        print(f"judge {judge.engine.describe().get('model', judge.engine.name)}:")
        print(judge.forecast(requests, benchmark.judge_sampling(), (), price_from(options)))
    return 0


def _prove_parity(engine: "Engine", plans: "list[Plan]", count: int) -> None:
    """`--check-parity N`: stop if batched text differs from batch-1 text."""
    from evalkit.engines.transformers import TransformersEngine
    from evalkit.parity import check_parity

    prompts = [prompt for work in plans for prompt in work.prompts]
    if not isinstance(engine, TransformersEngine):
        raise UsageError("--check-parity is for the transformers engine")
    report = check_parity(engine, prompts, count)
    print("\n".join(report.lines()))
    if not report.explained:
        raise EngineError("batched text differs from batch-1 text; run with --batch-size 1, or in --dtype float32")
