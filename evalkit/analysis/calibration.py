"""Reference verdicts for a judge: labels read from a file or from the records of a run, matched by response."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evalkit.errors import DataError
from evalkit.files.rows import Row, read_rows
from evalkit.formats.keys import key_text
from evalkit.runs.run import Run
from evalkit.schema import Json
from evalkit.statistics.agreement import Key

LABEL_FIELDS = ("rating", "label", "verdict", "score")


def labels_of_records(
    records: Sequence[Mapping[str, Json]], label: Callable[[Mapping[str, float]], float | None]
) -> dict[Key, float]:
    """Labels out of scored records; samples that could not be scored have none.

    Args:
        records: lines of records.jsonl.
        label: from a sample's counts, None where it says nothing.
    """
    labels: dict[Key, float] = {}
    for record in records:
        counts = record["score"]["counts"]
        value = label(counts) if counts is not None else None
        if value is not None:
            labels[record["id"], record["sample"]] = value
    return labels


def check_same_responses(judged: Run, reference: Run) -> None:
    """Two judges can be compared on the same responses only.

    Raises:
        DataError: if the runs are of two benchmarks, or an item has another response in each.
    """
    if judged.benchmark != reference.benchmark:
        raise DataError(f"{judged.path} is a run of {judged.benchmark}, {reference.path} one of {reference.benchmark}")
    texts = {(row["id"], row["sample"]): row["response"]["text"] for row in reference.rows}
    for row in judged.rows:
        if row["response"]["text"] != texts.get((row["id"], row["sample"]), row["response"]["text"]):
            raise DataError(
                f"{reference.path}: item {row['id']!r} has another response than in {judged.path}; "
                "let both judges score the same responses"
            )


def read_labels(path: Path) -> dict[Key, float]:
    """Reference verdicts from a JSON, JSONL, CSV, TSV or Excel file with id, rating (or label, verdict, score), sample.

    Raises:
        DataError: if a row lacks a field, a label is not a number, or an id is there twice; file and line are named.
    """
    labels: dict[Key, float] = {}
    for row in read_rows(path):
        key = (_id(row), _whole(row))
        if key in labels:
            raise DataError(f"{row.where}: item {key[0]!r} has a second verdict")
        labels[key] = _label(row)
    return labels


def _id(row: Row) -> str:
    if row.fields.get("id") is None:
        raise DataError(f"{row.where}: no field 'id'; found {', '.join(map(repr, list(row.fields)[:10]))}")
    return key_text(row.fields["id"], f"{row.where}: 'id'")


def _whole(row: Row) -> int:
    text = key_text(row.fields.get("sample", 0), f"{row.where}: 'sample'")
    if not text.isdigit():
        raise DataError(f"{row.where}: 'sample' must be 0, 1, ..., found {text!r}")
    return int(text)


def _label(row: Row) -> float:
    name = next((name for name in LABEL_FIELDS if row.fields.get(name) is not None), None)
    if name is None:
        if blank := next((name for name in LABEL_FIELDS if name in row.fields), None):
            raise DataError(f"{row.where}: {blank!r} must be a number, found no value")
        raise DataError(f"{row.where}: no field {' or '.join(map(repr, LABEL_FIELDS))}")
    value = row.fields[name]
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{row.where}: {name!r} must be a number, found {value!r}")
    return number
