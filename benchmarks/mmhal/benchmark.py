"""MMHal-Bench: hallucination in open answers (LLaVA-RLHF, Sun et al. 2023, arXiv:2309.14525).

Item        one of 96 questions on OpenImages photographs, 8 question types x 12 topics; question i is of type i mod 8
Judge       a text-only LLM reads image labels, question, human answer and response, and rates 0-6
score               mean rating; higher is better
hallucination_rate  responses rated below 3, %
informativeness     mean of rating - 3 (rating itself below 3) over 3, % (RLHF-V, RLAIF-V); it ignores hallucination
length              words per response

The metrics use a robust reading of the judge's text; a text that cannot be read leaves the sample unscored. The
`official` block has the authors' reading, which counts such a text as rating 0. 96 items: one response is worth 1.04
points of the rate. The published numbers come from gpt-4-0314 or gpt-4-1106-preview; the judge stands in the signature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from benchmarks.judges.prompts import JudgePrompt, PinnedPrompt, PromptChoice, judge_prompt
from benchmarks.mmhal.files import Entry, find_image, read_entries
from benchmarks.mmhal.ratings import (
    UnreadableRatingError,
    informativeness,
    is_hallucinated,
    official_rating,
    robust_rating,
)
from evalkit.benchmark import DataFile, Judged, Rating, check_number, content_digest
from evalkit.engines.served.completions import ended_by_itself
from evalkit.errors import DataError
from evalkit.files.assets import asset
from evalkit.formats import exporters
from evalkit.formats.answers import FILLED_TEMPLATE
from evalkit.images import ImageFile
from evalkit.metrics import Metric, sum_counts
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Prompt, Sample, Score
from evalkit.text.thoughts import STANDARD

ITEMS = 96
QUESTION_TYPES = (
    *("attribute", "adversarial", "comparison", "counting"),
    *("relation", "environment", "holistic", "other"),
)

# The same text stands in llava-rlhf/LLaVA-RLHF at 830a083, RLHF-V/RLHF-V at 8daac8a and RLHF-V/RLAIF-V at 83d917b.
JUDGE = PinnedPrompt(
    script="mmhal/eval_gpt_mmhal.py",
    variable="template",
    sha256="2c73d8c50f1740d000fae62cfeed103c2f7a5bcfa904b27e6e09900e7ce600cc",
    own="mmhal_judge",
)


class MMHalBench(Judged):
    """MMHal-Bench as a benchmark of the harness."""

    name = "mmhal"
    metrics: Sequence[Metric] = (
        Metric("score", "rating / responses", True, unit="points"),
        Metric("hallucination_rate", "100 * hallucinated_responses / responses", False, role="rate"),
        Metric("informativeness", "100 * informativeness / (3 * responses)", True),
        Metric("length", "words / responses", None, unit="words", role="length"),
    )
    sampling = Sampling(max_new_tokens=1024)
    files = (
        DataFile(
            "data",
            "mmhal/mmhal-bench_answer_template.json",
            "evalkit assets fetch mmhal/mmhal-bench_answer_template.json, or the test split of "
            "Shengcao1006/MMHal-Bench on the Hub",
        ),
        DataFile("images", "mmhal/images", "the 96 photographs behind the template's image_src, by their file names"),
    )
    formats = (FILLED_TEMPLATE.named("mmhal"),)
    exports = (exporters.FILLED_TEMPLATE.named("mmhal"),)
    rating = Rating("rating", below=3)
    present = ("labels",)

    def __init__(
        self,
        data: Path | None = None,
        images: Path | None = None,
        without_images: bool = False,
        prompt: PromptChoice = "auto",
        prompt_script: Path | None = None,
        partial: bool = False,
    ) -> None:
        """Point the benchmark at its files; they are read by `items`.

        Args:
            data: mmhal-bench_answer_template.json (default: the official file), or the Hub's (parquet, JSON lines).
            images: folder of the photographs, named as in `image_src` or `image_path`, or <image_id>.jpg; images that
                the data file embeds are extracted to it (default: a folder of the cache).
            without_images: items without images, enough to score responses made elsewhere.
            prompt: the authors' judge prompt, this project's own, or the latter only if the former is not here.
            prompt_script: the authors' eval_gpt_mmhal.py; default: the official file.
            partial: accept another number of items than 96.
        """
        self._data, self.images, self.without_images = data, images, without_images
        self.prompt_choice, self.prompt_script, self.partial = prompt, prompt_script, partial

    @classmethod
    def miniature(cls, world: Path) -> Self:
        """The benchmark over a miniature world's files."""
        return cls(data=world / "mmhal" / "mmhal-bench_answer_template.json", images=world / "images", prompt="own")

    @cached_property
    def judge_template(self) -> JudgePrompt:
        """The judge's template."""
        return judge_prompt(JUDGE, self.prompt_choice, self.prompt_script)

    @cached_property
    def data(self) -> Path:
        """The question file."""
        return self._data or asset("mmhal/mmhal-bench_answer_template.json")

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        entries = read_entries(self.data)
        check_number(len(entries), ITEMS, self.data, self.partial, "items")
        for index, entry in enumerate(entries):
            expected = QUESTION_TYPES[index % len(QUESTION_TYPES)]
            if entry.question_type != expected:
                raise DataError(
                    f"{entry.where}: item {index} must be of type {expected!r}, found {entry.question_type!r}; "
                    "the order of the file matters"
                )
        return tuple(self._item(index, entry) for index, entry in enumerate(entries))

    def _item(self, index: int, entry: Entry) -> Item:
        return Item(
            id=str(index),
            question=entry.question,
            image=self._image(entry),
            reference={"labels": list(entry.labels), "human_answer": entry.human_answer, "image_id": entry.image_id},
            groups={"type": entry.question_type, "topic": entry.topic},
            cluster=entry.image_id,
        )

    def _image(self, entry: Entry) -> ImageFile | None:
        return None if self.without_images else find_image(entry, self.images, self.data)

    def items(self) -> Sequence[Item]:
        """The questions in the file's order; an item's id is its place, from "0".

        Raises:
            DataError: if the file or an image is missing or malformed, the order differs, or there are not 96 items.
        """
        return self._items

    def settings(self) -> Mapping[str, str]:
        """What moves a score: the questions with their references, the judge's prompt, how its text is read."""
        rows = [
            f"{item.question}\n{item.reference['labels']}\n{item.reference['human_answer']}" for item in self._items
        ]
        data = content_digest(rows)
        return {"data": data, "prompt": self.judge_template.name, "reading": "robust"}

    def judge_prompt(self, item: Item, response: str) -> Prompt:
        """One user message: labels, question, human answer and response in the template's four slots."""
        reference = item.reference
        text = self.judge_template.template.format(
            ", ".join(reference["labels"]), item.question, reference["human_answer"], response
        )
        return Prompt(item.id, text)

    def judge_sampling(self) -> Sampling:
        """Greedy; the authors of the benchmark set no token limit."""
        return Sampling(temperature=0.0, max_new_tokens=1024)

    def check_reply(self, reply: str) -> str | None:
        """Why a judge's text holds no rating, or None."""
        try:
            robust_rating(reply)
        except UnreadableRatingError as error:
            return str(error)
        return None

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Read the judge's rating of one response."""
        if reply is None:
            return Score(counts=None, failure="no reply of the judge")
        official = official_rating(reply)
        details = {"judge_text": reply, "official_rating": official.rating, "official_found": list(official.named)}
        try:
            rating = robust_rating(reply)
        except UnreadableRatingError as error:
            return Score(counts=None, failure=f"{error} (item {item.id})", details=details)
        return Score(
            counts={**rating_counts(rating), "words": len(response.split())},
            details={**details, "rating": rating},
        )

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """The authors' figures: their reading of the first text the judge gave, for every sample that has one."""
        texts = {sample.item.id: _first_text(sample) for sample in samples}
        judged = {int(name): text for name, text in texts.items() if text is not None}
        return {
            **official_figures(judged),
            "complete": len(judged) == len(samples) == ITEMS,
            "left_out": [name for name, text in texts.items() if text is None],
        }


def _first_text(sample: Sample) -> str | None:
    """The text the authors would have read: they never ask again for a text they cannot parse."""
    for attempt in (sample.verdict or {}).get("attempts", ()):
        cut = not ended_by_itself(attempt.get("finish"))
        if attempt.get("error") is None and not cut and isinstance(raw := attempt.get("raw"), str):
            return STANDARD.take_off(raw).answer or ""
    text = sample.score.details.get("judge_text")
    return text if isinstance(text, str) else None


@dataclass(frozen=True, slots=True)
class Reread:
    """Stored judge texts read again: metrics of the readable ones, why the others are not, the authors' figures."""

    metrics: Mapping[str, float | None]
    unreadable: Mapping[int, str]
    official: Mapping[str, Json]


def reread(texts: Mapping[int, str]) -> Reread:
    """Both readings of stored judge texts, without asking anybody.

    >>> result = reread({0: "Rating: 6", 1: "**Rating:** 2", 2: "I can't say."})
    >>> result.metrics["score"], result.metrics["hallucination_rate"], list(result.unreadable)
    (4.0, 50.0, [2])
    >>> result.official["average_score"], result.official["hallucination_rate"]
    (2.0, 0.6666666666666666)

    Args:
        texts: index of the question (0..95) -> the judge's text.
    """
    counts, unreadable = [], {}
    for index, text in texts.items():
        try:
            counts.append(rating_counts(robust_rating(text)))
        except UnreadableRatingError as error:
            unreadable[index] = str(error)
    sums = sum_counts(counts)
    metrics = {metric.name: metric.value(sums) for metric in MMHalBench.metrics if metric.role != "length"}
    return Reread(metrics, unreadable, official_figures(texts))


def rating_counts(rating: int) -> dict[str, float]:
    """What one rating adds to the sums."""
    return {
        "responses": 1,
        "rating": rating,
        "hallucinated_responses": int(is_hallucinated(rating)),
        "informativeness": informativeness(rating),
    }


def official_figures(texts: Mapping[int, str]) -> dict[str, Json]:
    """What the authors' scripts print, from the judge's texts.

    Args:
        texts: index of the question (0..95) -> the judge's text.
    Returns:
        Unrounded figures and the printed lines; None without any text, and for a type without one.
    """
    readings = {index: official_rating(text) for index, text in sorted(texts.items())}
    ratings = {index: reading.rating for index, reading in readings.items()}
    score = _mean(list(ratings.values()))
    rate = _mean([int(is_hallucinated(rating)) for rating in ratings.values()])
    informative = _mean([informativeness(rating) for rating in ratings.values()])
    by_type = {
        kind: _rounded(_mean([rating for index, rating in ratings.items() if index % len(QUESTION_TYPES) == number]))
        for number, kind in enumerate(QUESTION_TYPES)
    }
    return {
        "average_score": score,
        "hallucination_rate": rate,
        "average_per_type": by_type,
        "informativeness_percent": None if informative is None else informative / 3 * 100,
        "parse_failures": sum(not reading.is_parsed for reading in readings.values()),
        "printed": []
        if score is None or rate is None or informative is None
        else _printed(score, rate, informative, by_type),
    }


def _printed(score: float, rate: float, informative: float, by_type: Mapping[str, float | None]) -> list[str]:
    """The report of the two repositories that print it, line by line; the rate also with RLAIF-V's three decimals."""
    return [
        f"Average score: {score:.2f}",
        f"Hallucination rate: {rate:.2f}",
        f"Average score for each question type: {','.join(map(str, by_type.values()))}",
        f"Informativeness: {informative / 3 * 100:.2f}",
        f"Hallucination rate: {rate:.3f}",
    ]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
