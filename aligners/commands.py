"""Sub-commands that train and compare checkpoints: align, pairs, demo."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aligners.cli.pair_commands import add_pairs_command
from aligners.cli.plan_commands import add_plan_arguments, print_plan
from aligners.cli.quick_commands import add_quick_arguments, quick_from
from aligners.cli.role_commands import add_role_arguments, engines_of
from aligners.cli.stage_commands import add_stage_arguments, launched_by, work_on_stage
from aligners.presets import DPO_PRESETS, FACT_RLHF_PRESETS, RLAIF_PRESETS
from benchmarks.cli.arguments import add_item_arguments, add_judge_arguments, add_task_options, tasks_argument
from benchmarks.cli.planning import plans_of
from evalkit.cli.arguments import add_sampling_arguments, default_output, not_negative, positive
from evalkit.cli.engines import add_engine_choice, open_engine
from evalkit.cli.options import key_values, literal
from evalkit.errors import UsageError
from evalkit.process.libraries import library_version, quick_imports

TRACKERS = ("wandb", "trackio", "tensorboard")
ALIGN = """Training takes a checkpoint that transformers can load and writes a new one to a folder.
Rerun the same command to resume a stopped run. Settings are those of a preset,
--set changes them; an unknown name lists them all.

examples:
  evalkit align ddpo --model M --data pairs.jsonl --output-path out --set lora=true
  evalkit align rlaif --model M --prompts prompts.jsonl --labeler L --output-path out
  evalkit align compare M out --tasks chair,pope --data DIR

several GPUs, for ddpo and rlaif (FSDP, DeepSpeed: the files in aligners/profiles):
  torchrun --nproc_per_node 8 --module evalkit align ddpo ...
"""
DDPO = """Dense DPO (RLHF-V): tokens in which `chosen` differs from `rejected` count gamma times.

One pair per line in --data, image paths relative to the file's folder:
  {"id": "1", "image": "a.jpg", "prompt": "...", "chosen": "...", "rejected": "..."}
`evalkit pairs FILE` counts what is in a file. Pairs that cannot be trained on (an empty
response, the same text twice, too long) are left out and counted; an image that does
not open is an error, or with --set bad_images=skip counted too.
"""
RLAIF = """Online feedback (RLAIF-V), in rounds: the policy answers each prompt several times, the
answers are divided into claims, a labeler says yes or no to each claim, answers with
fewer refuted claims are preferred, and DPO trains on the pairs.

One command does it all. With --stage each step is a command of its own, which holds one
model and may run on other devices or another machine; --launcher trains on several GPUs.

One prompt per line in --prompts, image paths relative to the file's folder:
  {"id": "1", "image": "a.jpg", "prompt": "..."}
"""
FACT_RLHF = """Fact-augmented RLHF (LLaVA-RLHF): a reward model that reads true sentences about the
image, then RL against it. The files are lists (facts: an object) in LLaVA-RLHF's form:

  comparisons  {"image": "a.jpg", "conversations": [{"from": "human", "value": "..."}],
               "output_1": {"value": "..."}, "output_2": {"value": "..."},
               "preference": 1 or 2}
  prompts      {"image": "a.jpg", "conversations": [{"from": "human", "value": "..."}],
               "caption_type": 1 to 7, "length_bonus": 1.0}
  facts        {"a.jpg": ["A dog sleeps on a sofa.", "..."]}

An image without facts is an error, or with --set missing_facts=skip left out and counted.
"""
COMPARE = """Score every checkpoint on every benchmark, then print one table per benchmark: values with
intervals, and paired differences to the first checkpoint.
"""


def add_commands(commands: Any) -> None:
    """Add this layer's sub-commands."""
    align = commands.add_parser(
        "align",
        help="train with dense DPO, online RLAIF or fact-augmented RLHF; compare checkpoints",
        epilog=ALIGN,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    methods = align.add_subparsers(title="methods", metavar="METHOD", required=True)
    _add_ddpo(methods)
    _add_rlaif(methods)
    _add_fact_rlhf(methods)
    _add_compare(methods)

    add_pairs_command(commands)

    demo = commands.add_parser("demo", help="everything on a miniature world: no download, no GPU, a few minutes")
    demo.add_argument("--output-path", type=Path, default=Path("demo"), metavar="DIR")
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument("--scenes", type=positive, default=200, metavar="N", help="test scenes (default 200)")
    demo.add_argument("--no-align", action="store_true", help="base and benchmarks only")
    demo.set_defaults(command=demonstrate)


def _add_method(methods: Any, name: str, about: str, text: str, presets: Sequence[str]) -> argparse.ArgumentParser:
    """A training method; the first of its presets is the default."""
    parser: argparse.ArgumentParser = methods.add_parser(
        name, help=about, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, metavar="M", help="checkpoint to start from")
    parser.add_argument(
        "--output-path",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the new checkpoint; rerun the same command to resume",
    )
    parser.add_argument(
        "--preset", default=presets[0], help=f"published settings: {', '.join(presets)} (default {presets[0]})"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting, e.g. lora=true, learning_rate=1e-5, batch_size=8, epochs=1, seed=1; repeatable; an "
        "unknown name lists them all",
    )
    add_plan_arguments(parser)
    return parser


def _add_ddpo(methods: Any) -> None:
    about = "dense DPO (RLHF-V) on corrected or preferred responses"
    parser = _add_method(methods, "ddpo", about, DDPO, tuple(DPO_PRESETS))
    parser.add_argument(
        "--data",
        required=True,
        metavar="FILE",
        help="pairs.jsonl, RLHF-V-Dataset or RLAIF-V-Dataset rows, a study (evalkit annotate), or a Hub name",
    )
    parser.add_argument(
        "--omissions",
        type=not_negative,
        default=0,
        metavar="N",
        help="of a study of corrections: N more pairs per correction, whose rejected response lacks a sentence that "
        "was left as it is; keeps the model from saying less (default 0)",
    )
    _add_report_argument(parser)
    add_quick_arguments(parser)
    parser.set_defaults(command=align_ddpo)


def _add_rlaif(methods: Any) -> None:
    about = "online RLAIF (RLAIF-V): sample, check claims, prefer, train, again"
    parser = _add_method(methods, "rlaif", about, RLAIF, tuple(RLAIF_PRESETS))
    parser.add_argument("--prompts", type=Path, required=True, metavar="FILE", help="jsonl with id, image, prompt")
    add_role_arguments(parser)
    add_stage_arguments(parser)
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of sampling and drawing pairs; for training use --set seed=N"
    )
    _add_report_argument(parser)
    parser.set_defaults(command=align_rlaif)


def _add_fact_rlhf(methods: Any) -> None:
    parser = _add_method(
        methods,
        "fact-rlhf",
        "fact-augmented RLHF (LLaVA-RLHF): reward model with facts, PPO",
        FACT_RLHF,
        ("fact-rlhf-masked", *sorted(FACT_RLHF_PRESETS.keys() - {"fact-rlhf-masked"})),
    )
    parser.add_argument("--comparisons", type=Path, required=True, metavar="FILE", help="LLaVA-RLHF comparisons (json)")
    parser.add_argument("--prompts", type=Path, required=True, metavar="FILE", help="LLaVA-RLHF rollout prompts (json)")
    parser.add_argument("--facts", type=Path, required=True, metavar="FILE", help="image file -> sentences (json)")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the images")
    parser.add_argument("--supervised", type=Path, metavar="FILE", help="LLaVA conversations for a supervised start")
    parser.add_argument(
        "--rl",
        choices=("ppo", "rloo", "grpo"),
        default="ppo",
        help="ppo: the paper's, in one process (default); rloo, grpo: TRL's trainers, on several (extra rl)",
    )
    _add_report_argument(parser)
    parser.set_defaults(command=align_fact_rlhf)


def _add_report_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report-to", action="append", default=[], choices=TRACKERS, metavar="W", help=", ".join(TRACKERS)
    )


def _reports(options: argparse.Namespace) -> list[str]:
    """Where lines of the log go besides training.jsonl.

    Raises:
        UsageError: if the package is not installed.
    """
    for name in options.report_to:
        if library_version(name) is None:
            raise UsageError(f"--report-to {name}: pip install {name}")
    return list(options.report_to)


def _add_compare(methods: Any) -> None:
    parser = methods.add_parser(
        "compare",
        help="checkpoints x benchmarks in one table, with paired differences to the first",
        description=COMPARE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoints", nargs="+", metavar="CHECKPOINT", help="the base first; with a server, names of its models"
    )
    tasks_argument(parser)
    add_task_options(parser)
    add_item_arguments(parser)
    add_sampling_arguments(parser)
    add_judge_arguments(parser)
    add_engine_choice(parser.add_argument_group("engine of every checkpoint"))
    parser.add_argument("--output-path", type=Path, default=default_output(), metavar="DIR")
    parser.add_argument("--format", choices=("terminal", "markdown", "latex"), default="terminal")
    parser.set_defaults(command=compare_checkpoints)


def align_ddpo(options: argparse.Namespace) -> int:
    """`evalkit align ddpo`."""
    if options.plan:
        return print_plan(options, "ddpo", _overrides(options))
    with quick_imports():
        from aligners.ddpo import align_ddpo as train
    from evalkit.process.progress import ProgressBar

    with ProgressBar("ddpo") as progress:
        result = train(
            options.model,
            options.data,
            options.output_path,
            options.preset,
            _overrides(options),
            omissions=options.omissions,
            progress=progress,
            report_to=_reports(options),
            quick=quick_from(options),
        )
    for reason, count in result.skipped.items():
        print(f"{'' if reason.endswith('(kept)') else 'left out: '}{count} pairs: {reason}")
    print(f"{result.checkpoint}: {result.pairs} pairs, {result.steps} steps, {result.seconds:.0f} s")
    _say_identical(result.checkpoint)
    if not options.omissions and _is_study_of_corrections(Path(options.data)):
        print("corrections alone teach a model to say less: look at recall too, or train with --omissions 2")
    return 0


def _is_study_of_corrections(path: Path) -> bool:
    from evalkit.annotation.study import is_study, read_study

    return is_study(path) and read_study(path).task == "correct"


def align_rlaif(options: argparse.Namespace) -> int:
    """`evalkit align rlaif`."""
    if options.plan:
        return print_plan(options, "rlaif", _overrides(options))
    with quick_imports():
        from aligners.rlaif import rlaif_run
    from evalkit.process.progress import ProgressBar

    roles = engines_of(options)
    with ProgressBar("rlaif") as progress:
        run = rlaif_run(
            options.model,
            options.prompts,
            options.output_path,
            options.preset,
            _overrides(options),
            labeler=roles.labeler,
            splitter=roles.splitter,
            open_engine=roles.open_policy,
            seed=options.seed,
            progress=progress,
            report_to=_reports(options),
            launch=launched_by(options, sys.argv[1:]),
        )
        if options.stage:
            return work_on_stage(run, options)
        result = run.go()
    print(
        f"{result.checkpoint}: iteration {result.chosen} of {len(result.iterations)}; "
        f"{result.pairs} pairs, {result.steps} steps, {result.seconds:.0f} s"
    )
    _say_identical(*(result.checkpoint / f"iteration_{row['iteration']}" / "checkpoint" for row in result.iterations))
    return 0


def _say_identical(*checkpoints: Path) -> None:
    """How much of what was saved is what each training began with, where that is known."""
    from aligners.training.checkpoint import IDENTICAL, read_card

    cards = [card for card in map(read_card, checkpoints) if card is not None and IDENTICAL in card.cost]
    if cards:
        shares = ", ".join(f"{100 * card.cost[IDENTICAL]:.1f}" for card in cards)
        print(
            f"{shares} % of the saved weights are, bit by bit, those {'it' if len(cards) == 1 else 'each iteration'} "
            "started from (--set save_dtype=float32 keeps smaller steps)"
        )


def align_fact_rlhf(options: argparse.Namespace) -> int:
    """`evalkit align fact-rlhf`."""
    overrides = ({} if options.rl == "ppo" else {"rl": options.rl}) | _overrides(options)
    if options.plan:
        return print_plan(options, "fact-rlhf", overrides)
    with quick_imports():
        from aligners.fact_rlhf.recipe import align_fact_rlhf as train
    from evalkit.process.progress import ProgressBar

    with ProgressBar("fact-rlhf") as progress:
        result = train(
            options.model,
            options.comparisons,
            options.prompts,
            options.facts,
            options.output_path,
            options.preset,
            overrides,
            image_folder=options.images,
            supervised=options.supervised,
            progress=progress,
            report_to=_reports(options),
        )
    for reason, count in result.skipped.items():
        print(f"left out: {count} {reason}")
    print(f"{result.checkpoint}: {result.rollouts} rollouts, {result.seconds:.0f} s")
    _say_identical(result.checkpoint)
    accuracy, count = result.reward_model.accuracy, result.reward_model.held_out
    if accuracy.value is None:
        print("reward model: its accuracy is not known, no comparison was held out")
    else:
        bounds = "" if accuracy.low is None else f", {accuracy.low:.1f} to {accuracy.high:.1f}"
        print(f"reward model: {accuracy.value:.1f} % of {count} held-out comparisons right{bounds}")
    return 0


def compare_checkpoints(options: argparse.Namespace) -> int:
    """`evalkit align compare`: score every checkpoint on every task, then one table per benchmark."""
    with quick_imports():
        from aligners.compare import comparison_tables, imported_tasks, render_all
    from benchmarks.cli.judging import judge_from
    from evalkit.harness.stages import generate, score
    from evalkit.process.progress import ProgressBar

    labels = [Path(checkpoint.rstrip("/")).name for checkpoint in options.checkpoints]
    if len(set(labels)) < len(labels):
        raise UsageError(f"checkpoints need different folder names, got {', '.join(labels)}")
    plans, judge = plans_of(options), judge_from(options)
    formats = [form for work in plans for form in work.benchmark.formats]
    for checkpoint, label in zip(options.checkpoints, labels, strict=True):
        engine = open_engine(argparse.Namespace(**vars(options) | {"model": checkpoint}), formats)
        try:
            with ProgressBar(label) as progress:
                for work in plans:
                    run_dir = options.output_path / label / work.benchmark.name
                    generate(work, engine, run_dir, label, progress)
                    score(work, run_dir, judge, progress)
        finally:
            engine.close()
    folders = [options.output_path / label for label in labels]
    cards = {label: Path(checkpoint) for label, checkpoint in zip(labels, options.checkpoints, strict=True)}
    names = [work.benchmark.name for work in plans]
    names += [name for name in imported_tasks(folders) if name not in names]
    print(render_all(comparison_tables(folders[0], folders[1:], cards, benchmarks=names), options.format))
    return 0


def demonstrate(options: argparse.Namespace) -> int:
    """`evalkit demo`."""
    with quick_imports():
        from aligners.miniature import demo
        from aligners.miniature.base import cached_base
    from evalkit.process.progress import ProgressBar, hide_loading_bars
    from evalkit.reports.runs import table
    from evalkit.reports.tables import terminal_width

    hide_loading_bars()
    start, folder = time.monotonic(), options.output_path
    if own := demo.language_data_is_ready():
        print(
            f"NLTK's own data is not on this machine: {own} stands in and is named in every signature "
            f"(NLTK_DATA={os.environ['NLTK_DATA']})"
        )
    world = demo.world_folder(folder, options.scenes, options.seed)
    _say(start, f"{options.scenes} scenes in {world}")
    _say(start, "base: a tiny LLaVA, trained here on noisy captions (about two minutes, once per machine)")
    with ProgressBar("base") as progress:
        base = cached_base(options.seed, progress)
    runs, checkpoints = folder / "runs", folder / "checkpoints"
    _say(start, f"base: {base}; scoring it on {', '.join(demo.TASKS)}")
    with ProgressBar("base") as progress:
        summaries = demo.score_checkpoint(base, "base", world, runs, demo.TASKS, progress)
    print(table([summary.run_dir for summary in summaries], width=terminal_width()))
    labels = ["base"]
    for method in () if options.no_align else demo.METHODS:
        _say(start, f"{method.label}: {method.about}")
        with ProgressBar(method.label) as progress:
            demo.align(method, base, checkpoints / method.label, options.seed, progress)
            demo.score_checkpoint(checkpoints / method.label, method.label, world, runs, demo.TASKS, progress)
        labels.append(method.label)
    if len(labels) > 1:
        print("\n" + demo.comparison(runs, labels, demo.TASKS, checkpoints))
    _say(start, "done. Next:")
    print(f"  evalkit dashboard {folder}")
    if len(labels) > 1:
        print(f"  evalkit compare {runs}/base/chair {runs}/{labels[-1]}/chair --power 5")
    print("  evalkit doctor            what a real benchmark needs on this machine")
    return 0


def _say(start: float, text: str) -> None:
    print(f"[{time.monotonic() - start:4.0f} s] {text}", flush=True)


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    return {key: literal(value) for key, value in key_values(options.set, "--set").items()}
