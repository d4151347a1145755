"""POPE: is there a X in the image? Polling for object hallucination (Li et al. 2023, arXiv:2305.10355).

Item        an MS-COCO val2014 image and an object, half of them in the image. Three splits of 3,000 questions about 500
            images differ in the absent objects: random; popular, the frequent ones; adversarial, those that often
            stand beside the objects present. A question's id is split/question_id
Reference   yes or no
accuracy    right answers / questions, in %
precision   answers yes that are right, in %; recall: questions with the truth yes that are answered yes; f1 of the two
yes_ratio   answers yes / questions, in %: 50 is right, far more is a model that says yes to everything

Answers are read as in the authors' script: no, if "No", "not" or "no" stands before the first full stop, else yes. The
suffix _strict marks the same metrics over answers that begin with the word yes or no; any other is wrong and neither
(unread_strict). Papers report each split (groups) or the mean of the three; the metrics here pool the questions.
Differs from the authors' script: answers are joined by id, never by position, and empty denominators are undefined.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

from benchmarks.objects.coco import VAL2014
from benchmarks.yes_no import Rates, constant_answers, read_first_sentence, read_leading
from evalkit.benchmark import Benchmark, Front, Result, files_digest
from evalkit.errors import DataError, UsageError
from evalkit.files.fields import field
from evalkit.files.rows import Row, read_rows
from evalkit.formats import exporters
from evalkit.formats.answers import QUESTION_ANSWERS
from evalkit.formats.given import check_answer
from evalkit.images import ImageFile
from evalkit.metrics import Metric, sum_counts
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Prompt, Sample, Score

SPLITS = ("random", "popular", "adversarial")
LLAVA_OFFSETS = {"random": 10**7, "popular": 2 * 10**7}  # of the ids in llava_pope_test.jsonl; none for adversarial

METRICS = (
    Metric("accuracy", "100 * (tp + tn) / questions", higher_is_better=True),
    Metric("precision", "100 * tp / (tp + fp)", higher_is_better=True),
    Metric("recall", "100 * tp / (tp + fn)", higher_is_better=True),
    Metric("f1", "200 * tp / (2 * tp + fp + fn)", higher_is_better=True),
    Metric("yes_ratio", "100 * (tp + fp) / questions", higher_is_better=None),
    Metric("accuracy_strict", "100 * (tp_strict + tn_strict) / questions", higher_is_better=True, detail=True),
    Metric("precision_strict", "100 * tp_strict / (tp_strict + fp_strict)", higher_is_better=True, detail=True),
    Metric("recall_strict", "100 * tp_strict / yes_questions", higher_is_better=True, detail=True),
    Metric(
        "f1_strict", "200 * tp_strict / (tp_strict + fp_strict + yes_questions)", higher_is_better=True, detail=True
    ),
    Metric("yes_ratio_strict", "100 * (tp_strict + fp_strict) / questions", higher_is_better=None, detail=True),
    Metric("unread_strict", "100 * unread_strict / questions", higher_is_better=None, detail=True),
)


def score_answer(response: str, truth: str) -> Score:
    """Score one answer; positive is yes.

    Counts: questions, yes_questions; tp, fp, tn, fn by the authors' reading; tp_strict, fp_strict, tn_strict,
    fn_strict, unread_strict by the strict one (they add up to 1).

    >>> counts = score_answer("There is no dog.", "no").counts
    >>> counts["tn"], counts["tn_strict"], counts["unread_strict"]
    (1, 0, 1)
    """
    check_answer(response, truth, ("yes", "no"), "pope")
    official, strict = read_first_sentence(response), read_leading(response)
    counts: dict[str, float] = {"questions": 1, "yes_questions": int(truth == "yes")}
    for suffix, answer in (("", official), ("_strict", strict)):
        counts[f"tp{suffix}"] = int(answer == "yes" == truth)
        counts[f"fp{suffix}"] = int(answer == "yes" != truth)
        counts[f"tn{suffix}"] = int(answer == "no" == truth)
        counts[f"fn{suffix}"] = int(answer == "no" != truth)
    counts["unread_strict"] = int(strict is None)
    return Score(counts, details={"read_as": {"official": official, "strict": strict}})


def official_figures(sums: Mapping[str, float]) -> dict[str, float | None]:
    """What the authors' script prints for one split: fractions, unrounded; None where it would divide by zero.

    >>> official_figures({"tp": 3, "fp": 1, "tn": 4, "fn": 0})["F1 score"]
    0.8571428571428571
    """
    tp, fp, tn, fn = (int(sums.get(name, 0)) for name in ("tp", "fp", "tn", "fn"))
    rates = Rates(tp, fp, tn, fn)
    return {
        "TP": tp,
        "FP": fp,
        "TN": tn,
        "FN": fn,
        "Accuracy": rates.accuracy,
        "Precision": rates.precision,
        "Recall": rates.recall,
        "F1 score": rates.f1,
        "Yes ratio": rates.yes,
    }


class POPE(Benchmark):
    """The benchmark; see the module for what it measures."""

    name = "pope"
    metrics: Sequence[Metric] = METRICS
    sampling = Sampling(temperature=0.0, max_new_tokens=128)
    files = (VAL2014,)
    formats = (QUESTION_ANSWERS.named("pope"),)
    editions = (
        "answers to lists of another edition are scored with these lists, --set pope.data=DIR (LLaVA's are the asset "
        "pope/llava_rlhf)"
    )
    parts = "responses to one split are scored with --set pope.splits=adversarial (or popular, random)"
    exports = (exporters.QUESTION_ANSWERS.named("pope"),)

    def __init__(
        self,
        data: Path | None = None,
        images: Path | None = None,
        splits: Sequence[str] = SPLITS,
        without_images: bool = False,
        partial: bool = False,
        suffix: str = "",
    ) -> None:
        """
        Args:
            data: folder with coco_pope_<split>.json (or .jsonl: older editions, other lengths); default: assets.
            images: folder of COCO val2014 images; default: `val2014` beside the questions.
            splits: random, popular, adversarial, or some of them.
            without_images: items without images, enough to score responses made elsewhere.
            partial: print official figures also for a part of the questions.
            suffix: sentence on a line of its own after each question, as LLaVA-1.5's evaluation has one.
        """
        unknown = [split for split in splits if split not in SPLITS]
        if unknown or not splits:
            raise UsageError(f"pope: unknown split {', '.join(unknown) or '(none)'}; known: {', '.join(SPLITS)}")
        self.splits = tuple(split for split in SPLITS if split in splits)
        self.data, self.images, self.without_images, self.partial = data, images, without_images, partial
        self.suffix = suffix

    @classmethod
    def miniature(cls, world: Path, splits: Sequence[str] = SPLITS, partial: bool = False, suffix: str = "") -> Self:
        """POPE on the files of a miniature world."""
        return cls(world / "pope", world / "pope" / "images", splits, partial=partial, suffix=suffix)

    @classmethod
    def evaluate(
        cls,
        responses: Mapping[str, str | None],
        data: Path | None = None,
        splits: Sequence[str] = SPLITS,
        partial: bool = False,
    ) -> Result:
        """Score responses made elsewhere; no model, no image, no torch. Arguments as of the class.

        Args:
            responses: item id ("random/1") -> response.
        Raises:
            DataError: if an id belongs to no question, or (unless `partial`) a question has no response.
        """
        return cls(data, None, splits, True, partial).result(responses, partial=partial)

    def items(self) -> Sequence[Item]:
        """The questions, split by split, in file order.

        Raises:
            DataError: if a file is missing, malformed or empty, or a question_id is repeated within a split.
        """
        return self._items

    def prompt(self, item: Item) -> Prompt:
        """The question after the image, and the suffix, if there is one."""
        prompt = super().prompt(item)
        return replace(prompt, text=f"{prompt.text}\n{self.suffix}") if self.suffix else prompt

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Score an answer."""
        return score_answer(response, item.reference["truth"])

    def fronts(self) -> Sequence[Front]:
        """Answers shifted blindly, compared at an equal share of "yes"."""
        return (Front("yes_ratio", ("f1", "accuracy"), ("No", "Yes")),)

    def settings(self) -> Mapping[str, str]:
        """Hash of the question files, and the splits where they are not all."""
        settings = {"data": self._digest}
        if self.splits != SPLITS:
            settings["splits"] = "+".join(self.splits)
        return settings

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """Split -> what the authors' script prints; for complete splits only, unless `partial` was chosen."""
        figures: dict[str, Json] = {}
        for split in self.splits:
            ids = {item.id for item in self.items() if item.groups["split"] == split}
            counts = [s.score.counts for s in samples if s.item.id in ids and s.score.counts is not None]
            missing = len(ids - {s.item.id for s in samples if s.score.counts is not None})
            if missing and not self.partial:
                figures[split] = {
                    "withheld": f"{missing} of {len(ids)} questions have no score; set pope.partial=true for figures"
                }
            else:
                figures[split] = official_figures(sum_counts(counts))
        return figures

    def baselines(self, items: Sequence[Item]) -> Mapping[str, Mapping[str, float | None]]:
        """Models that give the same answer to every one of these questions."""
        shown = [metric for metric in METRICS if not metric.name.endswith("_strict")]
        return constant_answers(self, items, shown)

    @cached_property
    def _paths(self) -> dict[str, Path]:
        if self.data is not None:
            return {split: find_list(self.data, split) for split in self.splits}
        from evalkit.files.assets import asset

        return {split: asset(f"pope/coco_pope_{split}.json") for split in self.splits}

    @cached_property
    def _digest(self) -> str:
        return files_digest(self._paths.values())

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        return tuple(
            item for split, path in self._paths.items() for item in read_questions(split, path, self._folder(path))
        )

    def _folder(self, path: Path) -> Path | None:
        return None if self.without_images else self.images or path.parent / "val2014"


def find_list(folder: Path, split: str) -> Path:
    """The question file of a split; both spellings of its ending are in use."""
    candidates = [folder / f"coco_pope_{split}{ending}" for ending in (".json", ".jsonl")]
    existing = [path for path in candidates if path.is_file()]
    if len(existing) > 1:
        raise DataError(
            f"pope: two editions of the split {split!r} in one folder: {existing[0]}, {existing[1]}; move one away"
        )
    if not existing:
        raise DataError(f"{candidates[0]}: no such file (nor .jsonl)")
    return existing[0]


def read_questions(split: str, path: Path, images: Path | None) -> list[Item]:
    """The questions of one split in file order; without a folder of images, without images."""
    places: dict[int, str] = {}
    items = []
    for row in read_rows(path):
        number = field(row, "question_id", int)
        if number in places:
            raise DataError(f"{row.where}: question_id {number} stands already at {places[number]}")
        places[number] = row.where
        items.append(_question(split, number, row, images))
    return items


def _question(split: str, number: int, row: Row, images: Path | None) -> Item:
    truth, image = field(row, "label", str), field(row, "image", str)
    if truth not in ("yes", "no"):
        raise DataError(f"{row.where}: 'label' must be yes or no, found {truth!r}")
    return Item(
        id=f"{split}/{number}",
        question=field(row, "text", str),
        image=ImageFile(images, image) if images is not None else None,
        reference={"truth": truth},
        groups={"split": split},
        cluster=image,
        aliases=(str(LLAVA_OFFSETS[split] + number),) if split in LLAVA_OFFSETS else (),
    )
