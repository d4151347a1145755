"""AMBER: hallucination in descriptions and in yes/no answers, without a judge (Wang et al. 2023, arXiv:2311.07397).

Item        one of 1,004 photographs with "Describe this image." (generative), or with one of 14,216 yes/no questions
            about existence, attributes (state, number, action) and relations (discriminative)
Reference   objects present and objects likely to be hallucinated; for a question yes or no
chair       hallucinated nouns / nouns of the closed vocabulary, in %; lower is better (see amber_nouns.py)
cover       annotated objects that were named, in %
hal         descriptions with a hallucinated noun, in %; lower is better
cog         expected hallucinations that were named, in %; lower is better
accuracy    right answers / questions; precision, recall and f1 with "No" as the positive class, all in %
share_no    answers "No" / questions, in %: a model that says No to everything has an f1 of 79.7
amber_score (100 - chair + f1) / 2. Empty descriptions and constant "No" reach 89.85: see `baselines`, cover, share_no

Answers are read as the authors' script reads them, exactly "Yes" or "No", so "No." is wrong (unread counts such
answers). The suffix _word marks the figures of a lenient reading, the word yes or the word no (see yes_no.py).
`official` has the script's own figures, rounding included, for this and two more lenient readings of other harnesses.
Existence has no yes question, so its precision is 100 with the first "No".
Differs from the authors' script: word similarities come from a fixed table (see similarity.py), ids are checked, and
there are intervals. The prompt of one question differs between the authors' query files; query_all.json is read.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

from benchmarks.amber.answers import READINGS, answer_metrics, f1_formula, score_answer
from benchmarks.amber.figures import amber_score, official_figures
from benchmarks.amber.files import AmberFiles
from benchmarks.amber.nouns import Lexicon, count_cuts, score_description, vocabulary_of
from benchmarks.amber.similarity import open_similarity
from evalkit.benchmark import Benchmark, DataFile, Front, Result
from evalkit.errors import UsageError
from evalkit.files.cache import cache_folder
from evalkit.formats import exporters
from evalkit.formats.answers import RESPONSES
from evalkit.metrics import Metric, sum_counts
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Prompt, Sample, Score

QUESTIONS = ("existence", "attribute", "relation")
DIMENSIONS = ("generative", *QUESTIONS)
SELECTIONS = {"all": DIMENSIONS, "discriminative": QUESTIONS} | {name: (name,) for name in DIMENSIONS}

CHAIR = "100 * hallucinated_mentions / mentions"
GENERATIVE_METRICS = (
    Metric("chair", CHAIR, higher_is_better=False, role="rate"),
    Metric("cover", "100 * covered_words / truth_words", higher_is_better=True),
    Metric("hal", "100 * hallucinated_captions / captions", higher_is_better=False, role="rate"),
    Metric("cog", "100 * hit_words / hallu_words", higher_is_better=False, role="rate"),
)


def score_metric(suffix: str = "") -> Metric:
    """AMBER Score under one reading of the answers."""
    formula = f"(100 - {CHAIR} + {f1_formula(suffix)}) / 2"
    return Metric(f"amber_score{suffix}", formula, higher_is_better=True, unit="points", detail=bool(suffix))


def plain_metrics(dimensions: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics of a selection of dimensions with answers read exactly, the headline first."""
    generative = GENERATIVE_METRICS if "generative" in dimensions else ()
    answers = answer_metrics("") if set(dimensions) & set(QUESTIONS) else ()
    score = (score_metric(),) if set(dimensions) == set(DIMENSIONS) else ()
    return (*score, *generative, *answers)


def lenient_metrics(dimensions: Sequence[str]) -> tuple[Metric, ...]:
    """What a model would score if its answers were read leniently: the word reading's headline figures."""
    if not set(dimensions) & set(QUESTIONS):
        return ()
    score = (score_metric("_word"),) if set(dimensions) == set(DIMENSIONS) else ()
    shown = ("accuracy_word", "f1_word", "unread_word")
    return (*score, *(metric for metric in answer_metrics("_word") if metric.name in shown))


class AMBER(Benchmark):
    """The benchmark; see the module for what it measures."""

    name = "amber"
    metrics: Sequence[Metric] = (*plain_metrics(DIMENSIONS), *lenient_metrics(DIMENSIONS))
    sampling = Sampling(temperature=0.0, max_new_tokens=512)
    files = (
        DataFile(
            "images",
            "amber/image",
            "the image archive linked in the README of junyangwang0410/AMBER (Google Drive): unpack so that "
            "amber/image/AMBER_1.jpg is there",
        ),
    )
    formats = (RESPONSES.named("amber"),)
    exports = (exporters.RESPONSES.named("amber"),)
    present = ("truth",)

    def __init__(
        self,
        data: Path | None = None,
        images: Path | None = None,
        similarity: str = "spacy",
        dimensions: Sequence[str] = ("all",),
        without_images: bool = False,
        partial: bool = False,
        cache: Path | None = None,
    ) -> None:
        """
        Args:
            data: folder with annotations.json, relation.json, safe_words.txt, query/query_all.json; default: assets.
            images: folder of AMBER_<n>.jpg; default: `image` beside the annotations.
            similarity: identity, table:FILE, or spacy:MODEL ("spacy": en_core_web_lg); see similarity.py.
            dimensions: all, generative, discriminative, existence, attribute, relation; several are joined.
            without_images: items without images, enough to score responses made elsewhere.
            partial: print official figures also for a part of the items.
            cache: folder for tables computed from a spaCy model; default: the program's own.
        """
        unknown = [name for name in dimensions if name not in SELECTIONS]
        if unknown or not dimensions:
            raise UsageError(
                f"amber: unknown dimension {', '.join(unknown) or '(none)'}; known: {', '.join(SELECTIONS)}"
            )
        chosen = {part for name in dimensions for part in SELECTIONS[name]}
        self.dimensions = tuple(name for name in DIMENSIONS if name in chosen)
        self.metrics = (*plain_metrics(self.dimensions), *lenient_metrics(self.dimensions))
        self.data, self.images, self.without_images, self.partial = data, images, without_images, partial
        self.similarity = similarity
        self.cache = cache or cache_folder() / "similarity"

    @classmethod
    def miniature(cls, world: Path, dimensions: Sequence[str] = ("all",), partial: bool = False) -> Self:
        """AMBER on the files of a miniature world; words are similar only if they are equal."""
        return cls(world / "amber", world / "images", "identity", dimensions, partial=partial)

    @classmethod
    def evaluate(
        cls,
        responses: Mapping[int, str | None],
        data: Path | None = None,
        similarity: str = "spacy",
        dimensions: Sequence[str] = ("all",),
        partial: bool = False,
    ) -> Result:
        """Score responses made elsewhere; no model, no image, no torch. Arguments as of the class.

        Args:
            responses: item id -> response.
        Raises:
            DataError: if an id belongs to no selected item, or (unless `partial`) an item has no response.
        """
        benchmark = cls(data, None, similarity, dimensions, without_images=True, partial=partial)
        return benchmark.result(responses, partial=partial)

    def items(self) -> Sequence[Item]:
        """All items of the selected dimensions, in the order of the query file.

        Raises:
            DataError: if a file is missing or malformed, if queries and annotations do not belong together, or if the
                similarity source is not there (before a model is asked anything).
        """
        return self._items

    def prompt(self, item: Item) -> Prompt:
        """The question as it stands in the query file; the authors add no instruction about the form of an answer."""
        return Prompt(item.id, item.question, (item.image,) if item.image else ())

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Score a description or an answer."""
        truth = item.reference["truth"]
        if item.groups["dimension"] != "generative":
            return score_answer(response, truth)
        return score_description(response, truth, item.reference["hallu"], self.lexicon)

    def count_cuts(self, sample: Sample, ends: Sequence[int]) -> Sequence[Mapping[str, float]]:
        """Descriptions cut short, from one reading of the whole."""
        if sample.item.groups["dimension"] != "generative":
            return super().count_cuts(sample, ends)
        reference = sample.item.reference
        return count_cuts(sample.response.text or "", ends, reference["truth"], reference["hallu"], self.lexicon)

    def fronts(self) -> Sequence[Front]:
        """Descriptions cut short, at equal cover; answers shifted blindly, at an equal share of "No"."""
        fronts = []
        if "generative" in self.dimensions:
            fronts.append(Front("cover", ("chair", "hal", "cog"), groups={"dimension": ("generative",)}))
        if asked := tuple(name for name in QUESTIONS if name in self.dimensions):
            fronts.append(Front("share_no", ("f1", "accuracy"), ("Yes", "No"), groups={"dimension": asked}))
        return fronts

    def settings(self) -> Mapping[str, str]:
        """Hash of the data files, the dimensions, and the source of word similarities."""
        settings = {"data": self._digest}
        if self.dimensions != DIMENSIONS:
            settings["dimensions"] = "+".join(self.dimensions)
        if "generative" in self.dimensions:
            settings["similarity"] = self.lexicon.similarity.name
        return settings

    def libraries(self) -> Sequence[str]:
        """NLTK reads descriptions; answers are read without it."""
        return ("nltk", "nltk_data") if "generative" in self.dimensions else ()

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """The figures of the authors' script, and those it would print if answers were read leniently.

        They are given for complete sets only, unless `partial` was chosen: the script does not check, and a part of the
        items gives other figures. Blocks as in amber_report.py.
        """
        scored = [sample for sample in samples if sample.score.counts is not None]
        missing = len(self.items()) - len({sample.item.id for sample in scored})
        about: dict[str, Json] = {"items": len(self.items()), "missing": missing}
        if "generative" in self.dimensions:
            about |= {"similarity": self.lexicon.similarity.name, "margin": self.lexicon.similarity.margin}
        if missing and not self.partial:
            return about | {"withheld": f"{missing} items have no score; set amber.partial=true for figures"}
        return about | self._figures(sums_by_type((sample.item, sample.score) for sample in scored))

    def _figures(self, sums: Mapping[str, Mapping[str, float]]) -> dict[str, Json]:
        """Reading -> blocks and AMBER Score."""
        figures: dict[str, Json] = {}
        for suffix in READINGS if set(self.dimensions) & set(QUESTIONS) else ("",):
            blocks = official_figures(sums, self.dimensions, suffix)
            figures[suffix.lstrip("_") or "official"] = {**blocks, "amber_score": amber_score(blocks)}
        return figures

    def baselines(self, items: Sequence[Item]) -> Mapping[str, Mapping[str, float | None]]:
        """Constant models on some of the items. As in the authors' script, no noun at all is a chair of 0."""
        asked = {item.groups["dimension"] for item in items}
        rows = {"constant No": "No", "constant Yes": "Yes"}
        if "generative" in asked:
            both = asked & set(QUESTIONS)
            rows = {f"{name}, empty captions": said for name, said in rows.items()} if both else {"empty captions": ""}
        return {name: self._constant(said, items) for name, said in rows.items()}

    def _constant(self, said: str, items: Sequence[Item]) -> dict[str, float | None]:
        """Metrics of a model that describes nothing and gives one answer to all questions."""

        def response(item: Item) -> str:
            return "" if item.groups["dimension"] == "generative" else said

        sums = sums_by_type((item, self.score(item, response(item))) for item in items)
        total = sum_counts(sums.values())
        values = {metric.name: metric.value(total) for metric in plain_metrics(self.dimensions)}
        blocks = official_figures(sums, self.dimensions)
        if total.get("captions"):
            values["chair"] = blocks["g"]["CHAIR"]
            if "amber_score" in values and total.get("questions"):
                values["amber_score"] = amber_score(blocks)
        return values

    @cached_property
    def lexicon(self) -> Lexicon:
        """Associations, safe words and word similarities."""
        associations = self._files.associations
        similarity = open_similarity(self.similarity, vocabulary_of(associations), self.cache)
        return Lexicon(associations, self._files.safe_words(), similarity)

    @cached_property
    def _files(self) -> AmberFiles:
        return AmberFiles.locate(self.data, self.images, self.without_images)

    @cached_property
    def _digest(self) -> str:
        return self._files.digest()

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        items = tuple(item for item in self._files.items() if item.groups["dimension"] in self.dimensions)
        if "generative" in self.dimensions:
            self.lexicon  # noqa: B018  # fail before a model is asked anything
        return items


def sums_by_type(scores: Iterable[tuple[Item, Score]]) -> dict[str, dict[str, float]]:
    """Type -> summed counts, of scores that have counts."""
    rows: dict[str, list[Mapping[str, float]]] = {}
    for item, score in scores:
        if score.counts is not None:
            rows.setdefault(item.groups["type"], []).append(score.counts)
    return {name: sum_counts(counts) for name, counts in rows.items()}
