"""HallusionBench (Guan et al. 2024, arXiv:2310.14566)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.hallusionbench.benchmark import HallusionBench as HallusionBench


def __getattr__(name: str) -> Any:
    """The benchmark's class, imported when it is asked for."""
    if name == "HallusionBench":
        from benchmarks.hallusionbench.benchmark import HallusionBench

        return HallusionBench
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
