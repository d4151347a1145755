"""A response with all attempts made to obtain it: raw reply, answering model and tokens of each.

The judge stores this story. An engine that talks to a server tells it through `complete`; the response of any other
engine counts as one attempt.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

from evalkit.engines.base import Engine
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response

CHUNK = 256  # prompts handed at once to an engine that takes a list


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request and what came of it.

    raw         the text of the answer, or the start of the reply's body where no answer could be read from it
    model       the model's name as the server reports it
    error       why the attempt failed, None if it did not
    tokens_in   tokens of the prompt as the server counts them
    tokens_out  tokens generated
    """

    raw: str | None
    model: str | None = None
    error: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None

    def as_dict(self) -> dict[str, Json]:
        """As stored in a journal and in the cache."""
        return {
            "raw": self.raw,
            "model": self.model,
            "error": self.error,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
        }

    @classmethod
    def of(cls, row: Mapping[str, Json]) -> "Attempt":
        """Inverse of `as_dict`."""
        return cls(row["raw"], row["model"], row["error"], row["tokens_in"], row["tokens_out"])


@dataclass(frozen=True, slots=True)
class Completion:
    """A response and the attempts behind it, the last one being the one it came from."""

    response: Response
    attempts: tuple[Attempt, ...]


@runtime_checkable
class CompletesPrompts(Protocol):
    """An engine that tells its attempts."""

    base_urls: tuple[str, ...]

    def complete(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Completion]:
        """Like `Engine.generate`; `prompts` is read lazily, one prompt whenever a connection is free."""


def complete(engine: Engine, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Completion]:
    """Completions of any engine, each as soon as it is finished."""
    if isinstance(engine, CompletesPrompts):
        yield from engine.complete(prompts, sampling)
        return
    model = str(engine.describe().get("model", engine.name))
    waiting = iter(prompts)
    while chunk := list(islice(waiting, CHUNK)):
        for response in engine.generate(chunk, sampling):
            attempt = Attempt(response.text, model, response.failure, tokens_out=response.tokens)
            yield Completion(response, (attempt,))
