"""`--quick`: a benchmark on a few items while a model trains."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import BENCHMARKS
from evalkit.cli.arguments import positive
from evalkit.errors import UsageError
from evalkit.process.libraries import quick_imports

if TYPE_CHECKING:
    from aligners.quick import QuickEvaluation


def add_quick_arguments(parser: argparse.ArgumentParser) -> None:
    """--quick, its data, how many items, how often."""
    group = parser.add_argument_group("evaluation during training (rough: few items; every number in training.jsonl)")
    group.add_argument("--quick", metavar="BENCHMARK", help="a benchmark without a judge, e.g. chair")
    group.add_argument("--quick-data", type=Path, metavar="DIR", help="its data, as for `evalkit run --data`")
    group.add_argument("--quick-world", type=Path, metavar="DIR", help="a miniature world instead")
    group.add_argument("--quick-limit", type=positive, default=50, metavar="N", help="its first N items (default 50)")
    group.add_argument(
        "--quick-steps", type=positive, metavar="K", help="every K steps (default: at every training checkpoint)"
    )


def quick_from(options: argparse.Namespace) -> "QuickEvaluation | None":
    """What --quick asks for.

    Raises:
        UsageError: if its data are not named, or it needs a judge.
    """
    if options.quick is None:
        given = [name for name in ("quick_data", "quick_world", "quick_steps") if getattr(options, name) is not None]
        if given:
            raise UsageError(f"--{given[0].replace('_', '-')} belongs to --quick BENCHMARK")
        return None
    name = options.quick.replace("-", "_")
    if name not in BENCHMARKS:
        raise UsageError(f"--quick {options.quick}: expected one of {', '.join(BENCHMARKS)}")
    if (options.quick_data is None) == (options.quick_world is None):
        raise UsageError("--quick needs --quick-data DIR or --quick-world DIR")
    with quick_imports():
        from aligners.quick import QuickEvaluation
    from benchmarks.cli.registry import build, located

    settings = {} if options.quick_data is None else located(name, options.quick_data)
    world = None if options.quick_world is None else options.quick_world.resolve()
    return QuickEvaluation(benchmark=build(name, settings, world), limit=options.quick_limit, steps=options.quick_steps)
