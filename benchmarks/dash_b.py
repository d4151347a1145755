"""DASH-B: can you see a X in this image? Images found because models say yes to them (2503.23573).

Item          an image and one of 70 objects: 1,341 images without it that make models name it,
              1,341 with it
Reference     yes or no
accuracy      right answers / questions, in %
tnr, tpr      right among the questions whose truth is no, and yes, in %
harmonic_mean of tnr and tpr, in %: a constant answer gets 0
unread        answers with neither yes nor no, in %; they are wrong

An answer is a yes if "yes" stands anywhere in it, else a no if "no" does ("cannot", "know" are a no), as in the
authors' script. The positive half was exchanged after their answers file was made: figures of the two lists are not
comparable, and the settings hold a hash of the list.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

from benchmarks.yes_no import ratio, read_substring
from evalkit.benchmark import Benchmark, DataFile, Front, files_digest
from evalkit.errors import DataError
from evalkit.files.assets import asset
from evalkit.files.fields import read_object
from evalkit.formats.given import check_answer
from evalkit.images import ImageFile
from evalkit.metrics import Metric, sum_counts
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Sample, Score

QUESTION = "Can you see a {} in this image? Please answer only with yes or no."
FILES = {"no": "dash_benchmark_neg.json", "yes": "dash_benchmark_pos.json"}  # the authors' order: absent objects first
FOLDERS = {"no": "neg", "yes": "pos"}

METRICS = (
    Metric("accuracy", "100 * (tp + tn) / questions", True),
    Metric("harmonic_mean", "200 * tn * tp / (tn * yes_questions + tp * no_questions)", True),
    Metric("tnr", "100 * tn / no_questions", True),
    Metric("tpr", "100 * tp / yes_questions", True),
    Metric("yes_ratio", "100 * (tp + fp) / questions", None),
    Metric("unread", "100 * unread / questions", None),
)


def score_answer(response: str, truth: str) -> Score:
    """Score one answer; one without yes and no is wrong.

    >>> score_answer("Yes, I can.", "yes").counts["tp"], score_answer("maybe", "no").counts["tn"]
    (1, 0)

    Args:
        truth: "yes" or "no".
    """
    check_answer(response, truth, ("yes", "no"), "dash_b")
    answer = read_substring(response)
    counts = {
        "questions": 1,
        "yes_questions": int(truth == "yes"),
        "no_questions": int(truth == "no"),
        "tp": int(answer == "yes" == truth),
        "fp": int(answer == "yes" != truth),
        "tn": int(answer == "no" == truth),
        "fn": int(answer == "no" != truth),
        "unread": int(answer is None),
    }
    return Score(counts, details={"read_as": answer})


def official_figures(sums: Mapping[str, float]) -> dict[str, float | None]:
    """What the authors' script prints, as fractions; None where it would divide by zero."""
    tnr = ratio(sums.get("tn", 0), sums.get("no_questions", 0))
    tpr = ratio(sums.get("tp", 0), sums.get("yes_questions", 0))
    return {
        "ACC": ratio(sums.get("tp", 0) + sums.get("tn", 0), sums.get("questions", 0)),
        "TNR": tnr,
        "TPR": tpr,
        "Harmonic Mean": None if tnr is None or tpr is None else ratio(2 * tnr * tpr, tnr + tpr),
    }


class DashB(Benchmark):
    """The benchmark; see the module for what it measures."""

    name = "dash_b"
    metrics: Sequence[Metric] = METRICS
    sampling = Sampling(temperature=0.0, max_new_tokens=32)
    files = (
        DataFile(
            "images",
            "dash_b/images",
            "the two archives linked in the README of YanNeu/DASH-B, or YanNeu/DASH-B on the Hub: unpack so that "
            "dash_b/images/neg/coco/ and dash_b/images/pos/coco/ are there",
        ),
    )

    def __init__(
        self,
        data: Path | None = None,
        images: Path | None = None,
        without_images: bool = False,
        partial: bool = False,
    ) -> None:
        """
        Args:
            data: folder with dash_benchmark_neg.json and dash_benchmark_pos.json; default: the official files.
            images: folder with neg/ and pos/; default: the folder of the lists.
            without_images: items without images, enough to score responses made elsewhere.
            partial: print official figures also for a part of the questions.
        """
        self.data, self.images, self.without_images, self.partial = data, images, without_images, partial

    @classmethod
    def miniature(cls, world: Path, partial: bool = False) -> Self:
        """DASH-B on the files of a miniature world."""
        return cls(world / "dash_b", world / "dash_b", partial=partial)

    def items(self) -> Sequence[Item]:
        """The questions in the authors' order: all about absent objects, then all about present ones.

        Raises:
            DataError: if a list is missing, malformed or empty, or names an image twice.
        """
        return self._items

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Score an answer."""
        return score_answer(response, item.reference["truth"])

    def fronts(self) -> Sequence[Front]:
        """Answers shifted blindly, compared at an equal share of "yes"."""
        return (Front("yes_ratio", ("harmonic_mean", "accuracy"), ("No", "Yes")),)

    def settings(self) -> Mapping[str, str]:
        """Hash of the two lists."""
        return {"data": self._digest}

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """What the authors' script prints; for all questions only, unless `partial` was chosen."""
        counts = [sample.score.counts for sample in samples if sample.score.counts is not None]
        missing = len(self.items()) - len(counts)
        if missing and not self.partial:
            return {"withheld": f"{missing} of {len(self.items())} questions have no score; set dash_b.partial=true"}
        return official_figures(sum_counts(counts))

    def baselines(self, items: Sequence[Item]) -> Mapping[str, Mapping[str, float | None]]:
        """Models that give the same answer to every one of these questions."""
        rows = {}
        for answer in ("Yes", "No", ""):
            sums = sum_counts(self.score(item, answer).counts or {} for item in items)
            rows[f"constant {answer}" if answer else "no answer"] = {
                metric.name: metric.value(sums) for metric in self.metrics
            }
        return rows

    @cached_property
    def _paths(self) -> dict[str, Path]:
        if self.data is not None:
            return {truth: self.data / name for truth, name in FILES.items()}
        return {truth: asset(f"dash_b/{name}") for truth, name in FILES.items()}

    @cached_property
    def _digest(self) -> str:
        return files_digest(self._paths.values())

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        items = [item for truth, path in self._paths.items() for item in self._questions(truth, path)]
        seen: set[str] = set()
        for item in items:
            if item.id in seen:
                raise DataError(f"dash_b: image {item.id!r} stands there twice")
            seen.add(item.id)
        return tuple(items)

    def _questions(self, truth: str, path: Path) -> list[Item]:
        items = []
        for source, objects in read_object(path).items():
            if not isinstance(objects, dict):
                raise DataError(f"{path}: {source!r} must be an object of lists by object name, found {objects!r:.60}")
            for name, files in objects.items():
                if not isinstance(files, list) or not all(isinstance(file, str) and file for file in files):
                    raise DataError(f"{path}: {source!r}, {name!r} must be a list of file names, found {files!r:.60}")
                items += [self._item(truth, path, source, name, file) for file in files]
        if not items:
            raise DataError(f"{path}: names no image")
        return items

    def _item(self, truth: str, path: Path, source: str, name: str, file: str) -> Item:
        image = f"{FOLDERS[truth]}/{source}/{name}/{file}"
        return Item(
            id=image,
            question=QUESTION.format(name),
            image=None if self.without_images else ImageFile(self.images or path.parent, image),
            reference={"truth": truth, "object": name},
            groups={"source": source, "truth": truth},
            cluster=image,
        )
