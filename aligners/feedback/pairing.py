"""Preference pairs from judged candidates, balanced in length.

RLAIF-V (arXiv:2405.17220) scores a response by a count of refuted claims, so shorter responses are chosen and the
policy would learn to say less; the pipeline therefore drops pairs with a much shorter chosen text.
"""

import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from aligners.feedback.candidates import Candidate, K, T
from aligners.preference.builders import label_confidence
from aligners.preference.pairs import Pair
from evalkit.errors import DataError


@dataclass(frozen=True, slots=True)
class LengthBalance:
    """Result of `balance_lengths`; `ratio` and the means are None if no pair is left.

    ratio          pairs whose chosen text is shorter by more than this fraction of the rejected one were dropped
    kept           indices of the pairs that stay
    mean_chosen    words; mean_rejected likewise
    relative_gap   |mean_chosen - mean_rejected| / mean_rejected
    """

    ratio: float | None
    kept: list[int]
    mean_chosen: float | None
    mean_rejected: float | None
    relative_gap: float | None


def balance_lengths(
    chosen_words: Sequence[int], rejected_words: Sequence[int], identical: Sequence[bool]
) -> LengthBalance:
    """Drop pairs with a much shorter chosen text so that both sides have the same mean length, as far as possible.

    RLAIF-V's released code: a fraction r of 0, 0.02, ... 0.98 is searched (first best), pairs with
    (rejected - chosen) / rejected > r are dropped, and identical pairs always. Pairs with a longer chosen text stay.
    Where the released code divides by zero (an r that keeps nothing, an empty rejected text), it is left out.

    Args:
        chosen_words: words per chosen text.
        rejected_words: words per rejected text.
        identical: True where both texts are the same.
    """
    shortening = {
        i: (rejected - chosen) / rejected
        for i, (chosen, rejected, same) in enumerate(zip(chosen_words, rejected_words, identical, strict=True))
        if rejected and not same
    }
    best = LengthBalance(None, [], None, None, None)
    for step in range(50):
        ratio = step * 0.02
        kept = [i for i, share in shortening.items() if share <= ratio]
        if kept:
            mean_chosen = sum(chosen_words[i] for i in kept) / len(kept)
            mean_rejected = sum(rejected_words[i] for i in kept) / len(kept)
            gap = abs(mean_chosen - mean_rejected) / mean_rejected
            if best.relative_gap is None or gap < best.relative_gap:
                best = LengthBalance(ratio, kept, mean_chosen, mean_rejected, gap)
    return best


def balance_pairs(pairs: Sequence[Pair]) -> tuple[list[Pair], LengthBalance]:
    """`balance_lengths` on texts; words are what white space separates."""
    balance = balance_lengths(
        [len(pair.chosen.split()) for pair in pairs],
        [len(pair.rejected.split()) for pair in pairs],
        [pair.chosen.strip() == pair.rejected.strip() for pair in pairs],
    )
    return [pairs[i] for i in balance.kept], balance


def group_by(rows: Sequence[T], keys: Sequence[K]) -> dict[K, list[T]]:
    """Rows by key, both in order of first appearance."""
    groups: dict[K, list[T]] = {}
    for row, key in zip(rows, keys, strict=True):
        groups.setdefault(key, []).append(row)
    return groups


# --- from scored candidates ---------------------------------------------------------------------------------------


class IndexPair(NamedTuple):
    """Indices of two candidates."""

    chosen: int
    rejected: int


def enumerate_pairs(
    scores: Sequence[float | None], groups: Sequence[Hashable], *, min_gap: float = 1.0
) -> list[IndexPair]:
    """All pairs within a group whose scores differ by at least `min_gap`, higher score chosen.

    Args:
        scores: per candidate; None (nothing could be judged) takes part in no pair.
        groups: per candidate, the prompt it answers (image and question).
        min_gap: 1 in RLAIF-V: one refuted claim more.
    """
    scored = [i for i, score in enumerate(scores) if score is not None]
    values = {i: score for i, score in enumerate(scores) if score is not None}
    members = group_by(scored, [groups[i] for i in scored])
    return [
        IndexPair(chosen, rejected)
        for group in members.values()
        for chosen in group
        for rejected in group
        if chosen != rejected and values[chosen] > values[rejected]
        if values[chosen] - values[rejected] >= min_gap
    ]


def keep_judged(pairs: Sequence[IndexPair], judged: Sequence[bool]) -> list[IndexPair]:
    """Pairs whose two candidates had all their claims judged (see `aligners.feedback.labeling.fully_judged`)."""
    return [pair for pair in pairs if judged[pair.chosen] and judged[pair.rejected]]


def sample_per_group(
    pairs: Sequence[IndexPair], groups: Sequence[Hashable], *, limit: int, seed: int
) -> list[IndexPair]:
    """At most `limit` pairs per group, drawn with a seed of the group's own, so that other groups change nothing.

    Args:
        pairs: indices into `groups`.
        groups: per candidate; RLAIF-V takes the image id here, and 2 pairs each.
        limit: pairs per group.
        seed: base seed.
    """
    kept: list[IndexPair] = []
    for group, members in group_by(pairs, [groups[pair.chosen] for pair in pairs]).items():
        chance = random.Random(f"{seed}\x00{group}")
        kept += members if len(members) <= limit else chance.sample(members, limit)
    return kept


def pairs_from_scores(
    candidates: Sequence[Candidate],
    scores: Sequence[float | None],
    judged: Sequence[bool],
    *,
    min_gap: float,
    pairs_per_image: int,
    seed: int,
) -> tuple[list[Pair], dict[str, int]]:
    """The steps above in order: pairs of scored candidates before length balance, and how many each step left.

    Args:
        candidates: of any number of prompts.
        scores: of `aligners.feedback.labeling.response_score`, per candidate.
        judged: of `aligners.feedback.labeling.fully_judged`, per candidate.
        min_gap: see `enumerate_pairs`.
        pairs_per_image: pairs drawn per image (per prompt where there is none).
        seed: of the draw.
    Returns:
        (pairs, counts): ids are made of the two candidates' ids, meta holds their scores; counts has candidates,
        scored, pairs_with_gap, pairs_fully_judged, pairs_sampled.
    """
    with_gap = enumerate_pairs(scores, [candidate.prompt_id for candidate in candidates], min_gap=min_gap)
    complete = keep_judged(with_gap, judged)
    images = [candidate.image or candidate.prompt_id for candidate in candidates]
    sampled = sample_per_group(complete, images, limit=pairs_per_image, seed=seed)
    counts = {
        "candidates": len(candidates),
        "scored": sum(score is not None for score in scores),
        "pairs_with_gap": len(with_gap),
        "pairs_fully_judged": len(complete),
        "pairs_sampled": len(sampled),
    }
    return [_scored_pair(candidates, scores, pair) for pair in sampled], counts


def with_confidence(pair: Pair, false_chances: Mapping[str, Sequence[float]]) -> Pair:
    """The pair with `label_confidence` of its two candidates as meta.confidence.

    Args:
        pair: of `pairs_from_scores`.
        false_chances: candidate -> for each of its claims the probability that it is false.
    Raises:
        DataError: if the pair is of other candidates.
    """
    names = pair.id.split(">")
    if len(names) != 2 or not false_chances.keys() >= set(names):
        raise DataError(f"pair {pair.id!r} is of no two candidates of this iteration")
    confidence = label_confidence(*(false_chances[name] for name in names))
    return replace(pair, meta={**pair.meta, "confidence": round(confidence, 6)})


def _scored_pair(candidates: Sequence[Candidate], scores: Sequence[float | None], pair: IndexPair) -> Pair:
    chosen, rejected = candidates[pair.chosen], candidates[pair.rejected]
    return Pair(
        id=f"{chosen.id}>{rejected.id}",
        image=chosen.image,
        prompt=chosen.prompt,
        chosen=chosen.text,
        rejected=rejected.text,
        meta={"chosen_score": scores[pair.chosen], "rejected_score": scores[pair.rejected]},
    )
