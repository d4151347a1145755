"""Run directories: records on disk, what they say, how runs are found."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.runs.run import Run as Run
    from evalkit.runs.run import find_runs as find_runs
    from evalkit.runs.run import load_run as load_run

_MODULE = "evalkit.runs.run"
_NAMES = ("Run", "load_run", "find_runs")


def __getattr__(name: str) -> Any:
    """The names above, imported when they are first asked for."""
    if name in _NAMES:
        return getattr(import_module(_MODULE), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
