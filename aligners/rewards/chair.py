"""CHAIR as a reward: objects that are not there cost, objects that are there pay, wrong numbers cost.

After CHAIR (Rohrbach et al. 2018, arXiv:1809.02156). With the cost of hallucinations alone the best description is
none, so coverage belongs to the reward; with coverage alone the best is a list of everything. Length and wrong numbers
are parts of their own because a policy trained on objects alone changes both unseen.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aligners.rewards.reward import Reward, RewardFunction, Sampled
from benchmarks.chair import score_caption
from benchmarks.objects.mentions import MentionFinder
from evalkit.errors import DataError
from evalkit.schema import Score

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_STATED = {**{word: number for number, word in enumerate(_NUMBERS, start=1)}, "a": 1, "an": 1}
_WORD = re.compile(r"[A-Za-z]+|\d+|[^\sA-Za-z\d]")  # a sign breaks the phrase
_REACH = 3  # words before a mention among which its number is looked for ("two small brown dogs")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChairWeights:
    """Weight of each part in the total.

    covered       times the share of reference objects that are named, fraction
    hallucinated  times the hallucinated mentions, taken away
    wrong_counts  times the mentions with a number that is not the true one, taken away
    words         times the words, taken away
    """

    covered: float = 1.0
    hallucinated: float = 0.5
    wrong_counts: float = 0.25
    words: float = 0.0


def chair_reward(finder: MentionFinder, weights: ChairWeights | None = None) -> RewardFunction:
    """A reward function that reads `objects` (reference objects) and, if there, `counts` (object -> number) of a row.

    Parts: hallucinated (mentions), covered (share), wrong_counts (mentions), words.

    Args:
        finder: vocabulary and variant, see `benchmarks.chair`.
        weights: of the parts.
    """
    weighing = weights or ChairWeights()

    def reward(responses: Sequence[Sampled]) -> list[Reward]:
        return [_reward(sampled, finder, weighing) for sampled in responses]

    return reward


def _reward(sampled: Sampled, finder: MentionFinder, weights: ChairWeights) -> Reward:
    objects = sampled.reference.get("objects")
    if not isinstance(objects, Sequence) or isinstance(objects, str):
        raise DataError(
            f"the CHAIR reward needs a column 'objects' (list of reference objects); "
            f"columns here: {', '.join(sorted(sampled.reference)) or 'none'}"
        )
    score = score_caption(sampled.response, objects, finder)  # objects that are no categories are an error there
    assert score.counts is not None  # scoring a caption cannot fail
    total = score.counts["reference_objects"]
    parts = {
        "hallucinated": float(score.counts["hallucinated_mentions"]),
        "covered": score.counts["covered_objects"] / total if total else 1.0,
        "wrong_counts": float(wrong_counts(sampled.response, score, sampled.reference.get("counts") or {})),
        "words": float(len(sampled.response.split())),
    }
    value = weights.covered * parts["covered"] - sum(
        getattr(weights, name) * parts[name] for name in ("hallucinated", "wrong_counts", "words")
    )
    return Reward(value, parts)


def wrong_counts(response: str, score: Score, counts: Mapping[str, int]) -> int:
    """Mentions of an object that is there whose stated number is not the true one.

    "a" and "an" state one; a mention without a number states nothing, and neither does one of an object that `counts`
    does not know.

    >>> from evalkit.schema import Finding
    >>> dogs = Score({}, (Finding(10, 14, "correct", "dog"),))
    >>> wrong_counts("There are dogs.", dogs, {"dog": 2}), wrong_counts("Two small dogs.", dogs, {"dog": 3})
    (0, 1)
    """
    wrong = 0
    for finding in score.findings:
        true = counts.get(finding.note)
        if finding.label == "correct" and true is not None:
            stated = _stated_number(response[: finding.start])
            wrong += stated is not None and stated != true
    return wrong


def _stated_number(before: str) -> int | None:
    """The number said in the last few words before a mention, if any."""
    for word in reversed(_WORD.findall(before)[-_REACH:]):
        if word.isdigit():
            return int(word)
        if word.lower() in _STATED:
            return _STATED[word.lower()]
        if not word.isalpha() or word.lower() in ("and", "with", "of"):
            return None
    return None
