"""`evalkit align rlaif` stage by stage, and its training in processes that a launcher starts."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.cli.arguments import positive
from evalkit.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from aligners.rlaif import RlaifRun

STAGES = ("candidates", "claims", "judgements", "pairs", "training")


def add_stage_arguments(parser: argparse.ArgumentParser) -> None:
    """--stage, --iteration, --launcher."""
    group = parser.add_argument_group(
        "stages",
        "by default one command works through all stages of all iterations; a stage alone opens its own model and no "
        "other, reads the files of the earlier ones, and can be stopped and rerun",
    )
    group.add_argument("--stage", choices=STAGES, metavar="S", help=f"this stage alone: {', '.join(STAGES)}")
    group.add_argument(
        "--iteration", type=positive, metavar="N", help="of --stage (default: the first that is not finished)"
    )
    group.add_argument(
        "--launcher",
        metavar="CMD",
        help="train in processes of their own, while this one holds no model: "
        '"torchrun --nproc_per_node 8", "accelerate launch --config_file FILE"',
    )


def launched_by(options: argparse.Namespace, arguments: Sequence[str]) -> "Callable[[int], None] | None":
    """Trains an iteration as a child of --launcher; None without one.

    Args:
        arguments: of this command, which the child repeats with its stage.
    """
    if not options.launcher:
        return None
    if options.stage:
        raise UsageError("--launcher is for all stages; start this one yourself: CMD --module evalkit align rlaif ...")
    launcher = shlex.split(options.launcher)

    def launch(iteration: int) -> None:
        child = [*launcher, "--module", "evalkit", *_without(arguments, "--launcher")]
        child += ["--stage", "training", "--iteration", str(iteration)]
        sys.stdout.flush()
        try:
            code = subprocess.run(child, check=False).returncode
        except OSError as error:
            raise UsageError(f"--launcher {options.launcher}: {error.strerror or error}") from error
        if code:
            raise TrainingError(f"{shlex.join(child)} ended with exit status {code}; rerun the same command to resume")

    return launch


def _without(arguments: Sequence[str], option: str) -> list[str]:
    """Arguments without an option and its value."""
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == option:
            next(rest, None)
        elif not argument.startswith(f"{option}="):
            kept.append(argument)
    return kept


def work_on_stage(run: "RlaifRun", options: argparse.Namespace) -> int:
    """`--stage S`: that stage, and one line that says what follows it."""
    result = run.stage(options.stage, options.iteration)
    folder = Path(options.output_path) / f"iteration_{result.iteration}"
    written = folder / ("checkpoint" if result.stage == "training" else f"{result.stage}.jsonl")
    if result.following is None:
        print(f"{written}: the run is finished, its checkpoint is {options.output_path}")
    else:
        iteration, stage = result.following
        print(f"{written}; next: --stage {stage} --iteration {iteration}")
    return 0
