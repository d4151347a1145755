"""RefoMB (RLAIF-V, Yu et al. 2024, arXiv:2405.17220)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.refomb.benchmark import RefoMB as RefoMB


def __getattr__(name: str) -> Any:
    """The benchmark's class, imported when it is asked for."""
    if name == "RefoMB":
        from benchmarks.refomb.benchmark import RefoMB

        return RefoMB
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
