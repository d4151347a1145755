"""The engine protocol."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from evalkit.runs.checksums import NOT_IDENTITY
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log-probabilities of one continuation: `logprobs[t] = log p(token_ids[t] | prompt, token_ids[:t])`, in nats."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def total(self) -> float:
        """Log-probability of the whole continuation."""
        return sum(self.logprobs)


@dataclass(frozen=True, slots=True)
class Choices:
    """Probability mass of each group of surface forms at the first answer token, and the most likely token's text."""

    masses: tuple[float, ...]
    argmax: str


class Engine(Protocol):
    """A model that answers prompts.

    Engines that cannot do an operation (a server without log-probabilities) raise EngineError and say so.
    """

    name: str

    def describe(self) -> Mapping[str, Json]:
        """What the manifest records: model, revision, dtype, image processor, versions. No secrets."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        """`sampling.n` responses per prompt, in any order, each yielded as soon as it is finished.

        A prompt that cannot be answered yields a Response with a failure (never an empty text in its place).

        Raises:
            EngineError: if the engine itself is broken; everything yielded before stays valid.
        """

    def logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> list[TokenLogprobs]:
        """Per-token log-probabilities of one given continuation per prompt (end token not added)."""

    def choices(self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]) -> list[Choices]:
        """Probability mass of each group, e.g. [["yes", "Yes"], ["no", "No"]], at the first answer token."""

    def stop(self) -> None:
        """Ask a running `generate` to end after what is in flight; called from a signal handler."""

    def close(self) -> None:
        """Release the model or connections."""


@runtime_checkable
class StreamsChoices(Protocol):
    """An engine with a queue of its own: it takes any number of prompts at once and answers each as soon as it can."""

    def stream_choices(
        self, prompts: Sequence[Prompt], groups: Sequence[Sequence[str]]
    ) -> Iterator[tuple[int, Choices]]:
        """`Engine.choices` as they come: (index of the prompt, its choices)."""


def identity(engine: Engine) -> dict[str, Json]:
    """The part of an engine's description that its answers depend on."""
    return {name: value for name, value in engine.describe().items() if name not in NOT_IDENTITY}
