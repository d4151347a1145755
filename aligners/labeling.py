"""Labelling candidates: responses -> claims -> polar questions -> a labeler's yes/no probabilities -> scores.

RLAIF-V (arXiv:2405.17220), "divide and conquer". The splitter is a language model, the rules of `aligners.claims`, or
anything with the same two methods; the labeler is any engine that tells probabilities, the policy itself included.
A question about an image is asked once, however many candidates make the claim.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Protocol, TypeVar

from aligners.candidates import Candidate
from aligners.claims import Claim, facts_request, join_questions, parse_list, questions_request, split_claims
from aligners.feedback import YES_NO, Judgement, fully_judged, labeler_question, response_score
from evalkit.engines.base import Engine
from evalkit.judge import identity
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt

T = TypeVar("T")

LABELER_WORDING = labeler_question("{question}")
QUESTIONS_AT_ONCE = 512  # asked of the labeler in one call; a killed stage loses at most these
RESPONSES_AT_ONCE = 64  # given to a splitter model in one call


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
    """A function of the response's text, by default the rules of `aligners.claims` for English descriptions."""

    def __init__(self, name: str = "rules", divide: Callable[[str], Sequence[Claim]] = split_claims) -> None:
        self._name, self._divide = name, divide

    def describe(self) -> Mapping[str, Json]:
        """The name of the rules."""
        return {"splitter": self._name}

    def split(self, candidates: Sequence[Candidate]) -> Iterator[Divided]:
        """See `Splitter.split`."""
        for candidate in candidates:
            yield Divided(candidate.id, tuple(self._divide(candidate.text)))


class ModelSplitter:
    """A language model lists the claims, then writes a question for each; both raw replies are kept.

    Args:
        engine: needs no eyes.
        sampling: of both requests; the released pipeline uses temperature 0.2, top_p 0.9, 256 tokens.
    """

    def __init__(self, engine: Engine, sampling: Sampling | None = None) -> None:
        self._engine = engine
        self._sampling = sampling or Sampling(max_new_tokens=512)

    def describe(self) -> Mapping[str, Json]:
        """Model, prompts and decoding."""
        prompts = facts_request("{question}", "{response}") + questions_request(["{claim}"])
        return {
            "splitter": "model",
            "model": identity(self._engine),
            "sampling": self._sampling.as_dict(),
            "prompts": hashlib.sha256(prompts.encode()).hexdigest()[:8],
        }

    def split(self, candidates: Sequence[Candidate]) -> Iterator[Divided]:
        """See `Splitter.split`; a few candidates at a time."""
        for some in batched(candidates, RESPONSES_AT_ONCE):
            yield from self._split(some)

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
        """Candidate id -> (reply, failure)."""
        prompts = [Prompt(key, text) for key, text in texts.items()]
        found = self._engine.generate(prompts, self._sampling) if prompts else iter(())
        replies = {response.prompt_id: (response.text, response.failure) for response in found}
        return {key: replies.get(key, (None, "no reply")) for key in texts}


def _joined(key: str, texts: Sequence[str], reply: str, questions: str | None, failure: str | None) -> Divided:
    if questions is None:
        return Divided(key, (), f"the splitter gave no questions: {failure}", (reply,))
    asked = parse_list(questions)
    claims = join_questions(texts, asked)
    if claims is None:
        reason = f"the splitter wrote {len(asked)} questions for {len(texts)} claims"
        return Divided(key, (), reason, (reply, questions))
    return Divided(key, tuple(claims), None, (reply, questions))


# --- questions and judgements -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ImageQuestion:
    """A polar question about the image of a prompt; `id` depends on image and question alone."""

    id: str
    prompt_id: str
    image: str | None
    question: str


def image_questions(candidates: Sequence[Candidate], divided: Mapping[str, Divided]) -> list[ImageQuestion]:
    """Every question about every image, once, in order of first appearance."""
    found: dict[str, ImageQuestion] = {}
    for candidate in candidates:
        for claim in divided[candidate.id].claims:
            key = question_id(candidate, claim)
            found.setdefault(key, ImageQuestion(key, candidate.prompt_id, candidate.image, claim.question))
    return list(found.values())


def question_id(candidate: Candidate, claim: Claim) -> str:
    """Key of a judgement: hash of image (of the prompt, where there is none) and question."""
    about = ["image", candidate.image] if candidate.image is not None else ["prompt", candidate.prompt_id]
    return hashlib.sha256(json.dumps([*about, claim.question]).encode()).hexdigest()[:16]


def judge_questions(
    labeler: Engine,
    questions: Sequence[ImageQuestion],
    ask: Callable[[ImageQuestion, str], Prompt],
    wording: str = LABELER_WORDING,
) -> Iterator[dict[str, Json]]:
    """Rows of judgements.jsonl: the labeler's probability mass of yes and of no at its first token.

    Args:
        labeler: an engine that can do `choices`.
        questions: what to ask.
        ask: (question, its text as the labeler gets it) -> prompt.
        wording: how the labeler is asked, with the claim's question in place of {question}.
    """
    for some in batched(questions, QUESTIONS_AT_ONCE):
        prompts = [ask(question, wording.replace("{question}", question.question)) for question in some]
        for question, choices in zip(some, labeler.choices(prompts, YES_NO), strict=True):
            p_yes, p_no = choices.masses
            yield {
                "id": question.id,
                "image": question.image,
                "question": question.question,
                "p_yes": p_yes,
                "p_no": p_no,
                "argmax": choices.argmax,
            }


# --- scores -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Labelled:
    """A candidate with the labeler's reading of it.

    judgements   one per claim; empty where nothing was checked (no claim, or the splitter failed)
    judged       every claim has a judgement of its own
    tie_confirms as in the preset
    repeated     claims made a second time, where repetition counts
    """

    candidate: Candidate
    judgements: tuple[Judgement, ...]
    judged: bool
    tie_confirms: bool
    repeated: int = 0

    @property
    def refuted(self) -> int | None:
        """Claims the labeler did not confirm; None where nothing was checked."""
        score = response_score(self.judgements, tie_confirms=self.tie_confirms)
        return None if score is None else -score

    @property
    def confirmed(self) -> int | None:
        """Claims the labeler confirmed; None where nothing was checked."""
        return None if self.refuted is None else len(self.judgements) - self.refuted

    def score(self, confirmed_weight: float = 0.0, repeated_weight: float = 0.0, *, soft: bool = False) -> float | None:
        """Minus the refuted claims (RLAIF-V), plus `confirmed_weight` for each confirmed one, less the repeated ones.

        Args:
            confirmed_weight: 0 in RLAIF-V.
            repeated_weight: what a repeated claim takes away; 0 in RLAIF-V.
            soft: count a claim as confirmed by p_yes / (p_yes + p_no) and refuted by the rest; a labeler that is not
                sure then makes no score differ much.
        Returns:
            None where nothing was checked.
        """
        if self.refuted is None:
            return None
        confirmed: float = len(self.judgements) - self.refuted
        if soft:
            confirmed = sum(yes_share(judgement) for judgement in self.judgements)
        refuted = len(self.judgements) - confirmed
        return confirmed_weight * confirmed - refuted - repeated_weight * self.repeated


def yes_share(judgement: Judgement) -> float:
    """p_yes / (p_yes + p_no), a fraction; one half where the labeler gives neither any probability."""
    total = judgement.p_yes + judgement.p_no
    return judgement.p_yes / total if total > 0 else 0.5


def label(
    candidates: Sequence[Candidate],
    divided: Mapping[str, Divided],
    judgements: Mapping[str, Mapping[str, Json]],
    *,
    tie_confirms: bool,
    count_repeated: bool = False,
) -> list[Labelled]:
    """Put candidates, claims and judgements (rows by id) together.

    Args:
        tie_confirms: as in the preset.
        count_repeated: a claim made twice is judged once and counted as repeated; without it, as in RLAIF-V, such a
            candidate is not fully judged and makes no pair.
    """
    return [
        _labelled(candidate, divided[candidate.id], judgements, tie_confirms, count_repeated)
        for candidate in candidates
    ]


def _labelled(
    candidate: Candidate,
    divided: Divided,
    rows: Mapping[str, Mapping[str, Json]],
    tie_confirms: bool,
    count_repeated: bool,
) -> Labelled:
    if divided.failure is not None or not divided.claims:
        return Labelled(candidate, (), judged=False, tie_confirms=tie_confirms)
    claims = divided.claims
    if count_repeated:
        claims = tuple({claim.question: claim for claim in claims}.values())
    read = [rows[question_id(candidate, claim)] for claim in claims]
    judgements = tuple(Judgement(row["question"], row["p_yes"], row["p_no"]) for row in read)
    judged = fully_judged([claim.text for claim in claims], judgements)
    return Labelled(candidate, judgements, judged, tie_confirms, len(divided.claims) - len(claims))


def label_statistics(rows: Sequence[Mapping[str, Json]]) -> dict[str, float | None]:
    """Of judgements: number, share that say yes, how sure they are, mass outside yes and no; fractions."""
    if not rows:
        return {"questions": 0, "yes_share": None, "mean_confidence": None, "other_mass": None}
    masses = [(row["p_yes"], row["p_no"]) for row in rows]
    sure = [max(yes, no) / (yes + no) for yes, no in masses if yes + no > 0]
    return {
        "questions": len(rows),
        "yes_share": sum(yes > no for yes, no in masses) / len(rows),
        "mean_confidence": sum(sure) / len(sure) if sure else None,
        "other_mass": sum(1 - yes - no for yes, no in masses) / len(rows),
    }


def batched(rows: Sequence[T], size: int) -> Iterator[list[T]]:
    """Consecutive pieces of at most `size` rows."""
    stream = iter(rows)
    while piece := list(islice(stream, size)):
        yield piece
