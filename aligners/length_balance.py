"""Length balance: preference pairs whose chosen and rejected responses are equally long on average.

RLAIF-V (arXiv:2405.17220) scores a response by a count of refuted claims, so shorter responses are chosen and the
policy would learn to say less; the pipeline therefore drops pairs with a much shorter chosen text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aligners.pairs import Pair


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
