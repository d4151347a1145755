"""Checked claims as a reward: what a response claims that a labeler refutes costs, what it confirms pays.

After the "divide and conquer" of RLAIF-V (Yu et al. 2024, arXiv:2405.17220), whose score is minus the refuted claims;
with that alone the best response claims nothing, so confirmed claims pay here. Judgements are kept in a cache under the
labeler, the picture and the question: a policy says the same things of a picture again and again.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aligners.feedback.candidates import Candidate
from aligners.feedback.labeling import LABELER_WORDING, ImageQuestion, Judgement, image_questions, judge_questions
from aligners.feedback.splitting import Divided, Splitter
from aligners.rewards.reward import Reward, RewardFunction, Sampled
from evalkit.engines.base import Engine, identity
from evalkit.errors import DataError
from evalkit.files.cache import Cache, content_key
from evalkit.images import ImageFile
from evalkit.schema import Prompt

_NUMBER = re.compile(r"\b(\d+|two|three|four|five|six|seven|eight|nine|ten)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimWeights:
    """Weight of each part in the total.

    covered       times the confirmed claims
    hallucinated  times the refuted claims, taken away
    wrong_counts  times the refuted claims that state a number, taken away besides
    words         times the words, taken away
    """

    covered: float = 0.5
    hallucinated: float = 1.0
    wrong_counts: float = 0.0
    words: float = 0.0


def claim_reward(
    splitter: Splitter,
    labeler: Engine,
    cache: Cache | None = None,
    weights: ClaimWeights | None = None,
    wording: str = LABELER_WORDING,
) -> RewardFunction:
    """A reward function over responses about images; needs no reference.

    Parts: hallucinated, covered, wrong_counts (claims), words. A claim that is made twice counts once. A response in
    which nothing could be checked (no claim, or a splitter that failed) has no total.

    Args:
        splitter: divides responses into claims with polar questions.
        labeler: an engine that can do `choices`.
        cache: of its judgements; None asks every time.
        weights: of the parts.
        wording: how the labeler is asked, with the claim's question in place of {question}.
    """
    weighing = weights or ClaimWeights()

    def reward(responses: Sequence[Sampled]) -> list[Reward]:
        candidates = [_candidate(number, sampled) for number, sampled in enumerate(responses)]
        images = {c.image: s.image for c, s in zip(candidates, responses, strict=True) if s.image is not None}
        divided = {one.candidate_id: one for one in splitter.split(candidates)}
        judgements = _judged(labeler, image_questions(candidates, divided), images, cache, wording)
        return [_reward(candidate, divided[candidate.id], judgements, weighing) for candidate in candidates]

    return reward


def _candidate(number: int, sampled: Sampled) -> Candidate:
    if sampled.image is None:
        raise DataError("the claim reward looks at images: give trl_reward and its like `image_of`")
    about = sampled.image.sha256()
    return Candidate(str(number), about, about, sampled.prompt, sampled.response, number)


def _judged(
    labeler: Engine,
    questions: Sequence[ImageQuestion],
    images: Mapping[str | None, ImageFile],
    cache: Cache | None,
    wording: str,
) -> dict[tuple[str | None, str], Judgement]:
    """(image, question) -> the labeler's judgement, from the cache where it was given before."""
    who = identity(labeler) if cache is not None else {}
    judgements: dict[tuple[str | None, str], Judgement] = {}
    keys = {one.id: content_key("claim", who, wording, one.image, one.question) for one in questions}
    missing = []
    for one in questions:
        known = cache.get(keys[one.id]) if cache is not None else None
        if known is None:
            missing.append(one)
        else:
            judgements[one.image, one.question] = Judgement(one.question, *known)

    def ask(question: ImageQuestion, text: str) -> Prompt:
        return Prompt(question.id, text, (images[question.image],))

    for row in judge_questions(labeler, missing, ask, wording) if missing else ():
        judgements[row["image"], row["question"]] = Judgement(row["question"], row["p_yes"], row["p_no"])
        if cache is not None:
            cache.put(keys[row["id"]], [row["p_yes"], row["p_no"]])
    return judgements


def _reward(
    candidate: Candidate,
    divided: Divided,
    judgements: Mapping[tuple[str | None, str], Judgement],
    weights: ClaimWeights,
) -> Reward:
    words = {"words": float(len(candidate.text.split()))}
    claims = {claim.question: claim for claim in divided.claims}
    if divided.failure is not None or not claims:
        return Reward(None, words)
    refuted = [claims[q] for q in claims if not judgements[candidate.image, q].confirms()]
    parts = {
        "hallucinated": float(len(refuted)),
        "covered": float(len(claims) - len(refuted)),
        "wrong_counts": float(sum(bool(_NUMBER.search(claim.text)) for claim in refuted)),
        **words,
    }
    costs = sum(getattr(weights, name) * parts[name] for name in ("hallucinated", "wrong_counts", "words"))
    return Reward(weights.covered * parts["covered"] - costs, parts)
