"""A response with all attempts made to obtain it: raw reply, answering model and tokens of each.

The judge stores these attempts. An engine that talks to a server reports them through `complete`; the response of any
other engine counts as one attempt.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

from evalkit.engines.base import Engine
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response

CHUNK = 256  # prompts handed at once to an engine that takes a list


_ENDED = {"stop", "stopped", "eos", "end", "ended", "complete", "completed", "finish", "finished", "done", "endoftext"}
_CUT = {"length", "max", "limit", "limits", "filter", "filtered", "incomplete", "error", "abort", "aborted", "timeout"}


def ended_by_itself(finish: str | None) -> bool:
    """Whether a text ends where the model ended it; so does one of a server that does not say why it ends.

    The words of servers differ: "stop", "eos_token", "end_turn", "FINISH_REASON_STOP". One that is not known is a cut.

    >>> ended_by_itself("stop"), ended_by_itself("end_turn"), ended_by_itself(None)
    (True, True, True)
    >>> ended_by_itself("length"), ended_by_itself("content_filter"), ended_by_itself("FINISH_REASON_MAX_TOKENS")
    (False, False, False)
    """
    if finish is None:
        return True
    words = set(re.findall(r"[a-z]+", finish.lower().removeprefix("finish_reason")))
    return bool(words & _ENDED) and not words & _CUT


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request and what came of it.

    raw         the text of the answer, or the start of the reply's body where no answer could be read from it
    model       the model's name as the server reports it
    error       why the attempt failed, None if it did not
    finish      why the text ends, in the server's word; None where it tells none
    sent        whether the request reached a server
    tokens_in   tokens of the prompt as the server counts them
    tokens_out  tokens generated
    """

    raw: str | None
    model: str | None = None
    error: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    finish: str | None = None
    sent: bool = True

    def as_dict(self) -> dict[str, Json]:
        """As stored in a journal and in the cache."""
        return {
            "raw": self.raw,
            "model": self.model,
            "error": self.error,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            **({"finish": self.finish} if self.finish is not None else {}),
            **({} if self.sent else {"sent": False}),
        }

    @classmethod
    def of(cls, row: Mapping[str, Json]) -> "Attempt":
        """Inverse of `as_dict`.

        Raises:
            ValueError: if the row is something else: another version's, or damaged.
        """
        texts = ("raw", "model", "error", "finish")
        if not isinstance(row, dict) or not {"raw", "model", "error", "tokens_in", "tokens_out"} <= row.keys():
            raise ValueError(f"not an attempt: {row!r:.60}")
        if not all(isinstance(row.get(name), str | None) for name in texts):
            raise ValueError(f"an attempt has a field that is not text: {row!r:.60}")
        counts = [row[name] for name in ("tokens_in", "tokens_out")]
        if not all(count is None or (type(count) is int and count >= 0) for count in counts):
            raise ValueError(f"an attempt has a count that is not a number: {row!r:.60}")
        return cls(
            row["raw"],
            row["model"],
            row["error"],
            row["tokens_in"],
            row["tokens_out"],
            row.get("finish"),
            row.get("sent") is not False,
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """A response and the attempts behind it, the last one being the one it came from."""

    response: Response
    attempts: tuple[Attempt, ...]


@runtime_checkable
class CompletesPrompts(Protocol):
    """An engine that reports its attempts."""

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
            attempt = Attempt(
                response.text, model, response.failure, tokens_out=response.tokens, finish=response.finish
            )
            yield Completion(response, (attempt,))
