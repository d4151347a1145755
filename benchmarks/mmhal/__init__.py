"""MMHal-Bench (Sun et al. 2023, arXiv:2309.14525)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.mmhal.benchmark import MMHalBench as MMHalBench


def __getattr__(name: str) -> Any:
    """The benchmark's class, imported when it is asked for."""
    if name == "MMHalBench":
        from benchmarks.mmhal.benchmark import MMHalBench

        return MMHalBench
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
