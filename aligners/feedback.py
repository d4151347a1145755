"""Conquer and combine: a labeler's yes/no probabilities into the reward of a response (RLAIF-V, arXiv:2405.17220).

The labeler sees the image and each claim's polar question; a claim is confirmed if "yes" is likelier than "no" at the
first answer token. The response's score is minus the number of claims that are not confirmed: a count, not a rate, so
short responses win and pairs need length balance (see `aligners.pairs`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

YES_NO = (("yes", "Yes"), ("no", "No"))  # surface forms whose probabilities are added, for Engine.choices


def labeler_question(question: str) -> str:
    """The polar question as the labeler gets it."""
    return f"{question} Please answer yes or no."


@dataclass(frozen=True, slots=True)
class Judgement:
    """A labeler's answer to one polar question: probability mass of yes and of no, as fractions."""

    question: str
    p_yes: float
    p_no: float

    def confirms(self, *, tie_confirms: bool = False) -> bool:
        """True if yes is likelier. The released code counts a tie as a refutation, the paper as a confirmation."""
        return self.p_yes >= self.p_no if tie_confirms else self.p_yes > self.p_no


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
