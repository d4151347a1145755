"""Responses made elsewhere, joined to a benchmark's items by id or content, never by position.

What cannot be joined is named: unknown ids, two answers for one item, items without an answer, ambiguous questions.

Responses given by item id, laid on the items: each known, none missing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evalkit.errors import DataError
from evalkit.files.rows import read_rows
from evalkit.formats.answers import Answer, Format, detect, format_named
from evalkit.runs.records import RESPONSES
from evalkit.schema import Item, Response

AUTO = "auto"
SHOWN = 5  # how many of a kind an error names
_TRAILING_NUMBER = re.compile(r"(\d+)$")
_NEGATIVE = re.compile(r"-\d+")


@dataclass(slots=True)
class Join:
    """Answers laid on items.

    responses   (item id, sample) -> response
    unmatched   answers that belong to no item, or to several: where they stand and why
    duplicates  second answers for the same item and sample
    missing     ids of items without any answer
    """

    responses: dict[tuple[str, int], Response] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def import_responses(
    paths: Path | Sequence[Path],
    items: Sequence[Item],
    format_name: str = AUTO,
    *,
    partial: bool = False,
    formats: Sequence[Format] = (),
) -> list[Response]:
    """Responses from one file or several (one per part of the items), in the order of the items.

    Args:
        format_name: a name out of `answers.FORMATS` or `formats`, or "auto".
        partial: allow items without an answer.
        formats: those of a benchmark's own.
    Raises:
        DataError: if a file cannot be read, or anything is unmatched, doubled, or (unless `partial`) missing.
    """
    files = [paths] if isinstance(paths, Path) else list(paths)
    answers = [(path, answer) for path in files for answer in read_answers(path, format_name, formats)]
    joined = join_answers(answers, items)
    what = ", ".join(map(str, files))
    for names, problem in (
        (joined.unmatched, "answers belong to no item of this benchmark"),
        (joined.duplicates, "items are answered twice"),
        ([] if partial else joined.missing, f"of {len(items)} items have no answer (--partial scores the others)"),
    ):
        if names:
            more = f" ... and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise DataError(f"{what}: {len(names)} {problem}: {'; '.join(names[:SHOWN])}{more}")
    place = {item.id: number for number, item in enumerate(items)}
    return sorted(joined.responses.values(), key=lambda response: (place[response.prompt_id], response.sample))


def read_answers(path: Path, format_name: str = AUTO, formats: Sequence[Format] = ()) -> list[Answer]:
    """All answers of a file; `formats` are those of a benchmark's own, beside the general ones.

    Raises:
        DataError: if it cannot be read; the message names file and line.
    """
    if path.is_dir():
        path = path / RESPONSES  # a run directory
    rows = read_rows(path)
    reader = detect(rows[0], formats) if format_name == AUTO else format_named(format_name, formats)
    return [reader.read(row) for row in rows]


def join_answers(answers: Iterable[tuple[Path, Answer]], items: Sequence[Item]) -> Join:
    """Lay answers on items; nothing is raised, everything is named. The path only helps to tell parts apart."""
    index = ItemIndex(items)
    joined = Join()
    places: dict[tuple[str, int], str] = {}
    for path, answer in answers:
        item_id, reason = index.find(answer, path.stem)
        if item_id is None:
            joined.unmatched.append(f"{answer.where} ({reason})")
            continue
        key = (item_id, answer.sample)
        if key in places:
            joined.duplicates.append(f"item {item_id!r} at {answer.where}, before at {places[key]}")
            continue
        places[key] = answer.where
        joined.responses[key] = Response(item_id, answer.text, answer.sample, failure=answer.failure)
    answered = {item_id for item_id, _ in places}
    joined.missing = [item.id for item in items if item.id not in answered]
    return joined


class ItemIndex:
    """Finds the one item that an answer's keys fit."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._questions = {item.id: plain_question(item.question) for item in items}
        self._one_question = len(set(self._questions.values())) == 1
        self._parts = {item.id: item.id.rpartition("/")[0] for item in items}
        self._names_of_parts = set(self._parts.values()) - {""}  # few, where the items are thousands
        self._by_key: dict[tuple[str, str], set[str]] = {}
        for item in items:
            for kind, value in _item_keys(item):
                self._by_key.setdefault((kind, value), set()).add(item.id)

    def find(self, answer: Answer, stem: str) -> tuple[str | None, str]:
        """The item's id, or None and why.

        A match by id or image must not contradict the question, where the answer has one. Items in several parts
        ("part/id") are told apart by further keys, then by a part's name in the file's name.
        """
        asked = next((plain_question(value) for kind, value in answer.keys if kind == "question"), None)
        told = [(kind, value) for kind, value in answer.keys if kind != "question"]
        fitting: set[str] | None = None
        contradicted: set[str] = set()
        for kind, value in told:
            found = self._candidates(kind, value)
            if asked is not None:
                same = {item_id for item_id in found if self._same_question(item_id, asked)}
                contradicted |= found - same
                found = same
            if found:
                fitting = found if fitting is None or not fitting & found else fitting & found
        if fitting is None:
            if asked is None or any(kind == "image" for kind, _ in told):
                fitting = set()
            else:
                fitting = self._by_key.get(("question", asked), set())
        if len(fitting) > 1:
            fitting = {item_id for item_id in fitting if self._questions[item_id] == asked} or fitting
        if len(fitting) > 1:
            parts = {part for part in self._names_of_parts if part in stem}
            fitting = {item_id for item_id in fitting if self._parts[item_id] in parts} or fitting
        if len(fitting) == 1:
            return next(iter(fitting)), ""
        if not fitting and contradicted:
            return None, f"{_shown(answer)}: item {min(contradicted)!r} asks another question"
        if not fitting:
            return None, f"no item with {_shown(answer)}"
        return None, f"{_shown(answer)} fits {len(fitting)} items, e.g. {', '.join(sorted(fitting)[:3])}"

    def _candidates(self, kind: str, value: str) -> set[str]:
        if kind == "image":
            names = _image_names(value)
            return set().union(*(self._by_key.get(("image", name), set()) for name in names[:1])) or set().union(
                *(self._by_key.get(("image", name), set()) for name in names[1:])
            )
        return self._by_key.get(("id", value), set()) or self._by_key.get(("id part", value), set())

    def _same_question(self, item_id: str, asked: str) -> bool:
        """Prompts may carry more text around the question; where all items share one, its wording tells nothing."""
        question = self._questions[item_id]
        return self._one_question or not question or question in asked or asked in question


def plain_question(text: str) -> str:
    """A question without image marks, case and spacing."""
    return " ".join(re.sub(r"<image>|<ImageHere>|<image_\d+>", " ", text).split()).casefold()


def _item_keys(item: Item) -> set[tuple[str, str]]:
    keys = {("id", item.id), ("id part", item.id.rpartition("/")[2]), ("question", plain_question(item.question))}
    image_id = item.reference.get("image_id")
    if isinstance(image_id, str | int):
        keys.add(("image", str(image_id)))
    if item.image is not None:
        keys |= {("image", name) for name in _image_names(item.image.name)}
    else:
        keys.add(("image", item.id))  # benchmarks of one item per image use the image's id
    return keys


def _image_names(value: str) -> list[str]:
    """A file name, its stem, and the number at its end without leading zeros (COCO_val2014_000000310196.jpg)."""
    name = value.replace("\\", "/").rpartition("/")[2]
    stem = name.rpartition(".")[0] or name
    number = None if _NEGATIVE.fullmatch(stem) else _TRAILING_NUMBER.search(stem)
    names = [value, name, stem]
    if number:
        names.append(str(int(number[1][:18])))
    return list(dict.fromkeys(names))


def _shown(answer: Answer) -> str:
    return ", ".join(f"{kind} {value[:40]!r}" for kind, value in answer.keys)


def answered(items: Sequence[Item], responses: Mapping[str, str], partial: bool, name: str) -> list[tuple[Item, str]]:
    """Items with their responses, in the order of the items.

    Args:
        responses: item id -> response.
        partial: allow items without a response.
        name: of the benchmark, for errors.
    Raises:
        DataError: if an id belongs to no item, or (unless `partial`) an item has no response.
    """
    known = {item.id for item in items}
    unknown = [item_id for item_id in responses if item_id not in known]
    if unknown:
        raise DataError(f"{name}: {len(unknown)} responses belong to no item: {_shown_ids(unknown)}")
    missing = [item.id for item in items if item.id not in responses]
    if missing and not partial:
        raise DataError(
            f"{name}: {len(missing)} of {len(items)} items have no response: {_shown_ids(missing)}; "
            "choose partial to score the others"
        )
    return [(item, responses[item.id]) for item in items if item.id in responses]


def _shown_ids(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")
