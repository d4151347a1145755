"""What the files of a run hold: every field that is read later, of the type it is read as.

A run folder may come from somebody else or from a damaged disk, so each field is looked at once, here, and whoever
reads on need not ask again. A field of another type is an error that names it.
"""

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec

from evalkit.schema import Json

LARGEST_COUNT = 1e15  # below 2**53, so that sums are exact


class ShapeError(ValueError):
    """A field that is missing, or of another type."""


_Count = (
    Annotated[int, msgspec.Meta(ge=0, le=int(LARGEST_COUNT))] | Annotated[float, msgspec.Meta(ge=0, le=LARGEST_COUNT)]
)


class _Image(msgspec.Struct):
    name: str
    folder: str


class _Response(msgspec.Struct):
    text: str | None
    failure: str | None = None
    finish: str | None = None
    raw: str | None = None


class _Finding(msgspec.Struct):
    start: int
    end: int
    label: str
    note: str | None = None


class _Score(msgspec.Struct):
    counts: dict[str, _Count] | None
    failure: str | None = None
    details: dict[str, Any] | None = None
    findings: list[_Finding] | None = None


class _Record(msgspec.Struct):
    """What `check_record` asks of a line, for the many lines in which nothing is wrong."""

    id: str
    response: _Response
    score: _Score
    sample: int | None = None
    question: str | None = None
    prompt: str | None = None
    cluster: str | None = None
    groups: dict[str, Any] | None = None
    reference: dict[str, Any] | None = None
    verdict: dict[str, Any] | None = None
    image: _Image | None = None


class _Object(msgspec.Struct):
    """Any JSON object, its content left out."""


class _SaidOnly(TypedDict):
    text: str | None
    failure: NotRequired[str | None]
    finish: NotRequired[str | None]
    raw: NotRequired[str | None]


class _CountsOnly(TypedDict):
    counts: dict[str, _Count] | None
    failure: NotRequired[str | None]
    details: NotRequired[_Object | None]
    findings: NotRequired[list[_Finding] | None]


class _ScoreRecord(TypedDict):
    """What `_Record` asks for; of what no number is computed from, its shape alone is read."""

    id: str
    response: _SaidOnly
    score: _CountsOnly
    sample: NotRequired[int | None]
    question: NotRequired[str | None]
    prompt: NotRequired[str | None]
    cluster: NotRequired[str | None]
    groups: NotRequired[dict[str, Any] | None]
    reference: NotRequired[_Object | None]
    verdict: NotRequired[dict[str, Any] | None]
    image: NotRequired[_Image | None]


_SCORE_RECORDS = msgspec.json.Decoder(_ScoreRecord)


def score_records(lines: bytes) -> list[dict[str, Any]] | None:
    """Records from their lines, checked as by `check_record`; None where one of them cannot be read.

    Only id, sample, question, prompt, cluster, groups, response, verdict and the score's counts are read: in place of
    the objects `reference`, `image` and `score.details` stand empty ones.
    """
    try:
        records: list[Any] = _SCORE_RECORDS.decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError):
        return None
    return records


def check_record(row: Any) -> dict[str, Any]:
    """A line of records.jsonl, if it has what is read of it.

    Raises:
        ShapeError: naming the field.
    """
    try:
        msgspec.convert(row, _Record)
    except (msgspec.ValidationError, OverflowError, RecursionError):
        return _checked_by_hand(row)
    checked: dict[str, Any] = row
    return checked


def _checked_by_hand(row: Any) -> dict[str, Any]:
    """The same field by field, which says what is wrong."""
    if not isinstance(row, dict):
        raise ShapeError(f"expected an object, found {row!r:.40}")
    _need(row, "id", str)
    _may(row, "sample", int)
    for name in ("question", "prompt", "cluster"):
        _may(row, name, str)
    for name in ("groups", "reference", "verdict", "image"):
        _may(row, name, dict)
    image = row.get("image")
    if image is not None:
        _need(image, "name", str, "image.")
        _need(image, "folder", str, "image.")
    response, score = _need(row, "response", dict), _need(row, "score", dict)
    if "text" not in response or "counts" not in score:
        raise ShapeError("no response.text, or no score.counts")
    for name in ("text", "failure", "finish", "raw"):
        _may(response, name, str, "response.")
    _may(score, "failure", str, "score.")
    _may(score, "details", dict, "score.")
    _check_counts(score["counts"])
    _check_findings(score.get("findings"))
    return row


def _check_counts(counts: Any) -> None:
    if counts is None:
        return
    if not isinstance(counts, dict):
        raise ShapeError(f"score.counts must be an object, found {counts!r:.40}")
    for name, value in counts.items():
        if type(value) not in (int, float) or not 0 <= value <= LARGEST_COUNT:
            raise ShapeError(f"count {name!r} must be a number from 0 to {LARGEST_COUNT:g}, found {value!r:.40}")


def _check_findings(findings: Any) -> None:
    if findings is not None and not isinstance(findings, list):
        raise ShapeError(f"score.findings must be a list, found {findings!r:.40}")
    for finding in findings or ():
        if not isinstance(finding, dict):
            raise ShapeError(f"a finding must be an object, found {finding!r:.40}")
        for name in ("start", "end"):
            _need(finding, name, int, "finding.")
        _need(finding, "label", str, "finding.")
        _may(finding, "note", str, "finding.")


def check_results(results: Mapping[str, Json], metrics: Collection[str] = ()) -> None:
    """The content of metrics.json, if it has what is read of it.

    Args:
        metrics: names that must be there.
    Raises:
        ShapeError: naming the field.
    """
    for name in ("n_scored", "n_total"):
        _need(results, name, int)
    for name in ("failures", "groups", "baselines", "checks", "official", "sums"):
        _may(results, name, dict)
    values = _need(results, "metrics", dict)
    missing = sorted(set(metrics) - set(values))
    if missing:
        raise ShapeError(f"no metric {missing[0]!r}")
    for name, interval in values.items():
        _check_interval(interval, f"metrics.{name}")
    for group, members in (results.get("groups") or {}).items():
        if not isinstance(members, dict):
            raise ShapeError(f"group {group!r:.40} must be an object")
        for value, entry in members.items():
            where = f"groups.{group!r:.40}.{value!r:.40}"
            if not isinstance(entry, dict):
                raise ShapeError(f"{where} must be an object, found {entry!r:.40}")
            _need(entry, "n", int, f"{where}.")
            for name, interval in _need(entry, "metrics", dict, f"{where}.").items():
                _check_interval(interval, f"{where}.{name}")
    for name, row in (results.get("baselines") or {}).items():
        if not isinstance(row, dict) or not all(value is None or _is_number(value) for value in row.values()):
            raise ShapeError(f"baseline {name!r:.40} must be an object of numbers")
    for stage, count in (results.get("failures") or {}).items():
        if type(count) is not int:
            raise ShapeError(f"failures.{stage} must be a whole number, found {count!r:.40}")


def _check_interval(interval: Any, where: str) -> None:
    if not isinstance(interval, dict) or "value" not in interval:
        raise ShapeError(f"{where} must be an object with a value, found {interval!r:.40}")
    unknown = sorted(set(interval) - {"value", "low", "high", "method", "note"})
    if unknown:
        raise ShapeError(f"{where}: unknown field {unknown[0]!r:.40}")
    for name in ("value", "low", "high"):
        if interval.get(name) is not None and not _is_number(interval[name]):
            raise ShapeError(f"{where}.{name} must be a number, found {interval[name]!r:.40}")
    _may(interval, "method", str, f"{where}.")


def _is_number(value: Any) -> bool:
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _need(fields: Mapping[str, Any], name: str, kind: type, prefix: str = "") -> Any:
    if name not in fields:
        raise ShapeError(f"no {prefix}{name}")
    value = fields[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ShapeError(f"{prefix}{name} must be {_WORDS[kind]}, found {value!r:.40}")
    return value


def _may(fields: Mapping[str, Any], name: str, kind: type, prefix: str = "") -> None:
    if fields.get(name) is not None:
        _need(fields, name, kind, prefix)


_WORDS: Mapping[type, str] = {str: "text", int: "a whole number", dict: "an object"}
