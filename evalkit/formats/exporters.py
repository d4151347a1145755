"""Responses of a run in the formats that the authors' scripts read.

Those formats know no failure, and an empty text in its place would count as a response without hallucination: failed
responses are refused, or left out if asked for (never where the script goes by position).
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from evalkit.errors import DataError, RecordError, UsageError
from evalkit.files.atomic import write_output
from evalkit.files.rows import read_rows
from evalkit.files.spreadsheet import csv_text
from evalkit.formats.joining import plain_question
from evalkit.runs.records import read_manifest
from evalkit.runs.run import load_run
from evalkit.schema import Json, Record


@dataclass(frozen=True, slots=True)
class Export:
    """A format to write.

    row          one record -> one row
    key          fields that tell rows apart in the authors' script
    suffix       of the file: .json is one list, .jsonl a row a line, .csv a table
    by_position  the authors' script goes by position, so nothing may be left out
    fills        the format is a file of the authors whose records are filled in
    name         as on the command line
    """

    row: Callable[[Record], dict[str, Json]]
    key: tuple[str, ...]
    suffix: str
    about: str
    by_position: bool = False
    fills: bool = False
    name: str = ""

    def named(self, name: str) -> "Export":
        """The same format under the name by which a benchmark's users know it."""
        return replace(self, name=name)


def export_run(
    run_dir: Path,
    format_name: str,
    output: Path,
    *,
    omit_failures: bool = False,
    sample: int | None = None,
    template: Path | None = None,
    exports: Sequence[Export] = (),
    formulas: bool = False,
) -> list[Path]:
    """Write a scored run's responses; returns the files written.

    Args:
        output: the file; a run of several parts (ids "part/id") gives one file per part, named <stem>_<part>.
        omit_failures: leave failed responses out.
        sample: which of several responses per item, counted from 0; needed where there are several.
        template: the records to fill, for a format that is such a file.
        exports: formats that benchmarks declare, beside the general ones.
        formulas: leave texts in CSV that a spreadsheet would run, see `evalkit.files.spreadsheet`.
    Raises:
        UsageError: if the format is unknown or needs a template, or the run has several responses per item.
        DataError: if a response failed, or a record does not fit the format or the template.
        RecordError: if the folder is not a scored run.
    """
    manifest = read_manifest(run_dir)
    model = str(manifest.get("label", ""))
    exports = (*_noted(manifest.get("exports")), *exports)
    records = load_run(run_dir).rows
    if not records:
        raise RecordError(f"{run_dir}: no records; score the run first")
    samples = sorted({row.get("sample", 0) for row in records})
    chosen = samples[0] if sample is None else sample
    if chosen not in samples or (sample is None and len(samples) > 1):
        raise UsageError(f"{run_dir} has responses {samples[0]} to {samples[-1]} per item: choose one with --sample")
    rows = [row for row in records if row.get("sample", 0) == chosen]
    return export_records(
        rows,
        format_name,
        output,
        model=model,
        omit_failures=omit_failures,
        template=template,
        exports=exports,
        formulas=formulas,
    )


def _noted(names: Json) -> list[Export]:
    """General formats under the names that a run's manifest notes for them."""
    if not isinstance(names, dict):
        return []
    return [EXPORTS[general].named(name) for name, general in names.items() if general in EXPORTS]


def general_names(exports: Sequence[Export]) -> dict[str, str]:
    """Name -> general format, for those of a benchmark's formats that are a general one under another name."""
    return {
        entry.name: general
        for entry in exports
        for general, known in EXPORTS.items()
        if known.named(entry.name) == entry
    }


def export_records(
    records: Sequence[Record],
    format_name: str,
    output: Path,
    *,
    model: str = "",
    omit_failures: bool = False,
    template: Path | None = None,
    exports: Sequence[Export] = (),
    formulas: bool = False,
) -> list[Path]:
    """`export_run` for records at hand."""
    known = {**EXPORTS, **{entry.name: entry for entry in exports}}
    export = known.get(format_name)
    if export is None:
        raise UsageError(f"unknown format {format_name!r}; known: {', '.join(known)}")
    if export.fills:
        if template is None:
            raise UsageError(f"format {format_name!r} fills the authors' file: name it with --template")
        text = _json_list(fill_template(template, _answered(records, False, by_position=True)))
        return [write_output(output, text)]
    kept = _answered(records, omit_failures, export.by_position)
    parts: dict[str, list[dict[str, Json]]] = {}
    for record in kept:
        row = export.row(record)
        parts.setdefault(str(record["id"]).rpartition("/")[0], []).append(
            row | ({"model_id": model} if "model_id" in row else {})
        )
    for rows in parts.values():
        _check_keys(rows, export.key, format_name)
    texts = {}
    for part, rows in parts.items():
        path = output.with_name(f"{output.stem}_{part.replace('/', '_')}{output.suffix}") if part else output
        if export.suffix == ".csv":
            texts[path] = csv_text(rows, list(rows[0]), formulas)
        else:
            texts[path] = WRITERS[export.suffix](rows)
    return [write_output(path, text) for path, text in texts.items()]


def fill_template(template: Path, records: Sequence[Record]) -> list[dict[str, Json]]:
    """The template's rows, in their order, with `model_answer` set; joined by image id and question.

    Raises:
        DataError: if a row has no response, or a response no row.
    """
    responses = {_content_key(_image_id(record), record["question"]): record["response"]["text"] for record in records}
    filled: list[dict[str, Json]] = []
    for row in read_rows(template):
        missing = [name for name in ("image_id", "question") if name not in row.fields]
        if missing:
            raise DataError(f"{row.where}: no field {missing[0]!r}; is it the authors' template?")
        key = _content_key(str(row.fields["image_id"]), row.fields["question"])
        if key not in responses:
            raise DataError(f"{row.where}: no response for image {key[0]!r}, question {key[1]!r}")
        filled.append({**row.fields, "model_answer": responses.pop(key)})
    if responses:
        raise DataError(
            f"{template}: has no row for {len(responses)} responses, e.g. image {next(iter(responses))[0]!r}"
        )
    return filled


def _content_key(image: str, question: str) -> tuple[str, str]:
    return image, plain_question(str(question))


def _answered(records: Sequence[Record], omit_failures: bool, by_position: bool) -> list[Record]:
    failed = [str(record["id"]) for record in records if record["response"]["text"] is None]
    if failed and (by_position or not omit_failures):
        remedy = (
            "the format goes by position and cannot leave them out" if by_position else "--omit-failures drops them"
        )
        raise DataError(f"{len(failed)} responses failed ({', '.join(failed[:5])}); {remedy}")
    return [record for record in records if record["response"]["text"] is not None]


def _check_keys(rows: Sequence[Mapping[str, Json]], key: tuple[str, ...], format_name: str) -> None:
    """A run of another kind of benchmark does not fit: e.g. several questions per image, in a format of captions."""
    (repeated, count), *_ = Counter(tuple(row[name] for name in key) for row in rows).most_common(1)
    if count > 1:
        named = ", ".join(f"{name} {value!r}" for name, value in zip(key, repeated, strict=True))
        raise DataError(f"the run does not fit format {format_name!r}, which has one row per key: {named} has {count}")


def _number(value: Any, record: Record) -> int:
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"item {record['id']!r}: the format needs whole numbers, found {value!r}") from error


def _image_id(record: Record) -> str:
    """The image's id in the reference, else the number in its file name, else the item's own id."""
    if (image_id := record["reference"].get("image_id")) is not None:
        return str(image_id)
    if record.get("image"):
        stem = PurePosixPath(record["image"]["name"]).stem
        digits = stem[len(stem.rstrip("0123456789")) :]
        return str(int(digits)) if digits else stem
    return str(record["id"])


def _own_id(record: Record) -> str:
    return str(record["id"]).rpartition("/")[2]


def _responses(record: Record) -> dict[str, Json]:
    return {"id": _number(_own_id(record), record), "response": record["response"]["text"]}


def _captions(record: Record) -> dict[str, Json]:
    return {"image_id": _number(_image_id(record), record), "caption": record["response"]["text"]}


def _question_answers(record: Record) -> dict[str, Json]:
    return {
        "question_id": _number(_own_id(record), record),
        "question": record["question"],
        "answer": record["response"]["text"],
    }


def _image_answers(record: Record) -> dict[str, Json]:
    image_id = _number(_image_id(record), record)
    text = record["response"]["text"]
    return {"image_id": image_id, "question": record["question"], "answer": text, "metainfos": {"image_id": image_id}}


def _llava(record: Record) -> dict[str, Json]:
    text = record["response"]["text"]
    return {"question_id": record["id"], "prompt": record["prompt"], "text": text, "model_id": "", "metadata": {}}


def _plain(record: Record) -> dict[str, Json]:
    return {"id": record["id"], "response": record["response"]["text"]}


RESPONSES = Export(_responses, ("id",), ".json", "[{id, response}]")
CAPTIONS = Export(_captions, ("image_id",), ".jsonl", "{image_id, caption} a line")
QUESTION_ANSWERS = Export(
    _question_answers,
    ("question_id",),
    ".jsonl",
    "{question_id, question, answer} a line, in the order of the questions",
    by_position=True,
)
IMAGE_ANSWERS = Export(
    _image_answers, ("image_id", "question"), ".jsonl", "{image_id, question, answer, metainfos} a line"
)
FILLED_TEMPLATE = Export(
    _plain, (), ".json", "the authors' file (--template) with model_answer filled in", by_position=True, fills=True
)
EXPORTS: dict[str, Export] = {
    "responses": RESPONSES,
    "captions": CAPTIONS,
    "question-answers": QUESTION_ANSWERS,
    "image-answers": IMAGE_ANSWERS,
    "filled-template": FILLED_TEMPLATE,
    "llava": Export(_llava, ("question_id",), ".jsonl", "{question_id, prompt, text, model_id, metadata} a line"),
    "plain": Export(_plain, ("id",), ".jsonl", "{id, response} a line"),
    "csv": Export(_plain, ("id",), ".csv", "id,response"),
}


def _json_list(rows: Sequence[Mapping[str, Json]]) -> str:
    return json.dumps(rows, ensure_ascii=False, indent=2) + "\n"


def _json_lines(rows: Sequence[Mapping[str, Json]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


WRITERS: dict[str, Callable[[Sequence[Mapping[str, Json]]], str]] = {
    ".json": _json_list,
    ".jsonl": _json_lines,
}
