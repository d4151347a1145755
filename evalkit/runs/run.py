"""Reading run directories: all that comparisons and reports need, without the code that made them."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.errors import DataError, RecordError
from evalkit.files.foreign import read_regular
from evalkit.metrics import Array, Metric, count_matrix, sum_counts
from evalkit.runs import belonging
from evalkit.runs.checks import Flag, check_samples, flags_of
from evalkit.runs.checksums import digest, fits_seal
from evalkit.runs.records import MANIFEST, METRICS, RECORDS, open_line, read_json, read_manifest
from evalkit.runs.shapes import ShapeError, check_record, check_results, score_records
from evalkit.runs.signature import Signature
from evalkit.schema import Json
from evalkit.statistics.intervals import LEVEL, METHOD, RESAMPLES, Interval, Method, intervals

BEFORE_PRESENT = ("objects", "truth", "labels")  # keys of `reference` in records that have no "present" yet


@dataclass(frozen=True)
class RunSummary:
    """A scored run by its manifest and its metrics.json, without the records: what an overview of many runs needs.

    manifest  content of run.json
    path      where it lies, None for a run made in memory
    name      its path below the folder that was looked through; empty where one run was asked for
    """

    manifest: Mapping[str, Json]
    path: Path | None = field(default=None, kw_only=True)
    name: str = field(default="", kw_only=True)

    @property
    def folder(self) -> Path:
        """Where it lies.

        Raises:
            RecordError: for a run made in memory.
        """
        if self.path is None:
            raise RecordError(f"run {self.label!r} has no folder")
        return self.path

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
    def results(self) -> Mapping[str, Json]:
        """Content of metrics.json, empty for a run in memory or a folder without one."""
        if self.path is None or not (self.path / METRICS).exists():
            return {}
        content = read_json(self.path / METRICS)
        try:
            check_results(content, [metric.name for metric in self.metrics])
        except ShapeError as error:
            raise RecordError(f"{self.path / METRICS} is damaged: {error}; {belonging.remedy(self.path)}") from error
        belonging.check_results(self.path, self.manifest, content)
        return content

    @cached_property
    def values(self) -> dict[str, Interval]:
        """Metrics with intervals, as stored."""
        return {name: Interval(**fields) for name, fields in self.results["metrics"].items()}

    @property
    def groups(self) -> Mapping[str, Mapping[str, Json]]:
        """Group name -> value -> {"n", "metrics"}, as stored."""
        return self.results.get("groups") or {}

    @cached_property
    def checks(self) -> Mapping[str, Json]:
        """Checks of the run's text and counts (see `evalkit.runs.checks`)."""
        return self.results.get("checks") or {}

    @cached_property
    def flags(self) -> list[Flag]:
        """Warnings of the checks."""
        return flags_of(self.checks)

    @property
    def disqualified(self) -> bool:
        """Whether a flag keeps the run from being ranked above others."""
        return any(flag.disqualifies for flag in self.flags)

    @property
    def words(self) -> float | None:
        """Mean length of its responses in words."""
        mean = (self.checks.get("words") or {}).get("mean")
        return None if mean is None else float(mean)

    @cached_property
    def counted(self) -> tuple[int, int]:
        """Scored and all samples."""
        return int(self.results["n_scored"]), int(self.results["n_total"])

    @cached_property
    def failures(self) -> dict[str, int]:
        """How many samples failed at each stage: "generation", "judge", "score"; none for a stage without failures."""
        return {str(stage): int(count) for stage, count in (self.results.get("failures") or {}).items()}

    def check(self) -> None:
        """Read all of the above once, so that what is damaged is found now.

        Raises:
            RecordError: naming the folder and what is wrong.
        """
        try:
            self.values, self.signature, self.flags, self.counted, self.failures, self.words  # noqa: B018
            if not self.metrics or any(metric.counts is None for metric in self.metrics):
                raise KeyError("metrics")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordError(
                f"{self.path}: {MANIFEST} or {METRICS} is damaged ({type(error).__name__}: {error})"
            ) from error


@dataclass(frozen=True)
class Run(RunSummary):
    """A scored run directory.

    rows      lines of records.jsonl; what they say comes before what metrics.json says
    """

    rows: Sequence[Mapping[str, Json]] = ()

    @cached_property
    def scored(self) -> list[Mapping[str, Json]]:
        """Rows with counts."""
        if len(self._counts) == len(self.rows):
            return list(self.rows)
        return [row for row in self.rows if row["score"]["counts"] is not None]

    @cached_property
    def _counts(self) -> list[Mapping[str, float]]:
        return [counts for row in self.rows if (counts := row["score"]["counts"]) is not None]

    @cached_property
    def values(self) -> dict[str, Interval]:
        """The run's metrics: those in metrics.json where it is there, else computed from the records."""
        return super().values if self.results.get("metrics") else self.intervals()

    @cached_property
    def checks(self) -> Mapping[str, Json]:
        """Checks of the run's text and counts (see `evalkit.runs.checks`)."""
        return check_samples(self.rows, self.metrics, self.results.get("baselines"), self.sums, len(self._counts))

    @cached_property
    def counted(self) -> tuple[int, int]:
        """Scored and all samples."""
        return len(self._counts), len(self.rows)

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
    def sums(self) -> Mapping[str, float]:
        """Sum of each count over the scored samples."""
        return sum_counts(self.counts())

    def counts(self) -> list[Mapping[str, float]]:
        """Counts of the scored samples."""
        return self._counts

    def clusters(self) -> list[str]:
        """What the bootstrap resamples, one per scored sample."""
        return [cluster_of(row) for row in self.scored]

    def item_counts(self, names: Sequence[str]) -> dict[str, Array]:
        """Item id -> mean counts over its scored responses, in the order of `names`."""
        return dict(zip(*self.item_matrix(names), strict=True))

    def item_matrix(self, names: Sequence[str]) -> tuple[list[str], Array]:
        """Ids of the scored items, and their mean counts over scored responses, shape (items, names)."""
        ids, matrix = [row["id"] for row in self.scored], count_matrix(self.counts(), names)
        rows_of: dict[str, list[int]] = {}
        if len(set(ids)) == len(ids):
            return ids, matrix
        for row, item in enumerate(ids):
            rows_of.setdefault(item, []).append(row)
        means = [matrix[rows].mean(axis=0) if len(rows) > 1 else matrix[rows[0]] for rows in rows_of.values()]
        return list(rows_of), np.array(means)

    def intervals(
        self, level: float = LEVEL, resamples: int = RESAMPLES, method: Method = METHOD, seed: int = 0
    ) -> dict[str, Interval]:
        """All metrics with intervals, from the records."""
        return intervals(self.metrics, self.counts(), self.clusters(), level, resamples, method, seed)


def cluster_of(row: Mapping[str, Json]) -> str:
    """Cluster of a record: the item's, or the item itself."""
    return str(row.get("cluster") or row["id"])


def objects_present(row: Mapping[str, Json]) -> list[str]:
    """Objects truly in the image, by the benchmark's annotation; empty where a record lists none."""
    reference = row.get("reference") or {}
    listed = row.get("present", next((reference[key] for key in BEFORE_PRESENT if key in reference), None))
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def boxes_present(row: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    """Where the reference objects are: {"object", "x", "y", "width", "height"}, shares of the image."""
    boxes = (row.get("reference") or {}).get("boxes")
    return [box for box in boxes if _is_box(box)] if isinstance(boxes, list) else []


def _is_box(box: Json) -> bool:
    if not isinstance(box, dict) or not isinstance(box.get("object"), str):
        return False
    shares = [box.get(name) for name in ("x", "y", "width", "height")]
    return all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares)


def failed_stage(row: Mapping[str, Json]) -> str | None:
    """Where a sample failed: "generation", "judge" or "score"; None for a scored one."""
    if row["score"]["counts"] is not None:
        return None
    if row["response"]["failure"] is not None:
        return "generation"
    return "judge" if (row.get("verdict") or {}).get("failure") is not None else "score"


def load_run(path: Path | str) -> Run:
    """Read a run directory.

    Raises:
        RecordError: if it is not a run, is not scored yet, is of another schema version, a line cannot be read, or its
            files do not belong together; the message names the command that mends it.
    """
    return _load(Path(path))


def load_scores(path: Path | str) -> Run:
    """`load_run` for who computes with its counts: in a third of the time, without reference, findings and details.

    Raises:
        RecordError: as `load_run`.
    """
    return _load(Path(path), scores_only=True)


def _load(folder: Path, scores_only: bool = False) -> Run:
    manifest = read_manifest(folder)
    if "metrics" not in manifest or not (folder / RECORDS).exists():
        raise RecordError(f"{folder} is not scored yet: {RECORDS} is missing; run `evalkit score {folder}`")
    data = _records_bytes(folder / RECORDS)
    checksum = digest(data)
    with collector_resting():
        rows = _scores(data, belonging.are_recorded(manifest, checksum)) if scores_only else None
        rows = _read_records(data, folder / RECORDS) if rows is None else rows
    run = Run(manifest, path=folder, rows=rows)
    belonging.check_count(folder, manifest, len(run.rows))
    belonging.check_records(folder, manifest, checksum)
    if run.results:
        belonging.check_results(folder, manifest, run.results, run.counted, run.sums)
    return run


def find_runs(*folders: Path | str) -> list[Path]:
    """Run directories at or below folders, sorted; those that are not scored yet are left out.

    One that was scored and lost a file since is among them, so that whoever loads it says so.

    Raises:
        RecordError: if a folder does not exist, or one holds a scored run without its manifest.
    """
    folders_by_place: dict[Path, Path] = {}  # where it really lies -> as it was reached first
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise RecordError(f"{folder}: no such folder")
        scored = {path.parent for name in (RECORDS, METRICS) for path in folder.rglob(name)}
        for place in sorted(path for path in scored if (path / MANIFEST).exists() or belonging.lost_manifest(path)):
            folders_by_place.setdefault(place.resolve(), place)
    return list(folders_by_place.values())


def _records_bytes(path: Path) -> bytes:
    try:
        return read_regular(path)
    except FileNotFoundError as error:
        raise RecordError(f"{path}: no such file") from error


@contextmanager
def collector_resting() -> Iterator[None]:
    """No search for cycles while very many objects are made that hold none: it would take a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_records(data: bytes, path: Path) -> list[dict[str, Any]]:
    *lines, torn = data.split(b"\n")  # what follows the last newline: nothing, or a line that was not finished
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(check_record(open_line(line, path, number)))
        except ShapeError as error:
            raise RecordError(f"{path}:{number}: not a record: {error}; {belonging.remedy(path.parent)}") from error
    if torn:
        with suppress(RecordError, ShapeError):  # the number of samples will tell that it is missing
            rows.append(check_record(open_line(torn, path, len(lines) + 1)))
    return rows


def _scores(data: bytes, as_written: bool) -> list[dict[str, Any]] | None:
    """All lines at once; None where something is wrong, which reading them one by one tells.

    Args:
        as_written: whether the file has the checksum that the manifest names: those of its lines say no more.
    """
    if not (as_written or all(map(fits_seal, data.split(b"\n")[:-1]))):
        return None
    rows = score_records(data) if not data or data.endswith(b"\n") else None
    return rows if rows is not None and len(rows) == data.count(b"\n") else None


MAX_GROUPS = 40  # a group name with more values than this (an id, say) is not a group worth a table
