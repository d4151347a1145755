"""AMBER (Wang et al. 2023, arXiv:2311.07397)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.amber.benchmark import AMBER as AMBER


def __getattr__(name: str) -> Any:
    """The benchmark's class, imported when it is asked for."""
    if name == "AMBER":
        from benchmarks.amber.benchmark import AMBER

        return AMBER
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
