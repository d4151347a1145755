"""The benchmarks: one file each. `BENCHMARKS` names their classes; a class is imported when it is asked for."""

from importlib import import_module
from typing import Any

BENCHMARKS = {
    "chair": "benchmarks.chair:CHAIR",
    "object_halbench": "benchmarks.object_halbench:ObjectHalBench",
    "mmhal": "benchmarks.mmhal:MMHalBench",
    "amber": "benchmarks.amber:AMBER",
    "pope": "benchmarks.pope:POPE",
    "repope": "benchmarks.repope:RePOPE",
    "dash_b": "benchmarks.dash_b:DashB",
    "hallusionbench": "benchmarks.hallusionbench:HallusionBench",
    "llava_bench": "benchmarks.llava_bench:LlavaBench",
    "llava_bench_wild": "benchmarks.llava_bench:LlavaBenchWild",
    "refomb": "benchmarks.refomb:RefoMB",
    "mmstar": "benchmarks.mmstar:MMStar",
    "vqav2": "benchmarks.vqav2:VQAv2",
    "mhumaneval": "benchmarks.mhumaneval:MHumanEval",
}

LOGGED = "benchmarks.logged:Logged"  # what `evalkit import` makes of another harness's log

_CLASSES = {path.split(":")[1]: path.split(":")[0] for path in BENCHMARKS.values()}


def __getattr__(name: str) -> Any:
    """`from benchmarks import CHAIR` without importing the other benchmarks."""
    if name in _CLASSES:
        return getattr(import_module(_CLASSES[name]), name)
    raise AttributeError(f"module 'benchmarks' has no attribute {name!r}")
