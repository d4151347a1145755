"""Object HalBench (Yu et al. 2024, arXiv:2312.00849)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.object_halbench.benchmark import ObjectHalBench as ObjectHalBench


def __getattr__(name: str) -> Any:
    """The benchmark's class, imported when it is asked for."""
    if name == "ObjectHalBench":
        from benchmarks.object_halbench.benchmark import ObjectHalBench

        return ObjectHalBench
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
