"""Scoring what exists: the responses of a run directory, or of a file made elsewhere."""

from collections.abc import Callable, Mapping
from pathlib import Path

from evalkit.benchmark import Benchmark
from evalkit.errors import DataError
from evalkit.harness import Plan, generate, plan
from evalkit.importers import import_responses as read_responses
from evalkit.records import read_manifest
from evalkit.sampling import Sampling
from evalkit.schema import Json


def plan_of_run(run_dir: Path, build: Callable[[str, Mapping[str, Json]], Benchmark]) -> Plan:
    """The plan of a run whose responses are there: benchmark, selection and decoding from its manifest.

    Args:
        build: makes the benchmark from its name and the manifest's "origin".
    Raises:
        RecordError: if the directory holds no run.
    """
    manifest = read_manifest(run_dir)
    origin = manifest.get("origin") or {}
    shard = origin.get("shard")
    return plan(
        build(str(manifest["benchmark"]), origin),
        Sampling(**manifest["sampling"]),
        origin.get("limit"),
        tuple(shard) if shard else None,
        origin,
    )
