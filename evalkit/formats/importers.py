"""Responses made elsewhere, joined to a benchmark's items by id or content, never by position.

What cannot be joined is named: unknown ids, two answers for one item, items without an answer, ambiguous questions.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.files.rows import Row, read_rows
from evalkit.formats.answers import FORMATS, HOW_TO_MARK, TEXTS, Answer, Format, detect, format_named
from evalkit.formats.joining import ANOTHER_QUESTION, SEVERAL_PARTS, Join, join_answers, plain_question
from evalkit.formats.keys import named_alike
from evalkit.runs.records import RESPONSES, read_journal
from evalkit.schema import Item, Response

AUTO = "auto"
SHOWN = 5  # how many of a kind an error names


def import_responses(
    paths: Path | Sequence[Path],
    items: Sequence[Item],
    format_name: str = AUTO,
    *,
    partial: bool = False,
    formats: Sequence[Format] = (),
    notes: list[str] | None = None,
    editions: str = "",
    parts: str = "",
) -> list[Response]:
    """Responses from one file or several (one per part of the items), in the order of the items.

    Args:
        format_name: a name out of `answers.FORMATS` or `formats`, or "auto".
        partial: allow items without an answer.
        formats: those of a benchmark's own.
        notes: sentences are added to it about what was read with a grain of salt: rows without a response, misspelled
            questions.
        parts: how one part of the items is chosen; said where an answer may belong to several.
        editions: how to name items of another edition; said where answers belong to other questions.
    Raises:
        DataError: if a file cannot be read, or anything is unmatched, doubled, or (unless `partial`) missing.
    """
    files = [paths] if isinstance(paths, Path) else list(paths)
    asked = {plain_question(item.question) for item in items if item.question}
    answers = [(path, answer) for path in files for answer in read_answers(path, format_name, formats, asked)]
    joined = join_answers(answers, items)
    what = ", ".join(map(str, files))
    if notes is not None:
        notes += _notes(joined, what)
    for names, problem in (
        (joined.unmatched, "answers belong to no item of this benchmark"),
        (joined.duplicates, "items are answered twice"),
        ([] if partial else joined.missing, f"of {len(items)} items have no answer (--partial scores the others)"),
    ):
        if names:
            more = f" ... and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            several = len(files) > 1 and names is joined.duplicates
            remedy = "; files of several runs are scored one run at a time" if several else ""
            if editions and any(ANOTHER_QUESTION in name for name in names):
                remedy = f"; {editions}"
            elif parts and any(SEVERAL_PARTS in name for name in names):
                remedy = f"; {parts}"
            raise DataError(f"{what}: {len(names)} {problem}: {'; '.join(names[:SHOWN])}{more}{remedy}")
    place = {item.id: number for number, item in enumerate(items)}
    return sorted(joined.responses.values(), key=lambda response: (place[response.prompt_id], response.sample))


def read_answers(
    path: Path, format_name: str = AUTO, formats: Sequence[Format] = (), asked: Collection[str] = ()
) -> list[Answer]:
    """All answers of a file.

    Args:
        formats: those of a benchmark's own, beside the general ones.
        asked: its questions, plain: a `text` that is one of them, beside another text, is the question.
    Raises:
        DataError: if it cannot be read; the message names file and line.
    """
    if path.is_dir():
        return _of_run(path / RESPONSES)
    rows = [Row(row.where, _with_question(named_alike(row.fields), asked)) for row in read_rows(path)]
    reader = _detected(rows, formats) if format_name == AUTO else format_named(format_name, formats)
    if format_name == AUTO and reader not in formats:
        _check_one_text(rows)
    answers = [reader.read(row) for row in rows]
    if reader.text and not any(name in row.fields for row in rows for name in reader.text):
        fields = ", ".join(map(repr, list(rows[0].fields)[:10]))
        raise DataError(f"{rows[0].where}: no field {' or '.join(map(repr, reader.text[:6]))}; found {fields}")
    return answers


def _with_question(fields: Mapping[str, Any], asked: Collection[str]) -> Mapping[str, Any]:
    """The fields, with the question under its own name: POPE's lists and their kin call it `text`."""
    text = fields.get("text")
    if isinstance(text, str) and _other_text(fields) is not None and plain_question(text) in asked:
        return {"question": text, **{name: value for name, value in fields.items() if name != "text"}}
    return fields


def _other_text(fields: Mapping[str, Any]) -> str | None:
    return next((name for name in TEXTS if name != "text" and isinstance(fields.get(name), str)), None)


def _check_one_text(rows: Sequence[Row]) -> None:
    """Whether one field alone can be the response.

    Raises:
        DataError: if `text` and `answer` differ and no field is named as only a response is.
    """
    for row in rows:
        text, answer = row.fields.get("text"), row.fields.get("answer")
        if isinstance(text, str) and isinstance(answer, str) and text != answer and _other_text(row.fields) == "answer":
            raise DataError(
                f"{row.where}: 'text' or 'answer', which is the response? --format llava takes 'text', --format "
                "question-answers 'answer'"
            )


def _of_run(path: Path) -> list[Answer]:
    """The last line of each (item, sample) in a run's own journal: a failed response may have been generated again."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    rows = read_journal(path)
    if not rows:
        raise DataError(f"{path}: holds no rows")
    reader = format_named("journal")
    answers = [reader.read(Row(f"{path}:{number}", row)) for number, row in enumerate(rows, 1)]
    return list({(answer.keys, answer.sample): answer for answer in answers}.values())


def _detected(rows: Sequence[Row], formats: Sequence[Format]) -> Format:
    """The format of the first row that fits one: the first of all may be the one without a response."""
    for row in rows:
        if any(entry.fits(row.fields) for entry in (*formats, *FORMATS)):
            return detect(row, formats)
    return detect(rows[0], formats)


def _notes(joined: Join, what: str) -> list[str]:
    notes = []
    if joined.absent:
        some = ", ".join(place.rpartition("/")[2] for place in joined.absent[:SHOWN])
        more = ", ..." if len(joined.absent) > SHOWN else ""
        notes.append(
            f"{what}: {len(joined.absent)} rows have no response and count as failed ({some}{more}); {HOW_TO_MARK}"
        )
    if joined.blank:
        some = ", ".join(place.rpartition("/")[2] for place in joined.blank[:SHOWN])
        more = ", ..." if len(joined.blank) > SHOWN else ""
        notes.append(
            f"{what}: {len(joined.blank)} responses are texts without a word and are scored as such ({some}{more}); "
            f"{HOW_TO_MARK}"
        )
    if joined.misspelled:
        notes.append(f'{what}: {joined.misspelled} questions say "imange", which is read as "image"')
    return notes
