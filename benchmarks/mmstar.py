"""MMStar: multiple choice that cannot be answered without the image (Chen et al. 2024, arXiv:2403.20330).

Item        one of 1,500 questions with 2 to 4 options in its text, 6 categories of 250, 18 sub-categories
Reference   the letter of the right option
accuracy           answers read as the right letter / questions, in %, by this project's reading
accuracy_official  the same by the authors' reading, which looks at the beginning of the text only
readings_differ    answers that the two readings score differently, in %
unread             answers in which this project's reading finds no letter, in %; they are wrong

To the authors "The correct answer is B" is wrong and "Cannot be determined" is answer C. Their totals are divided by
250 and 1,500 even where answers are missing; the `official` block keeps that, for complete runs only.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

from evalkit.analysis.leakage import gain_and_leakage as gain_and_leakage
from evalkit.benchmark import Benchmark, DataFile, check_number, content_digest
from evalkit.errors import DataError
from evalkit.files.assets import asset
from evalkit.files.cache import cache_folder
from evalkit.files.embedded import certain_bytes, embedded_bytes, store_embedded
from evalkit.files.fields import field
from evalkit.files.rows import Row, read_rows
from evalkit.formats.given import check_answer
from evalkit.formats.keys import key_text
from evalkit.images import ImageFile
from evalkit.metrics import Metric, sum_counts
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Prompt, Sample, Score

LETTERS = "ABCD"
QUESTIONS, PER_CATEGORY = 1500, 250
METRICS = (
    Metric("accuracy", "100 * right / questions", True),
    Metric("accuracy_official", "100 * right_official / questions", True),
    Metric("readings_differ", "100 * readings_differ / questions", None),
    Metric("unread", "100 * unread / questions", None),
)
_OFFICIAL_STARTS = ("", "(", "option ", "the answer is ")
_DECORATION = re.compile(r"\\boxed|\\text|[*_`$\\{}\[\]\"'“”‘’]")
_ALONE = re.compile(r"[\s(]*(?:option\s+|choice\s+|answer\s*:?\s+)?\(?([A-D])(?:\s*[).:,;]|\s*$|\s*\n)", re.IGNORECASE)
_CONCLUDES = re.compile(
    r"\b(?:answer|option|choice|select|choose|pick)\b(?:\s+(?:is|would be|should be|choice|option|letter))*"
    r"\s*[:=]?\s*(?:option\s+)?\(?([A-D])(?![\w'’])",
    re.IGNORECASE,
)
_CLOSES = re.compile(r"(?:^|[\s(])([A-D])\s*[).]*\s*$")
_OPEN_END = re.compile(r"\b(?:or|nor|and|not)\s+\(?[A-D]\W*$", re.IGNORECASE)  # "B or C", "not B": nothing is settled
_OPTION = re.compile(r"(?:^|[\s(])([A-D])\s*[:.)]\s*(.+?)(?=,?\s*\(?[A-D]\s*[:.)]\s|\n|$)")


def official_right(response: str, answer: str) -> bool:
    """Whether the authors' script takes a response for an answer's letter.

    >>> official_right("Both are red", "B"), official_right("The correct answer is B", "B"), official_right("(b)", "B")
    (True, False, True)
    """
    text = response.lower().strip().replace("\n", " ")
    letter = answer.lower()
    return any(text.startswith(start + letter) for start in _OFFICIAL_STARTS)


def read_letter(response: str, options: Mapping[str, str] | None = None) -> str | None:
    """The letter a response settles on: alone or in front, in a concluding phrase, at the end, or its option's text.

    >>> read_letter("**B**"), read_letter("The correct answer is (C)."), read_letter("Cannot be determined")
    ('B', 'C', None)
    >>> read_letter("A dog"), read_letter("A"), read_letter("the brown one", {"A": "The brown one", "B": "None"})
    (None, 'A', 'A')

    Args:
        options: letter -> text of the option.
    """
    text = _DECORATION.sub("", response).strip()
    if alone := _ALONE.match(text):
        return alone[1].upper()
    if concluded := [match for match in _CONCLUDES.finditer(text) if not _is_article(text, match)]:
        return concluded[-1][1].upper()
    if (closing := _CLOSES.search(text)) and not _OPEN_END.search(text):
        return closing[1]
    plain = text.rstrip(".").casefold()
    fitting = [letter for letter, option in (options or {}).items() if option.strip().rstrip(".").casefold() == plain]
    return fitting[0] if len(fitting) == 1 else None


def _is_article(text: str, match: re.Match[str]) -> bool:
    """Whether the letter found is the word "a" in front of a noun: "the answer is a dog"."""
    return match[1] == "a" and re.match(r"\s+[a-z]", text[match.end() :]) is not None


def options_of(question: str) -> dict[str, str]:
    """The options that a question's text holds, by letter; empty where they are written in an unknown way.

    >>> options_of("What is it? Options: A: a cat, B: a dog")
    {'A': 'a cat', 'B': 'a dog'}
    """
    return {letter: text.strip() for letter, text in _OPTION.findall(question)}


def score_answer(response: str, answer: str, options: Mapping[str, str] | None = None) -> Score:
    """Both readings of one response.

    Args:
        answer: the right letter, a capital.
        options: letter -> text of the option.
    """
    check_answer(response, answer, tuple(LETTERS), "mmstar")
    letter = read_letter(response, options)
    official, robust = official_right(response, answer), letter == answer
    counts = {
        "questions": 1,
        "right": int(robust),
        "right_official": int(official),
        "readings_differ": int(official != robust),
        "unread": int(letter is None),
    }
    return Score(counts, details={"read_as": letter, "official_right": official, "answer": answer})


def official_figures(rows: Iterable[tuple[str, str, bool]], totals: bool = True) -> dict[str, float]:
    """The authors' score file: "final score", categories and "category(sub-category)", as fractions.

    Args:
        rows: (category, sub-category, right by the authors' reading).
        totals: divide by 1,500 and 250 as the authors do, rather than by the questions at hand.
    """
    right: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for category, sub_category, is_right in rows:
        for name in ("final score", category, f"{category}({sub_category})"):
            right[name] += is_right
            count[name] += 1
    return {name: right[name] / _denominator(name, count[name], totals) for name in count}


def _denominator(name: str, count: int, totals: bool) -> int:
    if not totals or name.endswith(")"):
        return count
    return QUESTIONS if name == "final score" else PER_CATEGORY


class MMStar(Benchmark):
    """The benchmark; see the module for what it measures."""

    name = "mmstar"
    metrics: Sequence[Metric] = METRICS
    sampling = Sampling(temperature=0.0, max_new_tokens=32)
    files = (
        DataFile(
            "data",
            "mmstar/MMStar.tsv",
            "the table of Lin-Chen/MMStar on the Hub (mmstar.parquet, or VLMEvalKit's MMStar.tsv), images inside",
        ),
    )

    def __init__(
        self,
        data: Path | None = None,
        images: Path | None = None,
        without_images: bool = False,
        suffix: str = "",
        partial: bool = False,
    ) -> None:
        """
        Args:
            data: the table, with or without images; default: the official submission file, which has no images.
            images: folder of <index>.jpg; images inside the table are extracted to it (default: a cache folder).
            without_images: items without images, enough to score responses made elsewhere, or to ask without them.
            suffix: put below each question, e.g. "Answer with the option's letter."; the authors put nothing.
            partial: accept another number of questions, and print official figures for a part.
        """
        self._data, self.images, self.without_images = data, images, without_images
        self.suffix, self.partial = suffix, partial

    @classmethod
    def miniature(cls, world: Path, without_images: bool = False, partial: bool = True) -> Self:
        """The benchmark over a miniature world's files."""
        return cls(world / "mmstar" / "mmstar.tsv", world / "mmstar" / "images", without_images, partial=partial)

    @cached_property
    def data(self) -> Path:
        """The table."""
        return self._data or asset("mmstar/llava_next_yi_34b_MMStar.xlsx")

    def items(self) -> Sequence[Item]:
        """The questions in the table's order; an item's id is its index.

        Raises:
            DataError: if the table is missing or malformed, an index is repeated, or there are not 1,500 questions.
        """
        return self._items

    def prompt(self, item: Item) -> Prompt:
        """The question as it stands in the table, the options in it, and the suffix if one was chosen."""
        text = f"{item.question}\n{self.suffix}" if self.suffix else item.question
        return Prompt(item.id, text, (item.image,) if item.image else ())

    def needs_image(self, item: Item) -> bool:
        """No image is needed where none was asked for: the leakage run asks without."""
        return not self.without_images

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Both readings of a response."""
        return score_answer(response, item.reference["answer"], item.reference["options"])

    def settings(self) -> Mapping[str, str]:
        """Hash of questions and answers; the suffix, and that no image was shown."""
        rows = (f"{item.id}\t{item.question}\t{item.reference['answer']}" for item in self._items)
        settings = {"data": content_digest(rows)}
        if self.suffix:
            settings["suffix"] = content_digest([self.suffix])
        if self.without_images:
            settings["blind"] = "yes"
        return settings

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """The authors' score file; for complete runs only, unless `partial` was chosen."""
        scored = [sample for sample in samples if sample.score.counts is not None]
        missing = len(self._items) - len(scored)
        if missing and not self.partial:
            return {"withheld": f"{missing} of {len(self._items)} questions have no score; set mmstar.partial=true"}
        rows = (
            (s.item.groups["category"], s.item.groups["subcategory"], bool(s.score.details["official_right"]))
            for s in scored
        )
        return official_figures(rows, totals=len(self._items) == QUESTIONS)

    def baselines(self, items: Sequence[Item]) -> Mapping[str, Mapping[str, float | None]]:
        """Models that give the same answer to every one of these questions, and one that refuses."""
        answers = {f"constant {letter}": letter for letter in LETTERS} | {"refusal": "Cannot be determined."}
        rows = {}
        for name, answer in answers.items():
            sums = sum_counts(self.score(item, answer).counts or {} for item in items)
            rows[name] = {metric.name: metric.value(sums) for metric in self.metrics}
        return rows

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        items: dict[str, Item] = {}
        for row in read_rows(self.data):
            item = self._item(row)
            if item.id in items:
                raise DataError(f"{row.where}: index {item.id} stands there twice")
            items[item.id] = item
        check_number(len(items), QUESTIONS, self.data, self.partial)
        return tuple(items.values())

    def _item(self, row: Row) -> Item:
        index = key_text(row.fields.get("index"), f"{row.where}: 'index'")
        question, answer = field(row, "question", str), field(row, "answer", str).strip().upper()
        if answer not in LETTERS or len(answer) != 1:
            raise DataError(f"{row.where}: 'answer' must be A, B, C or D, found {answer!r}")
        return Item(
            id=index,
            question=question,
            image=None if self.without_images else self._image(index, row),
            reference={"answer": answer, "options": options_of(question), "image_id": index},
            groups={"category": field(row, "category", str), "subcategory": field(row, "l2_category", str)},
        )

    def _image(self, index: str, row: Row) -> ImageFile | None:
        """The image inside the table, extracted under a name that follows from its content, else the folder's file."""
        image = row.fields.get("image")
        if image is None or image == "":
            return None if self.images is None else ImageFile(self.images, f"{index}.jpg")
        where = f"{row.where}: 'image'"
        data = embedded_bytes(image, where) if isinstance(image, dict) else certain_bytes(image, where)
        if data is None:
            raise DataError(f"{where} holds no bytes")
        return store_embedded(data, self.images or cache_folder() / "mmstar", where)
