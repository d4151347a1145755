"""LLaVA-Bench (Liu et al. 2023, arXiv:2304.08485)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.llava_bench.benchmark import LlavaBench as LlavaBench
    from benchmarks.llava_bench.benchmark import LlavaBenchWild as LlavaBenchWild


def __getattr__(name: str) -> Any:
    """The benchmark's classes, imported when they are asked for."""
    if name in ("LlavaBench", "LlavaBenchWild"):
        from benchmarks.llava_bench import benchmark

        return getattr(benchmark, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
