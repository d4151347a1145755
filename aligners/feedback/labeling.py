"""Labelling candidates: responses -> claims -> polar questions -> a labeler's yes/no probabilities -> scores.

RLAIF-V (arXiv:2405.17220), "divide and conquer". The splitter is a language model, the rules of
`aligners.feedback.claims`, or anything with the same two methods; the labeler is any engine that tells probabilities,
the policy itself included.
A question about an image is asked once, however many candidates make the claim.

Conquer and combine: a labeler's yes/no probabilities into the reward of a response (RLAIF-V, arXiv:2405.17220).

The labeler sees the image and each claim's polar question; a claim is confirmed if "yes" is likelier than "no" at the
first answer token. The response's score is minus the number of claims that are not confirmed: a count, not a rate, so
short responses win and pairs need length balance (see `aligners.preference.pairs`).
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from aligners.feedback.candidates import Candidate
from aligners.feedback.claims import Claim
from aligners.feedback.roles import each_choice
from aligners.feedback.splitting import Divided
from evalkit.engines.base import Engine
from evalkit.schema import Json, Prompt


def labeler_question(question: str) -> str:
    """The polar question as the labeler gets it."""
    return f"{question} Please answer yes or no."


LABELER_WORDING = labeler_question("{question}")


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
    questions: dict[str, ImageQuestion] = {}
    for candidate in candidates:
        for claim in divided[candidate.id].claims:
            key = question_id(candidate, claim)
            questions.setdefault(key, ImageQuestion(key, candidate.prompt_id, candidate.image, claim.question))
    return list(questions.values())


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
    prompts = [ask(question, wording.replace("{question}", question.question)) for question in questions]
    for index, choices in each_choice(labeler, prompts, YES_NO):
        question = questions[index]
        p_yes, p_no = choices.masses
        yield {
            "id": question.id,
            "image": question.image,
            "question": question.question,
            "p_yes": p_yes,
            "p_no": p_no,
            "argmax": choices.argmax,
        }


@dataclass(frozen=True, slots=True)
class Judgement:
    """A labeler's answer to one polar question: probability mass of yes and of no, as fractions."""

    question: str
    p_yes: float
    p_no: float

    def confirms(self, *, tie_confirms: bool = False) -> bool:
        """True if yes is likelier. The released code counts a tie as a refutation, the paper as a confirmation."""
        return self.p_yes >= self.p_no if tie_confirms else self.p_yes > self.p_no


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


YES_NO = (("yes", "Yes"), ("no", "No"))  # surface forms whose probabilities are added, for Engine.choices


def response_score(judgements: Sequence[Judgement], *, tie_confirms: bool = False) -> int | None:
    """Minus the number of claims the labeler did not confirm; None without a claim: nothing was checked."""
    if not judgements:
        return None
    return sum(judgement.confirms(tie_confirms=tie_confirms) for judgement in judgements) - len(judgements)


def fully_judged(claims: Sequence[str], judgements: Sequence[Judgement]) -> bool:
    """True if there is one judged question for every claim.

    Judgements are told apart by their question text, so two claims with the same question leave one unjudged, and a
    splitter that wrote too few questions shows up here. Empty claims are not counted.
    """
    return len({judgement.question for judgement in judgements}) == sum(bool(claim) for claim in claims)
