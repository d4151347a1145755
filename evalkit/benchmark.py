"""What the harness needs of a benchmark: a base class, so that an author writes what is special and no more.

A benchmark says what it asks (`items`, `prompt`), how a response is read (`score`), and what others need to know of it:
which files it reads (`files`: doctor and --data), in which formats responses to it are kept (`formats`, `exports`),
which count holds a label of a response (`rating`: judge calibration), and which keys of an item's reference list what
is truly in the image (`present`: the dashboard).
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

from evalkit.errors import DataError, UsageError
from evalkit.files.rows import read_text
from evalkit.formats.answers import Format
from evalkit.formats.exporters import Export
from evalkit.formats.given import answered, failed, spoken
from evalkit.metrics import Metric, sum_counts
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Prompt, Response, Sample, Score


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file or folder a benchmark reads below the data folder (`--data DIR`).

    option  constructor argument by which it is given
    path    below the data folder
    how     where to get it
    """

    option: str
    path: str
    how: str

    def missing(self, data: Path) -> bool:
        """Whether the data folder lacks it."""
        return not (data / self.path).exists()


@dataclass(frozen=True, slots=True)
class Rating:
    """The count that holds a response's label, and which labels flag it as hallucinated; exactly one limit is set.

    >>> Rating("rating", below=3).flags(2), Rating().flags(0)
    (True, False)
    """

    count: str = "hallucinated_responses"
    below: float | None = None
    above: float | None = None

    def flags(self, label: float) -> bool:
        """Whether a label says that the response hallucinates."""
        return label < self.below if self.below is not None else label > (self.above or 0)


@dataclass(frozen=True, slots=True)
class Front:
    """At what a run of a benchmark is compared with its base, so that a gain is told from a mere shift.

    at       metric that is held equal: recall, cover, the share of answers "Yes"
    metrics  compared there, the headline first
    answers  None: the base's responses are cut short, which lowers `at`. Else the two constant answers towards which
             its answers are shifted, the one that lowers `at` first, e.g. ("No", "Yes")
    groups   items that belong to it, group name -> values; none: all items
    """

    at: str
    metrics: tuple[str, ...]
    answers: tuple[str, str] | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What `Benchmark.evaluate` returns.

    metrics   name -> value; None where it is undefined
    counts    sums over all responses
    scores    item id -> score
    official  figures as the authors' script prints them; empty for a benchmark without such
    """

    metrics: Mapping[str, float | None]
    counts: Mapping[str, float]
    scores: Mapping[Any, Score]
    official: Mapping[str, Json]


class JudgeRound(ABC):
    """A further question to the judge about each response, put once the first one is answered.

    name    of the round; its reply stands under it in the record
    """

    name: str

    @abstractmethod
    def prompt(
        self, item: Item, response: str, replies: Mapping[str, str], responses: Mapping[str, str]
    ) -> Prompt | None:
        """What is asked, or None if nothing is.

        Args:
            replies: round -> the judge's reply about this response so far; the first round is called "".
            responses: item id -> the same model's response with the same sample index.
        """

    @abstractmethod
    def judge_sampling(self) -> Sampling:
        """Decoding settings of the judge in this round."""

    def check_reply(self, reply: str) -> str | None:
        """Why a reply cannot be read (it is asked for again, a bounded number of times), or None."""
        return None


class Benchmark(ABC):
    """A benchmark: its items, how they are asked, and how a response is scored.

    name       as in the registry and in every signature, e.g. "toy"
    metrics    in the order in which reports show them; the first is the headline
    sampling   the protocol's decoding settings (greedy, token limit); the command line may override them
    files      what it reads below --data
    formats    formats of its own in which responses are kept, before the general ones
    exports    formats of its own in which a run's responses can be written
    rating     the count that holds the label of a response
    present    keys of an item's `reference` that list what is truly in the image, the first that is there counts
    editions   how items of another edition are named, for whoever brings responses to other questions
    parts      how one part of the items is chosen, for whoever brings responses to one of several
    open_items whether responses to any part of the items can be scored: the responses at hand say which
    """

    name: str
    metrics: Sequence[Metric]
    sampling: Sampling
    files: ClassVar[Sequence[DataFile]] = ()
    formats: ClassVar[Sequence[Format]] = ()
    exports: ClassVar[Sequence[Export]] = ()
    rating: ClassVar[Rating] = Rating()
    present: ClassVar[Sequence[str]] = ()
    editions: ClassVar[str] = ""
    parts: ClassVar[str] = ""
    open_items: bool = False

    @abstractmethod
    def items(self) -> Sequence[Item]:
        """All items, in a fixed order, ids unique.

        Raises:
            DataError: if the data is missing, malformed or incomplete.
        """

    @abstractmethod
    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Score one response; `reply` is the judge's raw text where the benchmark is a judged one.

        Pure: no network, no model, no clock. A reply that cannot be read gives a Score with a failure.
        """

    def count_cuts(self, sample: Sample, ends: Sequence[int]) -> Sequence[Mapping[str, float]]:
        """Counts of a sample's response cut at some characters, for fronts: exactly those of the cut texts' scores.

        Default: every cut is scored as any text. A benchmark whose judge names single claims or objects counts those
        that end in the kept text, from the reply that is stored with the sample; nobody is asked again. Counts that no
        metric of a front is made of may be left out.

        Raises:
            UsageError: if a cut has no score.
        """
        text = sample.response.text or ""
        return [self.counts_of(sample.item, text[:end]) for end in ends]

    def counts_of(self, item: Item, response: str) -> Mapping[str, float]:
        """Counts of a response that needs no judge.

        Raises:
            UsageError: if it has no score.
        """
        score = self.score(item, response)
        if score.counts is None:
            raise UsageError(f"{self.name}: item {item.id!r}: a cut response has no score: {score.failure}")
        return score.counts

    def prompt(self, item: Item) -> Prompt:
        """The question as the model gets it; `prompt.id == item.id`. Default: the question after the image."""
        return Prompt(item.id, item.question, (item.image,) if item.image else ())

    def needs_image(self, item: Item) -> bool:
        """Whether an item must be asked with its image; some benchmarks ask questions without one."""
        return True

    def settings(self) -> Mapping[str, str]:
        """Everything on the benchmark's side that moves a score, short words for the signature.

        For example {"data": "val2014-500", "ids": "3f2a9c01", "variant": "pos_lemma", "synonyms": "b685537b"}.
        """
        return {}

    def settle(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """The scored samples with counts that need several of them, e.g. pairs of questions that must both be right.

        Such a count is laid on one sample of its group, and the group's items share a cluster.
        """
        return samples

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json] | None:
        """The authors' figures over scored samples as their script prints them, rounding chains, odd seeds and all."""
        return None

    def baselines(self, items: Sequence[Item]) -> Mapping[str, Mapping[str, float | None]] | None:
        """Where constant answers score well: name of a constant model -> metric name -> value, over a run's items."""
        return None

    def fronts(self) -> Sequence[Front]:
        """At what its runs are compared with a base cut short; only where `count_cuts` needs no new verdict."""
        return ()

    def remarks(self) -> Sequence[str]:
        """What is to be said beside every number of this benchmark, as it is set, e.g. of its reference data."""
        return ()

    def libraries(self) -> Sequence[str]:
        """Libraries that this benchmark, as it is set, scores with and whose version may move a score.

        The signature knows "nltk", whose version it shows, and "nltk_data" (tagger, sentences, lemmas), which it names
        where they are not NLTK's own.
        """
        return ()

    @classmethod
    def evaluate(cls, responses: Mapping[Any, str | None], *arguments: Any, **options: Any) -> Result:
        """Score responses made elsewhere; no model, no image, no torch.

        Args:
            responses: item id (a text or a whole number) -> response; None (or NaN) for a failed one.
            arguments, options: as of the class; partial=True allows items without a response.
        Raises:
            DataError: if an id belongs to no item, or (unless `partial`) an item has no response.
        """
        return cls(*arguments, **options).result(responses, partial=bool(options.get("partial")))

    def result(
        self,
        responses: Mapping[Any, str | None],
        replies: Mapping[Any, str | None] | None = None,
        *,
        partial: bool = False,
    ) -> Result:
        """The scores of responses given by item id, with their sums.

        Args:
            responses: item id (a text or a whole number) -> response; None (or NaN) for a failed one.
            replies: item id -> what the judge replied about it.
            partial: allow items without a response.
        Raises:
            DataError: if an id belongs to no item, or (unless `partial`) an item has no response.
        """
        reply_of = {str(key): said.answer for key, said in spoken(replies or {}, f"{self.name}: replies").items()}
        samples = []
        for item, said in answered(self.items(), responses, partial, self.name):
            response = Response(item.id, said.answer, failure=said.failure)
            score = failed(said) if said.answer is None else self.score(item, said.answer, reply_of.get(item.id))
            samples.append(Sample(item, Prompt(item.id, ""), response, score))
        samples = list(self.settle(samples))
        scores = {sample.item.id: sample.score for sample in samples}
        return summed(self.metrics, scores, self.official(samples))


def summed(
    metrics: Sequence[Metric], scores: Mapping[Any, Score], official: Mapping[str, Json] | None = None
) -> Result:
    """Metrics of the summed counts of scores."""
    counts = sum_counts(score.counts or {} for score in scores.values())
    return Result({metric.name: metric.value(counts) for metric in metrics}, counts, scores, official or {})


def check_number(count: int, expected: int, data: Path, partial: bool, noun: str = "questions") -> None:
    """Refuse a file that holds another number of items than the benchmark has, unless `partial` was said.

    Raises:
        DataError: naming both numbers.
    """
    if count != expected and not partial:
        raise DataError(f"{data}: expected {expected} {noun}, found {count}; say partial to accept that")


def content_digest(rows: Iterable[str]) -> str:
    """Eight hex digits for the content of some rows, as signatures show them.

    >>> content_digest(["a", "b"])
    '7e18f737'
    """
    return hashlib.sha256("\n".join(rows).encode("utf-8", errors="surrogatepass")).hexdigest()[:8]


def files_digest(paths: Iterable[Path]) -> str:
    """Eight hex digits for the texts of some files, as signatures show them.

    Raises:
        DataError: if one cannot be read.
    """
    sha256 = hashlib.sha256()
    for path in paths:
        sha256.update(read_text(path).encode())
    return sha256.hexdigest()[:8]


class Judged(Benchmark):
    """A benchmark whose responses go through a judge (or extractor) before they are scored.

    example_reply  a reply that can be read, so that forecasts can tell what the further rounds would ask
    """

    example_reply: ClassVar[str] = ""

    @abstractmethod
    def judge_prompt(self, item: Item, response: str) -> Prompt | None:
        """What the judge is asked, or None if this response needs no call."""

    @abstractmethod
    def judge_sampling(self) -> Sampling:
        """Decoding settings of the judge."""

    @abstractmethod
    def check_reply(self, reply: str) -> str | None:
        """Why a reply cannot be read (it will be asked for again, a bounded number of times), or None."""

    def further_rounds(self) -> Sequence[JudgeRound]:
        """Questions put to the judge after the first one, in order; `score_rounds` gets their replies."""
        return ()

    def score_rounds(self, item: Item, response: str, replies: Mapping[str, str]) -> Score:
        """Score one response from the replies of all rounds; the first round is called "". What failed is absent."""
        return self.score(item, response, replies.get(""))


def adopted_class(kind: type[Any]) -> type[Benchmark]:
    """The class itself, or for one that was written without `Benchmark` a child of both, with the defaults.

    Raises:
        UsageError: if it lacks what every benchmark has.
    """
    judged = all(hasattr(kind, name) for name in ("judge_prompt", "judge_sampling", "check_reply"))
    if issubclass(kind, Judged if judged else Benchmark):
        return kind
    lacking = [name for name in ("name", "items", "prompt", "score", "settings") if not hasattr(kind, name)]
    if lacking:
        raise UsageError(f"'{kind.__module__}:{kind.__qualname__}' is not a benchmark: it has no {', '.join(lacking)}")
    bases = (kind, Judged if judged else Benchmark)
    return cast("type[Benchmark]", type(kind.__name__, bases, {"__module__": kind.__module__}))


def adopted(benchmark: Any) -> Benchmark:
    """The benchmark itself, or a copy with the defaults of `Benchmark` for one that was written without it.

    Raises:
        UsageError: if it lacks what every benchmark has.
    """
    kind = adopted_class(type(benchmark))
    if kind is type(benchmark):
        return benchmark
    grown = copy(benchmark)
    grown.__class__ = kind
    return grown  # type: ignore[no-any-return]
