"""The data every layer passes on: item -> prompt -> response -> score -> sample."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from evalkit.images import ImageFile

Json = Any  # what json.loads returns; annotated so that a reader sees where JSON crosses a border
Record = Mapping[str, Json]  # a sample on disk: one line of records.jsonl


@dataclass(frozen=True, slots=True)
class Item:
    """One benchmark question.

    id         unique within the benchmark
    question   what is asked, as shown in reports
    image      None for an item without one
    reference  what the response is scored against: reference objects, labels, a human answer (JSON)
    groups     names under which metrics are also reported, e.g. {"dimension": "existence"}
    cluster    what the bootstrap resamples; items that share an image share it. Empty: the item itself
    aliases    ids under which other people's lists keep it
    """

    id: str
    question: str
    image: "ImageFile | None"
    reference: Mapping[str, Json] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    cluster: str = ""
    aliases: tuple[str, ...] = ()


class Turn(NamedTuple):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is asked: optional system text, the conversation so far, then a user turn; images come first.

    text    the user turn that wants a response; empty, nothing follows the system text or the turns (the extractor of
            Object HalBench sends a system message alone, a reward model reads a conversation that is over)
    images  stand at the beginning of the first user turn
    turns   what was said before `text`
    """

    id: str
    text: str
    images: tuple["ImageFile", ...] = ()
    system: str | None = None
    turns: tuple[Turn, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text of the prompt, in order."""
        return tuple(text for text in (self.system, *(turn.text for turn in self.turns), self.text) if text)


@dataclass(frozen=True, slots=True)
class Response:
    """What a model returned for one prompt; exactly one of `text` and `failure` is set.

    sample  index among the n responses of the prompt
    finish  "stop" | "length" | other words an engine reports; None for a failure
    raw     the text before its thoughts were taken off; None where there were none
    tokens  number of generated tokens, None if the engine does not report it
    """

    prompt_id: str
    text: str | None
    sample: int = 0
    finish: str | None = None
    token_ids: tuple[int, ...] | None = None
    tokens: int | None = None
    failure: str | None = None
    raw: str | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.failure is None):
            raise ValueError(f"response to {self.prompt_id!r}: exactly one of text and failure must be set")


class Finding(NamedTuple):
    """A span [start, end) of a response, in characters, with a label.

    Labels with a colour of their own in the dashboard: "hallucinated", "correct", "covered", "ignored", "claim".
    The note names what the span stands for, an object as a rule; a reason may follow it after ": ".
    """

    start: int
    end: int
    label: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """Reading of one response: summable counts, or a failure. Exactly one of `counts` and `failure` is set.

    counts    summable numbers; every metric is a function of their sums
    findings  spans to show
    details   anything else worth keeping, JSON (objects named, verdict, raw judge text)
    """

    counts: Mapping[str, float] | None
    findings: tuple[Finding, ...] = ()
    details: Mapping[str, Json] = field(default_factory=dict)
    failure: str | None = None

    def __post_init__(self) -> None:
        if (self.counts is None) == (self.failure is None):
            raise ValueError("a score holds either counts or a failure")


@dataclass(frozen=True, slots=True)
class Sample:
    """item + response + score; a record is a sample on disk. `verdict` is the judge's, if any."""

    item: Item
    prompt: Prompt
    response: Response
    score: Score
    verdict: Mapping[str, Json] | None = None
