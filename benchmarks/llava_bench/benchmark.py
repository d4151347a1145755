"""LLaVA-Bench: open questions, a judge compares each answer with GPT-4's (Liu et al. 2023, arXiv:2304.08485).

Item        a question about an image: conversation, detailed description or complex reasoning. Two sets:
            llava_bench (90 questions, 30 COCO images; LLaVA, RLHF-V, LLaVA-RLHF) and
            llava_bench_wild (60 questions, 24 images; LLaVA-1.5 and later)
Judge       a text-only LLM reads the image in words, the question, GPT-4's answer and the model's, and gives each 1-10
score           100 * points of the model / points of the reference answer; by category in the groups
reference_mean  points of the fixed reference answers, times 10: it should not move, so it tells when the judge does
model_mean      the model's own points, times 10
length          words per response

The authors' script takes "8, 9" for a failure, counts a failure as -1 : -1 and prints 100.0 if all of them fail. Here a
reply is read as people would read it (reading=robust), one that cannot be read is asked for again and then leaves its
item unscored (failures=safe); the `official` block has the figures of both official summarisers. With 60 or 90 items an
interval of 10 points is usual.

Options: judge_runs, several replies per item, averaged; control=self, the reference answer on both sides (100 is fair);
control=swap, both orders (order_agreement, swapped_score).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from benchmarks.judges.compared import Compared, Control
from benchmarks.judges.pairwise import POINTS, Points, ReadingName, exchanged, mean_points, official_points
from benchmarks.judges.prompts import JudgePrompt, PromptChoice
from benchmarks.llava_bench.figures import UNREAD, FailurePolicy, both_official
from benchmarks.llava_bench.files import Question, read_questions
from benchmarks.llava_bench.rules import SYSTEM, judge_question, rule_text
from benchmarks.objects.coco import VAL2014
from evalkit.benchmark import DataFile, check_number, content_digest
from evalkit.files.assets import asset
from evalkit.images import ImageFile
from evalkit.metrics import Metric
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Prompt, Sample, Score

METRICS = (
    Metric("score", "100 * model_points * read / (reference_points * read)", True, unit="points"),
    Metric("reference_mean", "10 * reference_points / read", None, unit="points"),
    Metric("model_mean", "10 * model_points / read", True, unit="points"),
    Metric("length", "words / responses", None, unit="words", role="length"),
    Metric("self_score", "100 * self_second / self_first", None, unit="points", detail=True),
    Metric("swapped_score", "100 * swapped_model / swapped_reference", True, unit="points", detail=True),
    Metric("order_agreement", "100 * order_kept / order_checked", None, detail=True),
)


@dataclass(frozen=True, slots=True)
class Edition:
    """One set of questions: its files below the official ones, its size, its rule text, where its images lie."""

    folder: str
    questions: str
    contexts: str
    answers: str
    items: int
    rule: str
    rule_sha256: str
    images: DataFile


COCO_SET = Edition(
    folder="llava_bench/coco",
    questions="qa90_questions.jsonl",
    contexts="caps_boxes_coco2014_val_80.jsonl",
    answers="qa90_gpt4_answer.jsonl",
    items=90,
    rule="conv",
    rule_sha256="a73b4b7bb781472c8997cc44cfe058aa2701a624ddb3ee22f4ff18ce02700dff",
    images=VAL2014,
)
WILD_SET = Edition(
    folder="llava_bench/in_the_wild",
    questions="questions.jsonl",
    contexts="context.jsonl",
    answers="answers_gpt4.jsonl",
    items=60,
    rule="llava_bench_conv",
    rule_sha256="2ce22b562d6008864970ea863ac8a4d385ea6f2e64ab1313a23f825202a9529d",
    images=DataFile(
        "images",
        "llava_bench/images",
        "the 24 images 001.jpg to 024.jpg of liuhaotian/llava-bench-in-the-wild on the Hub",
    ),
)


class LlavaBench(Compared):
    """LLaVA-Bench over the COCO set."""

    name = "llava_bench"
    edition = COCO_SET
    metrics: Sequence[Metric] = METRICS
    sampling = Sampling(max_new_tokens=1024)
    example_reply = "8 8"
    files = (COCO_SET.images,)

    def __init__(
        self,
        data: Path | None = None,
        images: Path | None = None,
        without_images: bool = False,
        prompt: PromptChoice = "auto",
        rules: Path | None = None,
        reading: ReadingName = "robust",
        failures: FailurePolicy = "safe",
        judge_runs: int = 1,
        control: Control = "none",
        partial: bool = False,
    ) -> None:
        """Point the benchmark at its files; they are read by `items`.

        Args:
            data: folder of the set's three files; default: the official files.
            images: folder of the images.
            without_images: items without images, enough to score responses made elsewhere.
            prompt: the authors' rule text, this project's own, or the latter only if the former is not here.
            rules: the authors' rule.json; default: the official file.
            reading: how a reply is read.
            failures: what an unreadable reply is: nothing (safe, official-rlhfv) or -1 : -1 (official-llava).
            judge_runs: replies per item, averaged.
            control: a check of the judge itself; each doubles the calls.
            partial: accept another number of questions than the set has.
        """
        self.ask_repeatedly(judge_runs, control)
        self.data, self.images, self.without_images = data, images, without_images
        self.prompt_choice, self.rules, self.partial = prompt, rules, partial
        self.reading, self.failures = reading, failures

    @classmethod
    def miniature(cls, world: Path, judge_runs: int = 1, control: Control = "none") -> Self:
        """LLaVA-Bench on the files of a miniature world, with this project's own prompt."""
        folder = world / cls.edition.folder
        return cls(folder, world / "images", prompt="own", judge_runs=judge_runs, control=control, partial=True)

    @cached_property
    def rule(self) -> JudgePrompt:
        """The text that tells the judge what to do."""
        return rule_text(self.edition.rule, self.edition.rule_sha256, self.prompt_choice, self.rules)

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        questions = read_questions(*(self._path(name) for name in self._names()))
        check_number(len(questions), self.edition.items, self._path(self.edition.questions), self.partial)
        return tuple(map(self._item, questions))

    def _names(self) -> tuple[str, str, str]:
        return self.edition.questions, self.edition.contexts, self.edition.answers

    def _path(self, name: str) -> Path:
        return asset(f"{self.edition.folder}/{name}") if self.data is None else self.data / name

    def _item(self, question: Question) -> Item:
        return Item(
            id=question.question_id,
            question=question.text,
            image=self._image(question),
            reference={"context": question.context, "answer": question.reference, "image_id": question.image},
            groups={"category": question.category},
            cluster=question.image,
        )

    def _image(self, question: Question) -> ImageFile | None:
        if self.without_images:
            return None
        if self.images is None:
            return None
        full = f"COCO_val2014_{question.image}"  # as the images of COCO are called when they are downloaded
        return ImageFile(self.images, full if (self.images / full).exists() else question.image)

    def items(self) -> Sequence[Item]:
        """The questions in file order; an item's id is its question_id.

        Raises:
            DataError: if a file is missing or malformed, or the number of questions is another one.
        """
        return self._items

    def settings(self) -> Mapping[str, str]:
        """What moves a score: the questions, the rule text, how replies are read, counted and repeated."""
        rows = [f"{item.question}\n{item.reference['context']}\n{item.reference['answer']}" for item in self._items]
        data = content_digest(rows)
        settings = {"data": data, "prompt": self.rule.name, "reading": self.reading, "failures": self.failures}
        return settings | self.repetition()

    def ask(self, item: Item, first: str, second: str) -> Prompt:
        """The judge's question with these answers on its sides."""
        text = judge_question(self.rule.template, item.reference["context"], item.question, first, second)
        return Prompt(item.id, text, system=SYSTEM)

    def judge_sampling(self, seed: int = 0) -> Sampling:
        """The authors' temperature."""
        return Sampling(temperature=0.2, max_new_tokens=1024, seed=seed)

    def check_reply(self, reply: str) -> str | None:
        """Why a reply holds no two scores, or None."""
        if POINTS[self.reading](reply) is not None:
            return None
        return f"no two scores on the first line of the judge's text: {reply.strip()[:60]!r}"

    def score_rounds(self, item: Item, response: str, replies: Mapping[str, str]) -> Score:
        """The points of all runs of one item, averaged, and the control."""
        runs = {name: text for name, text in replies.items() if name not in ("self", "swap")}
        if not runs:
            return Score(counts=None, failure="no reply of the judge")
        read = {name: self._read(text) for name, text in runs.items()}
        readable = [points for points in read.values() if points is not None]
        details: dict[str, Json] = {
            "judge_text": next(iter(runs.values())),
            "points": {
                name: None if points is None else [points.reference, points.model] for name, points in read.items()
            },
            "official_points": _listed(official_points(next(iter(runs.values())))),
        }
        if not readable and self.failures != "official-llava":
            return Score(
                None, failure=f"{self.check_reply(next(iter(runs.values())))} (item {item.id})", details=details
            )
        points = mean_points(readable) if readable else UNREAD
        counts: dict[str, float] = {
            "responses": 1,
            "read": int(bool(readable)),
            "reference_points": points.reference,
            "model_points": points.model,
            "words": len(response.split()),
        }
        return Score(counts | self._control_counts(points, replies), details=details)

    def _read(self, reply: str) -> Points | None:
        points = POINTS[self.reading](reply)
        dropped = self.failures == "official-rlhfv" and points is not None and points.reference == UNREAD.reference
        return None if dropped else points

    def _control_counts(self, points: Points, replies: Mapping[str, str]) -> dict[str, float]:
        """What the control adds, where its reply can be read."""
        counts: dict[str, float] = {}
        if "self" in replies and (fair := self._read(replies["self"])) is not None:
            counts |= {"self_first": fair.reference, "self_second": fair.model}
        if "swap" in replies and (control := self._read(replies["swap"])) is not None:
            turned = exchanged(control)
            kept = _sign(points) == _sign(turned)
            counts |= {"swapped_reference": turned.reference, "swapped_model": turned.model}
            counts |= {"order_checked": 1, "order_kept": int(kept)}
        return counts

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """The summaries of both official scripts, over the first reply to every sample that has one."""
        readings = []
        for sample in samples:
            text = first_text(sample)
            if text is not None:
                readings.append((sample.item.groups["category"], official_points(text)))
        return {
            **both_official(readings),
            "complete": len(readings) == len(samples) == self.edition.items,
        }


class LlavaBenchWild(LlavaBench):
    """LLaVA-Bench over the In-the-Wild set."""

    name = "llava_bench_wild"
    edition = WILD_SET
    files = (WILD_SET.images,)


def first_text(sample: Sample) -> str | None:
    """The text that the authors' script would have read: it never asks again for one that it cannot read."""
    for attempt in (sample.verdict or {}).get("attempts", ()):
        if attempt.get("error") is None and isinstance(raw := attempt.get("raw"), str):
            return raw
    text = sample.score.details.get("judge_text")
    return text if isinstance(text, str) else None


def _listed(points: Points | None) -> list[float] | None:
    return None if points is None else [points.reference, points.model]


def _sign(points: Points) -> int:
    return (points.model > points.reference) - (points.model < points.reference)
