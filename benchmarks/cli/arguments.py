"""Arguments that several sub-commands share: tasks and their data, the judge, where results go."""

import argparse
import os
from pathlib import Path

from benchmarks import BENCHMARKS
from evalkit.cli.arguments import default_output, positive, share


def add_task_arguments(parser: argparse.ArgumentParser) -> None:
    """--tasks, what a benchmark can be told, and which of its items are asked."""
    tasks_argument(parser)
    add_task_options(parser)
    add_item_arguments(parser)
    add_blind_arguments(parser)


def add_blind_arguments(parser: argparse.ArgumentParser) -> None:
    """Asking otherwise: blind baselines and a changed prompt."""
    group = parser.add_argument_group("baselines (the signature says so)")
    group.add_argument(
        "--image-ablation",
        choices=("none", "swapped", "noise"),
        help="ask without the image, with another item's, or with noise: what does the model say without looking?",
    )
    group.add_argument(
        "--prompt-baseline",
        choices=("careful",),
        help='"careful" adds to every question: "Mention only what you are sure of."',
    )


def add_item_arguments(parser: argparse.ArgumentParser) -> None:
    """Which items are asked; a stored run has its own."""
    group = parser.add_argument_group("items")
    group.add_argument("--limit", type=positive, metavar="N", help="the first N items only")
    group.add_argument(
        "--shard", metavar="I/N", help="every N-th item from the I-th, for job arrays; join with `evalkit merge`"
    )


def tasks_argument(parser: argparse.ArgumentParser) -> None:
    """--tasks."""
    known = ", ".join(BENCHMARKS)
    parser.add_argument("--tasks", required=True, metavar="A,B", help=f"benchmarks: {known}, or package.module:Class")


def add_task_options(parser: argparse.ArgumentParser) -> None:
    """Data and variants."""
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
    group.add_argument(
        "--image-ids",
        metavar="FILE",
        help="the images that are scored, e.g. a JSON list of ids (CHAIR; default: 500 drawn with a seed, or, where "
        "there is no folder of images, those of the --responses)",
    )
    group.add_argument("--references", metavar="FILE", help="ready reference objects {image_id: [objects]}")
    group.add_argument("--variant", help="variant of the scorer")
    group.add_argument(
        "--benchmark",
        metavar="PACKAGE.MODULE:CLASS",
        help="a benchmark of your own that a stored run names; code named only by a run folder is not run",
    )
    group.add_argument(
        "--thoughts",
        metavar="T",
        help="thoughts of reasoning models (<think>...</think>): removed before scoring (default), kept, or the names "
        "of the tags that hold them, e.g. think,reflection",
    )


def add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    """Who judges, for the benchmarks that need it."""
    group = parser.add_argument_group("judge (benchmarks whose responses a model rates)")
    group.add_argument(
        "--judge",
        metavar="M",
        help="model name at a server, a checkpoint with --judge-engine, or 'rules' (miniature world only)",
    )
    group.add_argument("--judge-engine", choices=("openai", "vllm", "transformers"), default="openai")
    group.add_argument("--judge-base-url", action="append", metavar="URL")
    group.add_argument("--judge-args", action="append", default=[], metavar="KEY=VALUE")
    group.add_argument(
        "--judge-extra", metavar="JSON", help="further fields of every request to the judge, as --extra for the model"
    )
    group.add_argument(
        "--judge-max-tokens",
        type=positive,
        metavar="N",
        help="limit of a reply in tokens instead of the benchmark's; a reply that is cut holds no verdict",
    )
    group.add_argument(
        "--budget", metavar="B", help="stop cleanly before judging takes more: calls:500, tokens:2e6 or usd:5"
    )
    group.add_argument("--price", metavar="P", help="IN,OUT in USD per million tokens, or a TOML table of models")


def add_forecast_argument(parser: argparse.ArgumentParser) -> None:
    """--dry-run, for commands that can say beforehand what they take."""
    parser.add_argument(
        "--dry-run", action="store_true", help="print how many generations and judge calls this takes, and stop"
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
