"""Potato: a study as its data and configuration, and its rows as answers. Formats only.

Data is JSON Lines with id, text, image; the configuration is YAML, written as JSON, which is YAML too. Results are rows
(CSV, TSV, JSON Lines): instance_id, user_id, schema_name, start, end, label, text. A response without a mark has no
span row, so annotators say "clean" by a schema of its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evalkit.annotation.answers import CHOICES, QUESTIONS
from evalkit.annotation.exchange.label_studio import located
from evalkit.annotation.study import Study
from evalkit.errors import DataError
from evalkit.files.rows import Row

SPANS, CLEAN = "hallucination", "clean"


def config(study: Study) -> dict[str, Any]:
    """The configuration, to be written as JSON.

    Raises:
        DataError: for a study of corrections, which Potato has no schema for.
    """
    if study.task == "correct":
        raise DataError("Potato has no schema for corrected texts; Label Studio's TextArea has: --to label-studio")
    if study.task == "mark":
        schemes = [
            {
                "annotation_type": "span",
                "name": SPANS,
                "description": "What does the image contradict?",
                "labels": list(study.types),
            },
            {
                "annotation_type": "multiselect",
                "name": CLEAN,
                "description": "Or is all of it true?",
                "labels": [CLEAN],
            },
        ]
    else:
        schemes = [
            {"annotation_type": "radio", "name": name, "description": text, "labels": list(CHOICES)}
            for name, text in zip(QUESTIONS, ("Which hallucinates less?", "Which is better overall?"), strict=True)
        ]
    return {
        "annotation_task_name": study.name,
        "data_files": ["potato_data.jsonl"],
        "item_properties": {"id_key": "id", "text_key": "text"},
        "annotation_schemes": schemes,
    }


def data(study: Study) -> Iterator[dict[str, Any]]:
    """Rows of the data file."""
    for item in study.items:
        text = (
            item.texts[0]
            if len(item.texts) == 1
            else "\n\n".join(f"{name}: {text}" for name, text in zip(("first", "second"), item.texts, strict=True))
        )
        yield {"id": item.key, "text": text, "prompt": item.prompt, "image": item.image["name"] if item.image else None}


def answers(study: Study, rows: Sequence[Row]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(user, item key, answer) for each instance that a user finished.

    Raises:
        DataError: if a row lacks a field, an item is unknown, or a span does not fit its quote; with the row's place.
    """
    if study.task == "correct":
        raise DataError("Potato has no schema for corrected texts")
    instances: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        missing = [
            name for name in ("instance_id", "user_id", "schema_name", "label") if row.fields.get(name) in (None, "")
        ]
        if missing:
            raise DataError(f"{row.where}: missing {', '.join(missing)}; found {', '.join(row.fields)}")
        instances.setdefault((str(row.fields["user_id"]), str(row.fields["instance_id"])), []).append(row)
    for (user, key), own in instances.items():
        yield user, key, _marks(study, key, own) if study.task == "mark" else _choices(own)


def _marks(study: Study, key: str, rows: Sequence[Row]) -> dict[str, Any]:
    text = study.item(key).texts[0]
    spans = []
    for row in rows:
        fields: Mapping[str, Any] = row.fields
        if fields["schema_name"] == SPANS:
            try:
                spans.append(
                    [*located(text, fields["start"], fields["end"], fields.get("text") or None), fields["label"]]
                )
            except (KeyError, TypeError, ValueError, DataError) as error:
                raise DataError(f"{row.where}: {error}") from error
    if spans and any(row.fields["schema_name"] == CLEAN for row in rows):
        raise DataError(f"{rows[0].where}: item {key!r} is marked and also said to be clean")
    return {"spans": spans}


def _choices(rows: Sequence[Row]) -> dict[str, Any]:
    said = {row.fields["schema_name"]: row.fields["label"] for row in rows}
    missing = [name for name in QUESTIONS if name not in said]
    if missing:
        raise DataError(f"{rows[0].where}: no row for {', '.join(missing)}")
    return {**{name: said[name] for name in QUESTIONS}, "wrong": []}
