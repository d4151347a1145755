"""Sub-commands that work on run directories, checkpoints and this machine: compare, convert, assets."""

import argparse
import math
import sys
from pathlib import Path
from typing import Any

from evalkit.annotation.commands import add_annotations
from evalkit.cli.arguments import EXIT_ABORTED
from evalkit.cli.convert_commands import add_convert
from evalkit.errors import AssetError, UsageError
from evalkit.files.atomic import write_output

FORMATS = ("terminal", "markdown", "csv", "latex", "json")


def add_commands(commands: Any) -> None:
    """Add this layer's sub-commands."""
    compare = commands.add_parser("compare", help="paired comparison of runs on the same items: did it help?")
    compare.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="two or more runs; the first is the base")
    compare.add_argument("--all", action="store_true", help="every two runs, not only each against the first")
    compare.add_argument("--metrics", metavar="A,B", help="these metrics only")
    compare.add_argument(
        "--power",
        nargs="?",
        const="",
        metavar="D,D",
        help="the smallest difference that can be seen, and the items needed to see differences of D",
    )
    compare.add_argument("--force", action="store_true", help="compare runs that were measured differently")
    compare.add_argument("--allow", default="", metavar="A,B", help="signature fields that may differ, e.g. T,beams")
    compare.add_argument(
        "--text-only",
        type=Path,
        metavar="RUN",
        help="the model's language model alone: gain and leakage of BLIND SEEING, the model without and with images "
        "(not in csv)",
    )
    compare.add_argument("--method", choices=("expanded", "percentile", "bca"), default="expanded")
    compare.add_argument("--format", choices=FORMATS, default="terminal")
    compare.add_argument("--output", type=Path, metavar="FILE", help="also write it to this file")
    compare.set_defaults(command=compare_runs)

    add_convert(commands)

    assets = commands.add_parser("assets", help="official files: list, fetch, verify")
    assets.add_argument("action", choices=("list", "fetch", "verify"))
    assets.add_argument("names", nargs="*", metavar="PATTERN", help="e.g. chair/* (default: all)")
    assets.set_defaults(command=handle_assets)
    add_annotations(commands)


def compare_runs(options: argparse.Namespace) -> int:
    """`evalkit compare`."""
    from evalkit.analysis.comparison import compare, compare_with_text_only
    from evalkit.reports.comparisons import comparison_report
    from evalkit.reports.tables import LOG_WIDTH, terminal_width

    settings: dict[str, Any] = {
        "metrics": words(options.metrics) or None,
        "force": options.force,
        "allow": words(options.allow),
        "method": options.method,
    }
    if options.text_only is None:
        result = compare(*options.runs, against="all" if options.all else "base", **settings)
    elif len(options.runs) != 2 or options.all:
        raise UsageError("--text-only takes two runs, BLIND SEEING, and no --all")
    else:
        blind, seeing = options.runs
        result = compare_with_text_only(blind, seeing, options.text_only, **settings)
    power = None if options.power is None else [_difference(word) for word in words(options.power)]
    print(comparison_report(result, options.format, power, terminal_width()))
    if options.output is not None:
        write_output(options.output, comparison_report(result, options.format, power, LOG_WIDTH) + "\n")
    return 0


def handle_assets(options: argparse.Namespace) -> int:
    """`evalkit assets`."""
    from evalkit.files.assets import fetch, folders, matching, state

    failed = False
    chosen = matching(options.names)
    width = max(len(wanted.name) for wanted in chosen)
    for wanted in chosen:
        local = state(wanted)
        here = local.state in ("mirror", "cache")
        if options.action == "fetch":
            try:
                print(f"{wanted.name}: {local.path if here else fetch(wanted)}")
            except AssetError as error:
                failed = True
                print(f"evalkit: {error}", file=sys.stderr)
            continue
        failed |= options.action == "verify" and not here
        size = "?" if wanted.size is None else f"{wanted.size:,}"
        print(f"{wanted.name:<{width}}  {local.state:<12}  {size:>10}  {wanted.licence}")
    if options.action == "list" and not options.names:
        for folder in folders():
            print(f"{folder.name}: {folder.how} ({folder.licence})")
    return EXIT_ABORTED if failed else 0


def _difference(word: str) -> float:
    """A size for --power.

    Raises:
        UsageError: if it is not a number above 0.
    """
    try:
        size = float(word)
    except ValueError:
        size = 0.0
    if not 0 < size < math.inf:
        raise UsageError(f"--power {word!r}: expected differences above 0, e.g. --power 5 or --power 1,5")
    return size


def words(text: str | None) -> list[str]:
    """The words of a list with commas or blanks between them."""
    return [word for word in (text or "").replace(" ", ",").split(",") if word]
