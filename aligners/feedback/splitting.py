"""Splitting responses into claims and polar questions: by rules or by a language model (RLAIF-V, arXiv:2405.17220)."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Protocol, TypeVar

from aligners.feedback.candidates import Candidate
from aligners.feedback.claims import (
    Claim,
    answer_claim,
    facts_request,
    join_questions,
    parse_list,
    questions_request,
    split_claims,
)
from aligners.feedback.roles import has_queue, two_at_a_time
from evalkit.engines.base import Engine, identity
from evalkit.engines.served.completions import ended_by_itself
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response
from evalkit.text.thoughts import STANDARD

T = TypeVar("T")


RESPONSES_AT_ONCE = 64  # given to a splitter model in one call
RESPONSES_IN_QUEUE = 1024  # to one with a queue, which has two such calls at a time


@dataclass(frozen=True, slots=True)
class Divided:
    """The claims of one candidate, or why there are none; `replies` are a splitter model's raw texts."""

    candidate_id: str
    claims: tuple[Claim, ...]
    failure: str | None = None
    replies: tuple[str, ...] = ()

    def as_row(self) -> dict[str, Json]:
        """One line of claims.jsonl."""
        return {
            "id": self.candidate_id,
            "claims": [asdict(claim) for claim in self.claims],
            "failure": self.failure,
            "replies": list(self.replies),
        }


def divided_from_row(row: Mapping[str, Json]) -> Divided:
    """Read back a line of claims.jsonl."""
    claims = tuple(Claim(**claim) for claim in row["claims"])
    return Divided(row["id"], claims, row.get("failure"), tuple(row.get("replies", ())))


class Splitter(Protocol):
    """Divides responses into claims with polar questions."""

    def describe(self) -> Mapping[str, Json]:
        """What the manifest records."""

    def split(self, candidates: Sequence[Candidate]) -> Iterator[Divided]:
        """The claims of each candidate, in any order, each yielded as soon as it is known."""


class RuleSplitter:
    """A function of the response's text.

    Args:
        name: what the manifest records; it changes when the rules do.
        divide: None: the rules for English of `aligners.feedback.claims`, bare answers included.
    """

    def __init__(self, name: str = "rules 2", divide: Callable[[str], Sequence[Claim]] | None = None) -> None:
        self._name, self._divide = name, divide

    def describe(self) -> Mapping[str, Json]:
        """The name of the rules."""
        return {"splitter": self._name}

    def split(self, candidates: Sequence[Candidate]) -> Iterator[Divided]:
        """See `Splitter.split`."""
        for candidate in candidates:
            yield Divided(candidate.id, tuple(self._claims(candidate)))

    def _claims(self, candidate: Candidate) -> Sequence[Claim]:
        if self._divide is not None:
            return self._divide(candidate.text)
        claims = split_claims(candidate.text)
        answer = None if claims else answer_claim(candidate.prompt, candidate.text)
        return claims if answer is None else [answer]


class ModelSplitter:
    """A language model lists the claims, then writes a question for each; both raw replies are kept.

    Args:
        engine: a text-only model is enough.
        sampling: of both requests; the released pipeline uses temperature 0.2, top_p 0.9, 256 tokens.
    """

    def __init__(self, engine: Engine, sampling: Sampling | None = None) -> None:
        self.engine = engine
        self._sampling = sampling or Sampling(max_new_tokens=512)

    def describe(self) -> Mapping[str, Json]:
        """Model, prompts and decoding."""
        prompts = facts_request("{question}", "{response}") + questions_request(["{claim}"])
        return {
            "splitter": "model",
            "model": identity(self.engine),
            "sampling": self._sampling.as_dict(),
            "prompts": hashlib.sha256(prompts.encode()).hexdigest()[:8],
        }

    def split(self, candidates: Sequence[Candidate]) -> Iterator[Divided]:
        """See `Splitter.split`; a few candidates at a time, the next few beside them where the engine has a queue."""
        if not has_queue(self.engine):
            for some in batched(candidates, RESPONSES_AT_ONCE):
                yield from self._split(some)
            return
        for divided in two_at_a_time(batched(candidates, RESPONSES_IN_QUEUE), lambda some: [*self._split(some)]):
            yield from divided

    def _split(self, candidates: Sequence[Candidate]) -> Iterator[Divided]:
        listed = self._ask({c.id: facts_request(c.prompt, c.text) for c in candidates})
        claims = {key: parse_list(text) for key, (text, _) in listed.items() if text is not None}
        asked = self._ask({key: questions_request(texts) for key, texts in claims.items() if texts})
        for key, (reply, failure) in listed.items():
            if reply is None:
                yield Divided(key, (), f"the splitter gave no list of claims: {failure}")
            elif not claims[key]:
                yield Divided(key, (), None, (reply,))
            else:
                yield _joined(key, claims[key], reply, *asked[key])

    def _ask(self, texts: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
        """Candidate id -> (reply, failure); a reply that was cut, or is a thought alone, is asked for once more."""
        replies: dict[str, tuple[str | None, str | None]] = {}
        for turn in range(2):
            prompts = [Prompt(key, text) for key, text in texts.items() if replies.get(key, (None, None))[0] is None]
            sampling = replace(self._sampling, seed=self._sampling.seed + turn)
            for response in self.engine.generate(prompts, sampling) if prompts else ():
                replies[response.prompt_id] = _reply(response)
        return {key: replies.get(key, (None, "no reply")) for key in texts}


def _reply(response: Response) -> tuple[str | None, str | None]:
    """A reply without its thoughts, or why there is none: half a list of claims is no list of claims."""
    if response.text is None:
        return None, response.failure
    if not ended_by_itself(response.finish):
        return None, f"the reply did not end by itself (finish: {response.finish})"
    said = STANDARD.take_off(response.text)
    return said.answer, said.failure


def _joined(key: str, texts: Sequence[str], reply: str, questions: str | None, failure: str | None) -> Divided:
    if questions is None:
        return Divided(key, (), f"the splitter gave no questions: {failure}", (reply,))
    asked = parse_list(questions)
    claims = join_questions(texts, asked)
    if claims is None:
        reason = f"the splitter wrote {len(asked)} questions for {len(texts)} claims"
        return Divided(key, (), reason, (reply, questions))
    return Divided(key, tuple(claims), None, (reply, questions))


def batched(rows: Sequence[T], size: int) -> Iterator[list[T]]:
    """Consecutive pieces of at most `size` rows."""
    stream = iter(rows)
    while piece := list(islice(stream, size)):
        yield piece
