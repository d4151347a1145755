"""What the harness needs of a benchmark; written as protocols, so that a benchmark imports nothing but data types."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from evalkit.metrics import Metric
from evalkit.sampling import Sampling
from evalkit.schema import Item, Json, Prompt, Sample, Score


class Benchmark(Protocol):
    """A benchmark: its items, how they are asked, and how a response is scored.

    name       as in the registry and in every signature, e.g. "chair"
    metrics    in the order in which reports show them; the first is the headline
    sampling   the protocol's decoding settings (greedy, token limit); the command line may override them
    """

    name: str
    metrics: Sequence[Metric]
    sampling: Sampling

    def items(self) -> Sequence[Item]:
        """All items, in a fixed order, ids unique.

        Raises:
            DataError: if the data is missing, malformed or incomplete.
        """

    def prompt(self, item: Item) -> Prompt:
        """The question as the model gets it; `prompt.id == item.id`."""

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Score one response; `reply` is the judge's raw text where the benchmark is a `Judged` one.

        Pure: no network, no model, no clock. A reply that cannot be read gives a Score with a failure.
        """

    def settings(self) -> Mapping[str, str]:
        """Everything on the benchmark's side that moves a score, short words for the signature.

        For example {"data": "val2014-500", "ids": "3f2a9c01", "variant": "pos_lemma", "synonyms": "b685537b"}.
        """


@runtime_checkable
class Judged(Protocol):
    """A benchmark whose responses go through a judge (or extractor) before they are scored."""

    def judge_prompt(self, item: Item, response: str) -> Prompt | None:
        """What the judge is asked, or None if this response needs no call."""

    def judge_sampling(self) -> Sampling:
        """Decoding settings of the judge."""

    def check_reply(self, reply: str) -> str | None:
        """Why a reply cannot be read (it will be asked for again, a bounded number of times), or None."""


@runtime_checkable
class Official(Protocol):
    """A benchmark with figures printed by the authors' script: rounding chains, odd seeds and all."""

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """The authors' figures over scored samples, as their script prints them."""


@runtime_checkable
class WithBaselines(Protocol):
    """A benchmark for which constant answers score well: their figures stand beside every run's."""

    def baselines(self, items: Sequence[Item]) -> Mapping[str, Mapping[str, float | None]]:
        """Name of a constant model (e.g. "constant No, empty captions") -> metric name -> value, over a run's items."""


@runtime_checkable
class WithLibraries(Protocol):
    """A benchmark whose scorer reads English with a library of which another version may score otherwise."""

    def libraries(self) -> Sequence[str]:
        """Those that this benchmark, as it is set, scores with; the signature knows "nltk" and shows its version."""


@runtime_checkable
class OpenItems(Protocol):
    """A benchmark that can score responses to any part of its items: the responses at hand say which."""

    open_items: bool
