"""Scoring stored responses: one run in this process, or several runs in processes of their own."""

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import BENCHMARKS
from benchmarks.cli.planning import benchmark_of, check_settings, rebuild, thoughts_of
from evalkit.cli.arguments import folder_name
from evalkit.errors import UsageError

if TYPE_CHECKING:
    from evalkit.harness.judge import Judge
    from evalkit.harness.results import Summary
    from evalkit.harness.stages import Plan


def score_stored(options: argparse.Namespace) -> "Summary":
    """Score the run of `options.target`, made from --responses if there are any."""
    from benchmarks.cli.judging import judge_from
    from evalkit.harness.stages import score
    from evalkit.process.progress import ProgressBar

    work, run_dir = stored_run(options, options.output_path)
    if options.judge_texts:
        from evalkit.harness.told import told_judge

        judge: Judge | None = told_judge(work.benchmark, options.judge_texts, options.judge or "not stated")
    else:
        judge = judge_from(options)
    try:
        with ProgressBar(f"score {run_dir.name}") as progress:
            return score(work, run_dir, judge, progress, options.rescore)
    finally:
        if judge is not None:
            judge.engine.close()


def score_several(options: argparse.Namespace, targets: Sequence[str], jobs: int) -> "list[Summary]":
    """Score run directories, up to `jobs` at once; summaries in the order of the targets.

    Each run has a process of its own, so the files are those of scoring one run after the other. The first run that
    cannot be scored ends it; those that are done stay scored.

    Raises:
        UsageError: if responses made elsewhere are given, which are those of one run, or a judge for more than one
            process at once.
    """
    if len(targets) > 1 and (options.responses or options.judge_texts or options.dry_run):
        raise UsageError(
            f"score {' '.join(targets)}: --responses, --judge-texts and --dry-run are for one run at a time"
        )
    single = [_for_target(options, target) for target in targets]
    if jobs == 1 or len(targets) == 1:
        return [score_stored(one) for one in single]
    if options.judge is not None:
        raise UsageError("--jobs is for scoring without a judge: each process would call the judge separately")
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(min(jobs, len(targets)), mp_context=get_context("spawn")) as pool:
        return list(pool.map(score_stored, single))


def _for_target(options: argparse.Namespace, target: str) -> argparse.Namespace:
    one = copy.copy(options)
    one.target = target
    del one.command, one.targets  # the function that runs the command does not travel to another process
    return one


def stored_run(options: argparse.Namespace, output_path: Path) -> "tuple[Plan, Path]":
    """The run directory to score, made below `output_path` from --responses if there are any."""
    from evalkit.harness.stored import default_label, import_run, plan_of_run
    from evalkit.text.thoughts import STANDARD

    if not options.responses:
        run_dir = Path(options.target)
        if options.target in BENCHMARKS and not run_dir.exists():
            raise UsageError(f"score {options.target}: name the responses with --responses FILE, or a run directory")
        return plan_of_run(run_dir, rebuild(options), thoughts_of(options)), run_dir
    check_settings(options.set, [options.target])
    benchmark, origin = benchmark_of(options, options.target)
    label = folder_name(options.label or default_label(options.responses))
    run_dir = output_path / label / benchmark.name
    notes: list[str] = []
    work = import_run(
        benchmark,
        options.responses,
        run_dir,
        label,
        format_name=options.format,
        partial=options.partial,
        origin=origin,
        notes=notes,
        thoughts=thoughts_of(options) or STANDARD,
    )
    for note in notes:
        print(f"evalkit: {note}", file=sys.stderr)
    if len(work.items) < (known := len(benchmark.items())):
        remedy = "; --image-ids FILE says which must have one" if benchmark.open_items else ""
        print(
            f"evalkit: {benchmark.name}: {len(work.items):,} of {known:,} items have a response, the others are left "
            f"out{remedy}",
            file=sys.stderr,
        )
    return work, run_dir
