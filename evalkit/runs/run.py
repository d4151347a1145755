"""Reading run directories: all that comparisons and reports need, without the code that made them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from evalkit.errors import DataError, RecordError
from evalkit.metrics import Metric
from evalkit.runs.checks import check_samples, disqualified
from evalkit.runs.records import MANIFEST, METRICS, RECORDS, read_json, read_manifest
from evalkit.runs.signature import Signature
from evalkit.schema import Json
from evalkit.statistics.intervals import LEVEL, METHOD, RESAMPLES, Interval, Method, intervals


@dataclass(frozen=True)
class Run:
    """A scored run directory.

    manifest  content of run.json
    rows      lines of records.jsonl
    path      where it lies, None for a run made in memory
    """

    manifest: Mapping[str, Json]
    rows: Sequence[Mapping[str, Json]]
    path: Path | None = None

    @property
    def benchmark(self) -> str:
        """Name of the benchmark."""
        return str(self.manifest["benchmark"])

    @property
    def label(self) -> str:
        """Name of the model as shown."""
        return str(self.manifest.get("label") or (self.path.name if self.path else "run"))

    @cached_property
    def metrics(self) -> list[Metric]:
        """The benchmark's metrics, the headline first."""
        try:
            metrics = [Metric(**fields) for fields in self.manifest["metrics"]]
            for metric in metrics:
                metric.check()
        except (TypeError, DataError) as error:
            where = self.path / MANIFEST if self.path else self.label
            raise RecordError(f"{where}: 'metrics' cannot be read: {error}") from error
        return metrics

    @cached_property
    def signature(self) -> Signature:
        """What the scores depend on."""
        return Signature.of(self.manifest)

    @cached_property
    def scored(self) -> list[Mapping[str, Json]]:
        """Rows with counts."""
        return [row for row in self.rows if row["score"]["counts"] is not None]

    @cached_property
    def failures(self) -> dict[str, int]:
        """How many samples failed at each stage: "generation", "judge", "score"; none for a stage without failures."""
        counted: dict[str, int] = {}
        for row in self.rows:
            stage = failed_stage(row)
            if stage is not None:
                counted[stage] = counted.get(stage, 0) + 1
        return counted

    @cached_property
    def results(self) -> Mapping[str, Json]:
        """Content of metrics.json, empty for a run in memory or a folder without one."""
        if self.path is None or not (self.path / METRICS).exists():
            return {}
        return read_json(self.path / METRICS)

    @cached_property
    def checks(self) -> Mapping[str, Json]:
        """Checks of the run's text and counts (see `evalkit.runs.checks`)."""
        return check_samples(self.rows, self.metrics, self.results.get("baselines"))

    @property
    def disqualified(self) -> bool:
        """Whether a flag keeps the run from being ranked above others."""
        return disqualified(self.checks)

    def counts(self) -> list[Mapping[str, float]]:
        """Counts of the scored samples."""
        return [row["score"]["counts"] for row in self.scored]

    def clusters(self) -> list[str]:
        """What the bootstrap resamples, one per scored sample."""
        return [cluster_of(row) for row in self.scored]

    def intervals(
        self, level: float = LEVEL, resamples: int = RESAMPLES, method: Method = METHOD, seed: int = 0
    ) -> dict[str, Interval]:
        """All metrics with intervals, from the records."""
        return intervals(self.metrics, self.counts(), self.clusters(), level, resamples, method, seed)


def cluster_of(row: Mapping[str, Json]) -> str:
    """Cluster of a record: the item's, or the item itself."""
    return str(row.get("cluster") or row["id"])


def failed_stage(row: Mapping[str, Json]) -> str | None:
    """Where a sample failed: "generation", "judge" or "score"; None for a scored one."""
    if row["score"]["counts"] is not None:
        return None
    if row["response"]["failure"] is not None:
        return "generation"
    return "judge" if (row.get("verdict") or {}).get("failure") is not None else "score"


def load_run(path: Path | str) -> Run:
    """Read a run directory.

    A torn last line of records.jsonl is left out (the file is being copied); any other broken line is an error.

    Raises:
        RecordError: if it is not a run, is not scored yet, is of another schema version, or a line cannot be read.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    if "metrics" not in manifest or not (folder / RECORDS).exists():
        raise RecordError(f"{folder} is not scored yet: {RECORDS} is missing; run `evalkit score {folder}`")
    return Run(manifest, list(_read_records(folder / RECORDS)), folder)


def find_runs(*folders: Path | str) -> list[Path]:
    """Run directories at or below folders, sorted; those that are not scored yet are left out.

    Raises:
        RecordError: if a folder does not exist.
    """
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise RecordError(f"{folder}: no such folder")
        for manifest in sorted(folder.rglob(MANIFEST)):
            if (manifest.parent / RECORDS).exists():
                found.setdefault(manifest.parent)
    return list(found)


def _read_records(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_bytes().split(b"\n")
    torn = lines.pop()  # what follows the last newline: nothing, or a line that was not finished
    for number, line in enumerate(lines, 1):
        try:
            yield _record(json.loads(line))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RecordError(f"{path}:{number}: not a record ({type(error).__name__}: {error})") from error
    if torn:
        try:
            yield _record(json.loads(torn))
        except (ValueError, KeyError, TypeError, RecursionError):
            return


def _record(row: Any) -> dict[str, Any]:
    """A line of records.jsonl, if it has what everything here reads."""
    row["id"], row["response"]["text"]
    counts = row["score"]["counts"]
    if not isinstance(row, dict) or not isinstance(counts, dict | None):
        raise TypeError(f"counts are {counts!r:.40}")
    for name, value in (counts or {}).items():
        if type(value) not in (int, float):
            raise TypeError(f"count {name!r} is {value!r:.40}")
    return row


MAX_GROUPS = 40  # a group name with more values than this (an id, say) is not a group worth a table
