"""Sub-commands that make and score runs: run, generate, score, merge."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cli.arguments import (
    add_forecast_argument,
    add_judge_arguments,
    add_result_arguments,
    add_task_arguments,
    add_task_options,
)
from benchmarks.cli.export_commands import add_export_command
from benchmarks.cli.forecast_commands import forecast_run, forecast_scoring, needs_judge
from benchmarks.cli.front_commands import add_front_command
from benchmarks.cli.import_commands import add_import_command
from benchmarks.cli.inspection_commands import add_inspection_commands
from benchmarks.cli.planning import asked_from, plans_of, rebuild, trusted
from benchmarks.cli.protocol import add_protocol_argument, obeyed
from benchmarks.cli.scoring_commands import score_several, stored_run
from evalkit.cli.arguments import (
    EXIT_FAILURES,
    add_sampling_arguments,
    default_output,
    folder_name,
    model_label,
    positive,
)
from evalkit.cli.engines import add_engine_arguments, open_engine
from evalkit.errors import EngineError, UsageError

if TYPE_CHECKING:
    from evalkit.engines import Engine
    from evalkit.harness.results import Summary
    from evalkit.harness.stages import Plan


def add_commands(commands: Any) -> None:
    """Add this layer's sub-commands."""
    add_inspection_commands(commands)
    add_export_command(commands)
    add_import_command(commands)
    add_front_command(commands)
    _add_run_commands(commands)
    _add_score_command(commands)
    _add_merge_command(commands)


def _add_run_commands(commands: Any) -> None:
    run = commands.add_parser("run", help="generate and score: one checkpoint on one or more benchmarks")
    add_task_arguments(run)
    add_engine_arguments(run)
    add_sampling_arguments(run)
    add_protocol_argument(run)
    add_judge_arguments(run)
    add_forecast_argument(run)
    add_result_arguments(run)
    run.add_argument(
        "--check-parity",
        type=positive,
        metavar="N",
        help="first check on N items that batched text equals batch-1 text",
    )
    run.set_defaults(command=run_benchmarks)

    generate = commands.add_parser("generate", help="only generate responses; score them later with `evalkit score`")
    add_task_arguments(generate)
    add_engine_arguments(generate)
    add_sampling_arguments(generate)
    add_protocol_argument(generate)
    generate.add_argument("--output-path", type=Path, default=default_output(), metavar="DIR")
    generate.set_defaults(command=generate_responses)


def _add_score_command(commands: Any) -> None:
    score = commands.add_parser("score", help="score stored responses: a run's, or files made elsewhere")
    score.add_argument(
        "targets",
        nargs="+",
        metavar="RUN|BENCHMARK",
        help="run directories, or a benchmark with --responses FILE",
    )
    score.add_argument(
        "--jobs", type=positive, default=1, metavar="N", help="score N run directories at once, each in a process"
    )
    score.add_argument(
        "--responses",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="responses made elsewhere, joined by id or content",
    )
    score.add_argument(
        "--format", default="auto", metavar="F", help="format of --responses (default: detected from the content)"
    )
    score.add_argument("--partial", action="store_true", help="accept responses to only some of the items")
    score.add_argument("--label", help="name of the model in tables (default: the file's name)")
    add_task_options(score)
    add_judge_arguments(score)
    score.add_argument(
        "--judge-texts",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="replies that a judge wrote elsewhere, joined by id; no judge is called (--judge only names it)",
    )
    add_forecast_argument(score)
    add_result_arguments(score)
    score.set_defaults(command=score_responses)


def _add_merge_command(commands: Any) -> None:
    merge = commands.add_parser("merge", help="join the shards of a job array (--shard) into one run")
    merge.add_argument("shards", nargs="+", type=Path, metavar="RUN")
    merge.add_argument("--output-path", type=Path, default=default_output(), metavar="DIR")
    add_task_options(merge)
    merge.set_defaults(command=merge_runs)


def run_benchmarks(options: argparse.Namespace) -> int:
    """`evalkit run`: every task in turn through one engine, then the table."""
    from benchmarks.cli.judging import judge_from
    from evalkit.harness.stages import generate, score
    from evalkit.process.progress import ProgressBar

    plans = plans_of(options)
    if options.dry_run:
        return forecast_run(options, plans)
    for line in obeyed(options, [work.benchmark.name for work in plans]):
        print(line, file=sys.stderr)
    judge = judge_from(options)
    unjudged = [work.benchmark.name for work in plans if judge is None and needs_judge(work)]
    if unjudged:  # said before hours of generation, not after them
        raise UsageError(
            f"{', '.join(unjudged)}: the responses need a judge; name one with --judge, choose a variant that needs "
            "none, or only `evalkit generate` now"
        )
    engine = open_engine(options, [entry for work in plans for entry in work.benchmark.formats])
    label = model_label(options) + ("" if options.label else asked_from(options).suffix)
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
    from evalkit.harness.stages import generate
    from evalkit.process.progress import ProgressBar

    plans = plans_of(options)
    for line in obeyed(options, [work.benchmark.name for work in plans]):
        print(line, file=sys.stderr)
    engine = open_engine(options, [entry for work in plans for entry in work.benchmark.formats])
    label = model_label(options) + ("" if options.label else asked_from(options).suffix)
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
    """`evalkit score`: run directories, or responses made elsewhere."""
    from tempfile import TemporaryDirectory

    if options.dry_run and len(options.targets) == 1:
        options.target = options.targets[0]
        with TemporaryDirectory() as scratch:
            return forecast_scoring(options, *stored_run(options, Path(scratch)))
    return finish(score_several(options, options.targets, options.jobs), options.tolerance)


def merge_runs(options: argparse.Namespace) -> int:
    """`evalkit merge`: the shards of a job array become one run."""
    from evalkit.harness.stored import merge_shards
    from evalkit.runs.records import read_manifest

    manifest = read_manifest(options.shards[0])
    name = trusted(str(manifest.get("benchmark")), options.benchmark)
    run_dir = options.output_path / folder_name(str(manifest.get("label"))) / folder_name(name)
    work = merge_shards(options.shards, run_dir, rebuild(options))
    print(
        f"{run_dir}: {len(work.items) * work.sampling.n} responses of {len(options.shards)} shards; "
        f"next: evalkit score {run_dir}"
    )
    return 0


def finish(summaries: "list[Summary]", tolerance: float) -> int:
    """Print the table and where the runs lie; exit code 2 if a run has more failures than tolerated."""
    from evalkit.reports.runs import table
    from evalkit.reports.tables import terminal_width

    print(table([summary.run_dir for summary in summaries], width=terminal_width()))
    print(f"\nkept in {', '.join(str(summary.run_dir) for summary in summaries)}")
    for remark in dict.fromkeys(remark for summary in summaries for remark in summary.remarks):
        print(f"evalkit: {remark}", file=sys.stderr)
    over = [s for s in summaries if s.n_total and 1 - s.n_scored / s.n_total > tolerance]
    for summary in over:
        print(
            f"evalkit: {summary.run_dir}: {summary.n_total - summary.n_scored} of {summary.n_total} samples failed, "
            f"more than the tolerated {tolerance:.0%}, e.g. {summary.first_failure}; "
            "rerun the same command to retry them",
            file=sys.stderr,
        )
    return EXIT_FAILURES if over else 0


def _prove_parity(engine: "Engine", plans: "list[Plan]", count: int) -> None:
    """`--check-parity N`: stop if batched text differs from batch-1 text."""
    from evalkit.engines.model.parity import check_parity
    from evalkit.engines.transformers import TransformersEngine

    prompts = [prompt for work in plans for prompt in work.prompts]
    if not isinstance(engine, TransformersEngine):
        raise UsageError("--check-parity is for the transformers engine")
    report = check_parity(engine, prompts, count)
    print("\n".join(report.lines()))
    if not report.explained:
        raise EngineError("batched text differs from batch-1 text; run with --batch-size 1, or in --dtype float32")
