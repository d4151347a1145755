"""RePOPE: POPE's questions with the labels put right (Neuhaus and Hein 2025, arXiv:2504.15707).

Item        a POPE question; same ids, images and texts, so POPE's responses are scored as they are
Reference   yes or no by both label sets; RePOPE leaves out questions on which people could not agree
accuracy, precision, recall, f1, yes_ratio   RePOPE's labels, the authors' reading, in %
*_pope_reading   RePOPE's labels, read as POPE reads
*_pope_labels    POPE's labels, the authors' reading
*_pope           both POPE's: what the benchmark POPE reports
unread           answers with neither yes nor no, in %; the authors leave them out of every count

To the authors an answer is a yes if "yes" stands anywhere in it, else a no if "no" does; to POPE everything without a
no in its first sentence is a yes. 9.3 % of POPE's yes labels are wrong, and the exchange moves ranks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Self

from benchmarks.pope import POPE, SPLITS, find_list, read_questions
from benchmarks.yes_no import Rates, Reading, YesNo, constant_answers, read_first_sentence, read_substring
from evalkit.benchmark import Benchmark, Front
from evalkit.errors import DataError
from evalkit.files.assets import asset
from evalkit.formats.given import check_answer
from evalkit.metrics import Metric, sum_counts
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Sample, Score

# suffix of the counts -> (which labels, how answers are read)
VIEWS: dict[str, tuple[str, Reading]] = {
    "": ("truth", read_substring),
    "_pope_reading": ("truth", read_first_sentence),
    "_pope_labels": ("pope_truth", read_substring),
    "_pope": ("pope_truth", read_first_sentence),
}


def _metrics(suffix: str, detail: bool) -> tuple[Metric, ...]:
    read = f"(tp{suffix} + fp{suffix} + tn{suffix} + fn{suffix})"
    return (
        Metric(f"f1{suffix}", f"200 * tp{suffix} / (2 * tp{suffix} + fp{suffix} + fn{suffix})", True, detail=detail),
        Metric(f"accuracy{suffix}", f"100 * (tp{suffix} + tn{suffix}) / {read}", True, detail=detail),
        Metric(f"precision{suffix}", f"100 * tp{suffix} / (tp{suffix} + fp{suffix})", True, detail=detail),
        Metric(f"recall{suffix}", f"100 * tp{suffix} / (tp{suffix} + fn{suffix})", True, detail=detail),
        Metric(f"yes_ratio{suffix}", f"100 * (tp{suffix} + fp{suffix}) / {read}", None, detail=detail),
    )


METRICS = (
    *_metrics("", detail=False),
    Metric("unread", "100 * unread / questions", None),
    *(metric for suffix in VIEWS if suffix for metric in _metrics(suffix, detail=True)),
)


def score_answer(response: str, truth: YesNo | None, pope_truth: YesNo) -> Score:
    """Score one answer under both label sets and both readings; an answer that cannot be read is in no cell.

    >>> counts = score_answer("I see a dog.", None, "yes").counts
    >>> counts["tp_pope"], counts["tp_pope_labels"], counts.get("tp", 0)
    (1, 0, 0)

    Args:
        truth: RePOPE's label, None for a question it leaves out.
        pope_truth: POPE's label.
    """
    check_answer(response, pope_truth, ("yes", "no"), "repope")
    labels = {"truth": truth, "pope_truth": pope_truth}
    counts: dict[str, float] = {"questions": 1, "unread": int(read_substring(response) is None)}
    for suffix, (which, reading) in VIEWS.items():
        label, answer = labels[which], reading(response)
        counts |= {
            f"tp{suffix}": int(answer == "yes" == label),
            f"fp{suffix}": int(answer == "yes" and label == "no"),
            f"tn{suffix}": int(answer == "no" == label),
            f"fn{suffix}": int(answer == "no" and label == "yes"),
        }
    details = {"read_as": {"official": read_substring(response), "pope": read_first_sentence(response)}}
    return Score(counts, details=details)


def official_figures(sums: Mapping[str, float], suffix: str = "") -> dict[str, float | None]:
    """What the authors' script prints for one subset, as fractions; None where it would divide by zero."""
    tp, fp, tn, fn = (int(sums.get(f"{name}{suffix}", 0)) for name in ("tp", "fp", "tn", "fn"))
    rates = Rates(tp, fp, tn, fn)
    return {
        "TP": tp,
        "FP": fp,
        "TN": tn,
        "FN": fn,
        "Precision": rates.precision,
        "Recall": rates.recall,
        "F1": rates.f1,
        "ACC": rates.accuracy,
        "Yes Ratio": rates.yes,
    }


class RePOPE(Benchmark):
    """The benchmark; see the module for what it measures."""

    name = "repope"
    metrics: Sequence[Metric] = METRICS
    sampling = Sampling(temperature=0.0, max_new_tokens=128)
    files = POPE.files
    parts = POPE.parts.replace("pope.", "repope.")

    def __init__(
        self,
        labels: Path | None = None,
        data: Path | None = None,
        images: Path | None = None,
        splits: Sequence[str] = SPLITS,
        without_images: bool = False,
        partial: bool = False,
    ) -> None:
        """
        Args:
            labels: folder with coco_repope_<split>.json; default: the official files.
            data, images, splits, without_images: as of POPE.
            partial: print official figures also for a part of the questions.
        """
        self.pope = POPE(data, images, splits, without_images)
        self.labels, self.partial = labels, partial

    @classmethod
    def miniature(cls, world: Path, splits: Sequence[str] = SPLITS, partial: bool = False) -> Self:
        """RePOPE on the files of a miniature world, whose POPE labels are all right."""
        return cls(world / "pope", world / "pope", world / "images", splits, partial=partial)

    def items(self) -> Sequence[Item]:
        """POPE's questions with both labels.

        Raises:
            DataError: if a file is missing or malformed, or a relabelled question is not POPE's.
        """
        return self._items

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Score an answer."""
        return score_answer(response, item.reference.get("truth"), item.reference["pope_truth"])

    def fronts(self) -> Sequence[Front]:
        """Answers shifted blindly, compared at an equal share of "yes"."""
        return (Front("yes_ratio", ("f1", "accuracy"), ("No", "Yes")),)

    def settings(self) -> Mapping[str, str]:
        """POPE's, and how many questions have a label."""
        labelled = sum("truth" in item.reference for item in self._items)
        return {**self.pope.settings(), "labelled": str(labelled)}

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """Subset -> what the authors' script prints; complete subsets only, unless `partial` was chosen."""
        figures: dict[str, Json] = {}
        for split in self.pope.splits:
            asked = sum(item.groups["split"] == split for item in self._items)
            counts = [s.score.counts for s in samples if s.item.groups["split"] == split and s.score.counts is not None]
            if len(counts) < asked and not self.partial:
                reason = f"{asked - len(counts)} of {asked} questions have no score; set repope.partial=true"
                figures[split] = {"withheld": reason}
            else:
                sums = sum_counts(counts)
                figures[split] = {
                    "RePOPE": official_figures(sums),
                    "POPE": official_figures(sums, "_pope_labels"),
                }
        return figures

    def baselines(self, items: Sequence[Item]) -> Mapping[str, Mapping[str, float | None]]:
        """Models that give the same answer to every one of these questions."""
        return constant_answers(self, items, [metric for metric in self.metrics if not metric.detail])

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        labels = {item.id: item for split in self.pope.splits for item in self._relabelled(split)}
        asked = {item.id: item for item in self.pope.items()}
        for item_id, relabelled in labels.items():
            if item_id not in asked or asked[item_id].question != relabelled.question:
                raise DataError(f"repope: question {item_id!r} ({relabelled.question[:60]!r}) is not POPE's")
        return tuple(_with_both(item, labels.get(item.id)) for item in asked.values())

    def _relabelled(self, split: str) -> Sequence[Item]:
        if self.labels is None:
            return read_questions(split, asset(f"repope/coco_repope_{split}.json"), None)
        candidates = [self.labels / f"coco_repope_{split}.json"]
        path = candidates[0] if candidates[0].is_file() else find_list(self.labels, split)
        return read_questions(split, path, None)


def _with_both(item: Item, relabelled: Item | None) -> Item:
    reference = {"pope_truth": item.reference["truth"]}
    if relabelled is not None:
        reference["truth"] = relabelled.reference["truth"]
    change = "left out" if relabelled is None else "kept" if len(set(reference.values())) == 1 else "changed"
    return replace(item, reference=reference, groups={**item.groups, "label": change})
