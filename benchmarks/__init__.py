"""The benchmarks: one file each. `BENCHMARKS` names their classes; a class is imported when it is asked for."""

from importlib import import_module
from typing import Any

BENCHMARKS = {
    "chair": "benchmarks.chair:CHAIR",
    "object_halbench": "benchmarks.object_halbench:ObjectHalBench",
    "mmhal": "benchmarks.mmhal:MMHalBench",
    "amber": "benchmarks.amber:AMBER",
    "pope": "benchmarks.pope:POPE",
}

_CLASSES = {path.split(":")[1]: path.split(":")[0] for path in BENCHMARKS.values()}


def __getattr__(name: str) -> Any:
    """`from benchmarks import CHAIR` without importing the other benchmarks."""
    if name in _CLASSES:
        return getattr(import_module(_CLASSES[name]), name)
    raise AttributeError(f"module 'benchmarks' has no attribute {name!r}")
