"""Files of LLaVA-Bench: questions, one context per image, reference answers; joined by id, never by line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evalkit.errors import DataError
from evalkit.files.fields import field, words
from evalkit.files.rows import Row, read_rows

CATEGORIES = ("conv", "detail", "complex")


@dataclass(frozen=True, slots=True)
class Question:
    """One question with what the judge is shown. `where`: file and line, for errors."""

    where: str
    question_id: str
    image: str
    text: str
    category: str
    context: str
    reference: str


def read_questions(questions: Path, contexts: Path, answers: Path) -> list[Question]:
    """All questions in file order, with the context of their image and the reference answer.

    Raises:
        DataError: if a file is missing or malformed, an id is repeated, or a question lacks its context or answer.
    """
    by_image = _contexts(contexts)
    by_id = _answers(answers)
    read: list[Question] = []
    seen: dict[str, str] = {}
    for row in read_rows(questions):
        number = str(field(row, "question_id", int))
        if number in seen:
            raise DataError(f"{row.where}: question_id {number} stands already at {seen[number]}")
        seen[number] = row.where
        category, image = field(row, "category", str), field(row, "image", str)
        if category not in CATEGORIES:
            raise DataError(f"{row.where}: 'category' must be one of {', '.join(CATEGORIES)}, found {category!r}")
        if image not in by_image:
            raise DataError(f"{row.where}: {contexts} has no context of image {image!r}")
        if number not in by_id:
            raise DataError(f"{row.where}: {answers} has no answer to question {number}")
        text = field(row, "text", str)
        read.append(Question(row.where, number, image, text, category, by_image[image], by_id[number]))
    return read


def _contexts(path: Path) -> Mapping[str, str]:
    contexts: dict[str, str] = {}
    for row in read_rows(path):
        image = field(row, "image", str)
        if image in contexts:
            raise DataError(f"{row.where}: image {image!r} has a second context")
        contexts[image] = _context(row)
    return contexts


def _context(row: Row) -> str:
    """The image in words: one written caption (In-the-Wild), or five captions, a blank line and the boxes (COCO)."""
    if "caption" in row.fields:
        return str(field(row, "caption", str))
    captions = "\n".join(words(row, "captions"))
    boxes = []
    for instance in field(row, "instances", list):
        if not isinstance(instance, dict) or not {"category", "bbox"} <= instance.keys():
            raise DataError(f"{row.where}: 'instances' must be objects with category and bbox, found {instance!r:.60}")
        boxes.append(f"{instance['category']}: {instance['bbox']}")
    return captions + "\n\n" + "\n".join(boxes)


def _answers(path: Path) -> Mapping[str, str]:
    answers: dict[str, str] = {}
    for row in read_rows(path):
        number = str(field(row, "question_id", int))
        if number in answers:
            raise DataError(f"{row.where}: question {number} has a second answer")
        answers[number] = field(row, "text", str)
    return answers
