"""front.json: the fronts of a run, as `evalkit score` and `evalkit front` write them beside its records.

    {"schema": 1, "signature": ..., "records": sha256 of records.jsonl,
     "fronts": [{"at": "recall", "metrics": ["chair_s", ...], "answers": null, "groups": {},
                 "definitions": [Metric fields, `at` first], "counts": [names],
                 "curves": [{"name": "sentences", "cuts": [0, 1, ..., "all"],
                             "points": [{"recall": {"value", "low", "high", "method"}, ...}, ...]}, ...],
                 "rows": [{"id", "sample", "cluster", "sentences": [[cut, counts...], ...], "words": ...}]}],
     "standings": [...], "sum": checksum of the line}

Counts of a response are written where they change: [index of the cut, count, ...].
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evalkit.analysis.front import Curve, RunFront
from evalkit.errors import DataError, RecordError
from evalkit.files.foreign import read_regular
from evalkit.metrics import Array, Metric
from evalkit.runs.checksums import SUM, DamagedLineError, sealed, unsealed
from evalkit.runs.records import FRONT, RECORDS, read_json, write_lines
from evalkit.runs.run import RunSummary
from evalkit.schema import Json
from evalkit.statistics.intervals import Interval

SCHEMA = 1


def write_fronts(run_dir: Path, signature: str, fronts: Sequence[RunFront], standings: Sequence[Json] = ()) -> None:
    """Write the fronts of a run; a run without any has no such file.

    Args:
        standings: beside which bases the run was placed, as JSON (see `evalkit.analysis.standing`).
    """
    path = run_dir / FRONT
    if not fronts:
        path.unlink(missing_ok=True)
        return
    content = {
        "schema": SCHEMA,
        "signature": signature,
        "records": _digest(run_dir),
        "fronts": [_front_json(front) for front in fronts],
        "standings": list(standings),
    }
    write_lines(path, [sealed(content)])


def read_fronts(run: RunSummary) -> list[RunFront]:
    """The fronts that are stored beside a run's records; none where there is no front.json.

    Raises:
        RecordError: if the file cannot be read, or was made for other records than are there now.
    """
    if run.path is None or not (run.path / FRONT).exists():
        return []
    path = run.path / FRONT
    content = read_front_file(run.path)
    if content.get("records") != _digest(run.path):
        raise RecordError(f"{path} was made for other records; run `evalkit front {run.path}` to make it anew")
    try:
        fronts = [_front_of(value) for value in content["fronts"]]
    except (KeyError, TypeError, ValueError, IndexError, DataError) as error:
        raise RecordError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    check_unchanged(run.path, content)
    return fronts


def stored_standings(run: RunSummary) -> list[Mapping[str, Json]]:
    """Beside which bases `evalkit front` placed a run, as it wrote them; none without a front.json.

    Raises:
        RecordError: if the file cannot be read.
    """
    if run.path is None or not (run.path / FRONT).exists():
        return []
    content = read_front_file(run.path)
    standings = content.get("standings")
    if not isinstance(standings, list) or not all(isinstance(row, dict) and "base" in row for row in standings):
        raise RecordError(f"{run.path / FRONT}: cannot be read (standings without a base)")
    check_unchanged(run.path, content)
    return standings


def fits(run: RunSummary) -> bool:
    """Whether a run has fronts of its own that belong to the records that are there."""
    if run.path is None or not (run.path / FRONT).exists():
        return False
    content = read_front_file(run.path)
    check_unchanged(run.path, content)
    return bool(content.get("records") == _digest(run.path))


def read_front_file(run_dir: Path) -> dict[str, Any]:
    """The content of front.json, curves with their intervals among it.

    Raises:
        RecordError: if it is absent, cannot be read or is of another schema version.
    """
    path = run_dir / FRONT
    content = read_json(path)
    if content.get("schema") != SCHEMA:
        raise RecordError(f"{run_dir / FRONT}: schema version {content.get('schema')!r}; this evalkit reads {SCHEMA}")
    return content


def check_unchanged(run_dir: Path, content: Mapping[str, Json]) -> None:
    """Whether front.json is what was written.

    Raises:
        RecordError: if it fits its own checksum no longer.
    """
    if SUM not in content:
        return  # of 0.1.0
    try:
        unsealed(read_regular(run_dir / FRONT).rstrip(b"\r\n"))
    except DamagedLineError as error:
        raise RecordError(
            f"{run_dir / FRONT} was changed after it was written; `evalkit front {run_dir}` makes it anew"
        ) from error


def _digest(run_dir: Path) -> str:
    with (run_dir / RECORDS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _front_json(front: RunFront) -> dict[str, Json]:
    changes = {curve.name: _changes(curve.counts) for curve in front.curves}
    return {
        "at": front.front.at,
        "metrics": list(front.front.metrics),
        "answers": list(front.front.answers) if front.front.answers else None,
        "groups": {name: list(values) for name, values in front.front.groups.items()},
        "definitions": [metric.as_dict() for metric in front.metrics],
        "counts": list(front.names),
        "curves": [
            {
                "name": curve.name,
                "cuts": list(curve.cuts),
                "points": [{name: at.as_dict() for name, at in point.items()} for point in front.points[curve.name]],
            }
            for curve in front.curves
        ],
        "rows": [
            {"id": item, "sample": sample, "cluster": cluster}
            | {name: of_responses[index] for name, of_responses in changes.items()}
            for index, ((item, sample), cluster) in enumerate(zip(front.keys, front.clusters, strict=True))
        ],
    }


def _changes(counts: Array) -> list[list[list[float]]]:
    """Counts of each response at every cut, shape (responses, cuts, counts), as [cut, counts...] where they change."""
    changed = np.ones(counts.shape[:2], dtype=bool)
    changed[:, 1:] = np.any(np.diff(counts, axis=1) != 0, axis=2)
    responses, cuts = np.nonzero(changed)
    values = counts[responses, cuts]
    if np.array_equal(values, np.rint(values)):
        rows = np.column_stack([cuts, values.astype(np.int64)]).tolist()
    else:
        rows = [[cut, *map(_short, row)] for cut, row in zip(cuts.tolist(), values.tolist(), strict=True)]
    stops = np.cumsum(changed.sum(axis=1)).tolist()
    return [rows[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


def _short(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _front_of(value: Mapping[str, Json]) -> RunFront:
    from evalkit.benchmark import Front

    names = tuple(value["counts"])
    metrics = tuple(Metric(**fields) for fields in value["definitions"])
    for metric in metrics:
        metric.check()
    rows = value["rows"]
    answers = value["answers"]
    front = RunFront(
        Front(
            value["at"],
            tuple(value["metrics"]),
            (answers[0], answers[1]) if answers else None,
            {name: tuple(values) for name, values in value["groups"].items()},
        ),
        metrics,
        names,
        tuple((row["id"], row["sample"]) for row in rows),
        tuple(row["cluster"] for row in rows),
        tuple(
            Curve(
                curve["name"],
                tuple(curve["cuts"]),
                np.array([_filled(row[curve["name"]], len(curve["cuts"]), len(names)) for row in rows]),
            )
            for curve in value["curves"]
        ),
    )
    # what was computed when the file was written, so that readers do not resample
    vars(front)["points"] = {
        curve["name"]: [{name: Interval(**at) for name, at in point.items()} for point in curve["points"]]
        for curve in value["curves"]
    }
    return front


def _filled(changes: Sequence[Sequence[float]], cuts: int, names: int) -> Array:
    """What `_changes` wrote, as an array of shape (cuts, counts)."""
    counts = np.empty((cuts, names))
    if not changes or changes[0][0] != 0:
        raise ValueError("a row of counts must begin at cut 0")
    for cut, *values in changes:
        counts[int(cut) :] = values
    return counts
