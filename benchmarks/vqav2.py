"""VQAv2: short answers to questions about photographs (Goyal et al. 2017, arXiv:1612.00837).

Item        a question about a COCO image, with the answers of ten people
accuracy    mean over the ten of min(1, others who gave the same answer / 3), in %: 1, 2, 3, 4 agreeing people are
            worth 30, 60, 90, 100
accuracy_normalised  the same, with answers always normalised

Scored on given annotations and responses; the test-dev figures of papers come from an evaluation server and cannot be
redone. As in the authors' script, answers are normalised (punctuation, articles, number words, contractions) only if
the ten differ: where all ten are equal, case and punctuation count, and "Yes" is worth nothing against ten times "yes".
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from benchmarks.objects.coco import VAL2014, find_image
from benchmarks.yes_no import without_signs
from evalkit.benchmark import Benchmark, DataFile, content_digest
from evalkit.errors import DataError
from evalkit.files.fields import field, read_object
from evalkit.files.rows import Row
from evalkit.metrics import Metric
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Prompt, Sample, Score

_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_NUMBER_WORDS)}
# What the script writes with its apostrophes when one of them is left out. It knows no "I'm", "it's", "we'll", ...
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _without_one_apostrophe(word: str) -> list[str]:
    return [word[:place] + word[place + 1 :] for place, letter in enumerate(word) if letter == "'"]


_REPAIRED = {wrong: word for word in _CONTRACTIONS.split() for wrong in _without_one_apostrophe(word)} | {
    "somebody'd": "somebodyd"  # the one entry that goes the other way
}


def accuracy(response: str, answers: list[str], always_normalise: bool = False) -> float:
    """Share of agreement with the answers of people, 0 to 1.

    >>> accuracy("the Dog", ["dog"] * 3 + ["cat"] * 7), accuracy("Yes", ["yes"] * 10)
    (0.9, 0.0)
    >>> accuracy("Yes", ["yes"] * 10, always_normalise=True)
    1.0

    Args:
        answers: those of ten people.
        always_normalise: also where all answers are equal.
    Raises:
        ValueError: without any answer.
    """
    if not answers:
        raise ValueError("no answers to compare with")
    said, truths = _stripped(response), [_stripped(answer) for answer in answers]
    if always_normalise or len(set(answers)) > 1:
        said, truths = normalise(said), [normalise(truth) for truth in truths]
    matches = truths.count(said)
    others = (matches - (truth == said) for truth in truths)
    return sum(min(1.0, count / 3) for count in others) / len(truths)


def normalise(text: str) -> str:
    """An answer without punctuation, articles and capitals, numbers from zero to ten as digits.

    >>> normalise("The two dogs, I think."), normalise("whats up"), normalise("1,000")
    ('2 dogs i think', "what's up", '1000')
    """
    words = [_NUMBERS.get(word, word) for word in without_signs(_stripped(text)).lower().split()]
    return " ".join(_REPAIRED.get(word, word) for word in words if word not in _ARTICLES)


def _stripped(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def official_figures(rows: Sequence[tuple[str, str, float]]) -> dict[str, Json]:
    """What the authors' script prints: percent with 2 decimals, overall, by question type and by answer type.

    Args:
        rows: (question type, answer type, accuracy 0 to 1) of every question.
    """
    by_question, by_answer = defaultdict(list), defaultdict(list)
    for question_type, answer_type, value in rows:
        by_question[question_type].append(value)
        by_answer[answer_type].append(value)
    return {
        "overall": _percent([value for *_, value in rows]),
        "perQuestionType": {name: _percent(values) for name, values in by_question.items()},
        "perAnswerType": {name: _percent(values) for name, values in by_answer.items()},
    }


def _percent(values: Sequence[float]) -> float | None:
    return round(100 * float(sum(values)) / len(values), 2) if values else None


class VQAv2(Benchmark):
    """The benchmark; see the module for what it measures."""

    name = "vqav2"
    metrics: Sequence[Metric] = (
        Metric("accuracy", "100 * agreement / questions", True),
        Metric("accuracy_normalised", "100 * agreement_normalised / questions", True, detail=True),
    )
    sampling = Sampling(temperature=0.0, max_new_tokens=16)
    files = (
        VAL2014,
        DataFile(
            "annotations",
            "vqav2/v2_mscoco_val2014_annotations.json",
            "v2_Annotations_Val_mscoco.zip from visualqa.org (test-dev has no public annotations)",
        ),
        DataFile(
            "questions",
            "vqav2/v2_OpenEnded_mscoco_val2014_questions.json",
            "v2_Questions_Val_mscoco.zip from visualqa.org",
        ),
    )
    open_items = True

    def __init__(
        self,
        annotations: Path,
        questions: Path,
        images: Path | None = None,
        suffix: str = "Answer the question using a single word or phrase.",
    ) -> None:
        """
        Args:
            annotations: v2_mscoco_val2014_annotations.json, or a part of it.
            questions: v2_OpenEnded_mscoco_val2014_questions.json.
            images: folder of COCO val2014; without it responses made elsewhere can be scored.
            suffix: put below each question; the default is what LLaVA was trained with.
        """
        self.annotations, self.questions, self.images, self.suffix = annotations, questions, images, suffix

    def items(self) -> Sequence[Item]:
        """The annotated questions in the annotations' order; an item's id is its question_id.

        Raises:
            DataError: if a file is missing or malformed, or a question has no text or no answers.
        """
        return self._items

    def prompt(self, item: Item) -> Prompt:
        """The question and the suffix, after the image."""
        text = f"{item.question}\n{self.suffix}" if self.suffix else item.question
        return Prompt(item.id, text, (item.image,) if item.image else ())

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Agreement with people."""
        answers = item.reference["answers"]
        counts = {
            "questions": 1,
            "agreement": accuracy(response, answers),
            "agreement_normalised": accuracy(response, answers, always_normalise=True),
        }
        return Score(counts, details={"normalised": normalise(response)})

    def settings(self) -> Mapping[str, str]:
        """Hash of questions and answers, and of the suffix."""
        rows = (f"{item.id}\t{item.question}\t{item.reference['answers']}" for item in self._items)
        return {"data": content_digest(rows), "suffix": content_digest([self.suffix])}

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """What the authors' script prints over the questions at hand."""
        return official_figures(
            [
                (s.item.groups["question_type"], s.item.groups["answer_type"], s.score.counts["agreement"])
                for s in samples
                if s.score.counts is not None
            ]
        )

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        texts = {
            field(row, "question_id", int): field(row, "question", str) for row in _rows(self.questions, "questions")
        }
        items: dict[int, Item] = {}
        for row in _rows(self.annotations, "annotations"):
            number = field(row, "question_id", int)
            if number in items:
                raise DataError(f"{row.where}: question {number} stands there twice")
            if number not in texts:
                raise DataError(f"{row.where}: {self.questions} has no question {number}")
            items[number] = self._item(number, texts[number], row)
        return tuple(items.values())

    def _item(self, number: int, question: str, row: Row) -> Item:
        answers = [answer.get("answer") if isinstance(answer, dict) else None for answer in field(row, "answers", list)]
        if not answers or not all(isinstance(answer, str) for answer in answers):
            raise DataError(
                f"{row.where}: 'answers' must be objects with an 'answer', found {row.fields['answers']!r:.60}"
            )
        image_id = field(row, "image_id", int)
        return Item(
            id=str(number),
            question=question,
            image=find_image(self.images, image_id, ("val2014",)) if self.images is not None else None,
            reference={"answers": answers, "image_id": image_id},
            groups={"question_type": field(row, "question_type", str), "answer_type": field(row, "answer_type", str)},
            cluster=str(image_id),
        )


def _rows(path: Path, name: str) -> list[Row]:
    """The list under a name of a JSON object."""
    listed = read_object(path).get(name)
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise DataError(f"{path}: expected a list of objects under {name!r}")
    if not listed:
        raise DataError(f"{path}: {name!r} is empty")
    return [Row(f"{path}: {name}, entry {number}", entry) for number, entry in enumerate(listed, 1)]
