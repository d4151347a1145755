"""Hallucination evaluation for vision-language models: the harness every benchmark and aligner runs on.

evalkit.compare("runs/base/chair", "runs/tuned/chair")   paired comparison of runs
evalkit.load_runs("runs")                                all samples as a pandas table
evalkit.load_metrics("runs")                             all metrics with intervals as a pandas table
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.analysis.comparison import compare as compare
    from evalkit.analysis.frames import load_metrics as load_metrics
    from evalkit.analysis.frames import load_runs as load_runs

__version__ = "0.1.0"

_LAZY = {
    "compare": "evalkit.analysis.comparison",
    "load_metrics": "evalkit.analysis.frames",
    "load_runs": "evalkit.analysis.frames",
}


def __getattr__(name: str) -> Any:
    """The functions above, imported when they are first asked for: `import evalkit` itself is instant."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'evalkit' has no attribute {name!r}")
