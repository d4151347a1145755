"""HallusionBench's question file, HallusionBench.json, and labels made by people."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from benchmarks.hallusionbench.codes import Code
from benchmarks.hallusionbench.figures import Question
from evalkit.errors import DataError
from evalkit.files.fields import field
from evalkit.files.rows import Row, read_rows

_TRUTHS = {"0": "no", "1": "yes"}
_KEY = ("category", "subcategory", "set_id", "figure_id", "question_id")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the file: the question, its text, and the sentence a judge compares an answer with."""

    question: Question
    text: str
    explanation: str

    @property
    def key(self) -> str:
        """The question's name, e.g. VS_chart_0_0_1: category, subcategory, set, figure, question."""
        return question_key(self.question)


def question_key(question: Question, figure_id: str | None = None) -> str:
    """Name of a question, or of the same question about another figure of its set."""
    figure = question.figure_id if figure_id is None else figure_id
    return "_".join((question.category, question.subcategory, question.set_id, figure, question.question_id))


def read_entries(path: Path) -> list[Entry]:
    """All questions in file order.

    Raises:
        DataError: if the file is missing or malformed, or a question stands there twice.
    """
    entries: dict[str, Entry] = {}
    for row in read_rows(path):
        entry = _entry(row)
        if entry.key in entries:
            raise DataError(f"{row.where}: question {entry.key!r} stands there twice")
        entries[entry.key] = entry
    return list(entries.values())


def _entry(row: Row) -> Entry:
    parts = {name: str(field(row, name, str)) for name in (*_KEY, "visual_input", "gt_answer")}
    if parts["category"] not in ("VD", "VS"):
        raise DataError(f"{row.where}: 'category' must be VD or VS, found {parts['category']!r}")
    if parts["visual_input"] not in ("0", "1", "2"):
        raise DataError(f"{row.where}: 'visual_input' must be 0, 1 or 2, found {parts['visual_input']!r}")
    if parts["gt_answer"] not in _TRUTHS:
        raise DataError(f"{row.where}: 'gt_answer' must be 0 or 1, found {parts['gt_answer']!r}")
    question = Question(
        **{name: parts[name] for name in _KEY},
        visual_input=parts["visual_input"],
        truth=_TRUTHS[parts["gt_answer"]],
    )
    return Entry(question, field(row, "question", str), field(row, "gt_answer_details", str))


def read_labels(path: Path) -> Mapping[str, Code]:
    """Codes that people gave: rows with id (VS_chart_0_0_1) and label (0 wrong, 1 right, 2 unclear).

    Raises:
        DataError: if a row lacks a field, a label is another one, or an id stands there twice.
    """
    labels: dict[str, Code] = {}
    for row in read_rows(path):
        name, label = field(row, "id", str), str(row.fields.get("label", ""))
        if label not in get_args(Code):
            raise DataError(f"{row.where}: 'label' must be 0, 1 or 2, found {row.fields.get('label')!r}")
        if name in labels:
            raise DataError(f"{row.where}: question {name!r} has a second label")
        labels[name] = cast("Code", label)
    return labels
