"""Generate, score, evaluate: the stages that every benchmark, engine and aligner shares."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.harness.stages import Plan as Plan
    from evalkit.harness.stages import evaluate as evaluate
    from evalkit.harness.stages import generate as generate
    from evalkit.harness.stages import plan as plan
    from evalkit.harness.stages import score as score

_MODULE = "evalkit.harness.stages"
_NAMES = ("Plan", "plan", "generate", "score", "evaluate")


def __getattr__(name: str) -> Any:
    """The names above, imported when they are first asked for."""
    if name in _NAMES:
        return getattr(import_module(_MODULE), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
