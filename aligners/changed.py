"""Which tokens a correction changed: the token weights of dense DPO.

RLHF-V (Yu et al. 2024, arXiv:2312.00849) lets the corrected segments y_c count gamma times and the other
response tokens once. The segments come from a longest-matching-block diff of the two token sequences: matching blocks
shorter than `min_match_size` are thrown away, and what lies between the blocks that stay is a replaced span.

Input      token ids (or any hashable tokens) of the *response* alone, before padding; rejected first, chosen second:
           the diff is not symmetric.
Differs from the released code, which diffs prompt, image placeholders and batch padding as well: `REFERENCE_DIFF` gives
its result on the same input bit for bit, `CORRECTED_DIFF` mends three effects nobody intended (see `DiffSettings`).
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class DiffSettings:
    """How the diff decides.

    min_match_size  tokens a matching block needs to separate two corrections; the released code uses 3
    autojunk        the standard library's popular-token heuristic: with 200 or more chosen tokens, frequent ones
                    cannot start a match, so longer responses get extra weighted tokens
    one_sided       weight pure deletions (in the rejected response) and pure insertions (in the chosen one) too; the
                    released code does not, although deleting a hallucinated sentence is a common correction
    keep_edges      a common beginning or end stays unchanged however short; without it a deletion just before the final
                    ". </s>" makes these two tokens "corrected" on both sides
    """

    min_match_size: int = 3
    autojunk: bool = False
    one_sided: bool = True
    keep_edges: bool = True

    def __post_init__(self) -> None:
        if self.min_match_size < 1:
            raise ValueError(f"min_match_size must be at least 1, got {self.min_match_size}")


REFERENCE_DIFF = DiffSettings(min_match_size=3, autojunk=True, one_sided=False, keep_edges=False)
CORRECTED_DIFF = DiffSettings()


@dataclass(frozen=True, slots=True)
class ChangedSpan:
    """One correction: tokens [rejected_start, rejected_end) became [chosen_start, chosen_end)."""

    rejected_start: int
    rejected_end: int
    chosen_start: int
    chosen_end: int

    @property
    def rejected(self) -> range:
        """Token indices on the rejected side."""
        return range(self.rejected_start, self.rejected_end)

    @property
    def chosen(self) -> range:
        """Token indices on the chosen side."""
        return range(self.chosen_start, self.chosen_end)


def changed_spans(
    rejected: Sequence[Hashable], chosen: Sequence[Hashable], settings: DiffSettings = CORRECTED_DIFF
) -> list[ChangedSpan]:
    """Corrections in reading order; identical sequences give none."""
    kept = _kept_blocks(rejected, chosen, settings)
    gaps = [
        ChangedSpan(before[0] + before[2], after[0], before[1] + before[2], after[1])
        for before, after in pairwise([(0, 0, 0), *kept])
    ]
    if settings.one_sided:
        return [gap for gap in gaps if gap.rejected or gap.chosen]
    return [gap for gap in gaps if gap.rejected and gap.chosen]


def token_weights(
    rejected: Sequence[Hashable],
    chosen: Sequence[Hashable],
    gamma: float,
    settings: DiffSettings = CORRECTED_DIFF,
) -> tuple[list[float], list[float]]:
    """Weight per token of the rejected and of the chosen response: gamma where changed, 1 elsewhere.

    Dense DPO, RLHF-V (arXiv:2312.00849, eq. 2-5); gamma = 1 is plain DPO.
    """
    spans = changed_spans(rejected, chosen, settings)
    return (
        _weights(len(rejected), (span.rejected for span in spans), gamma),
        _weights(len(chosen), (span.chosen for span in spans), gamma),
    )


def _kept_blocks(
    rejected: Sequence[Hashable], chosen: Sequence[Hashable], settings: DiffSettings
) -> list[tuple[int, int, int]]:
    """(rejected start, chosen start, length) of the blocks between corrections; the last is the empty end block."""
    matcher = SequenceMatcher(None, rejected, chosen, autojunk=settings.autojunk)
    *blocks, end = ((block.a, block.b, block.size) for block in matcher.get_matching_blocks())

    def at_edge(block: tuple[int, int, int]) -> bool:
        start = block[0] == 0 and block[1] == 0
        return start or (block[0] + block[2] == end[0] and block[1] + block[2] == end[1])

    kept = [b for b in blocks if b[2] >= settings.min_match_size or (settings.keep_edges and at_edge(b))]
    return [*kept, end]


def _weights(length: int, ranges: Iterable[range], gamma: float) -> list[float]:
    weights = [1.0] * length
    for span in ranges:
        weights[span.start : span.stop] = [gamma] * len(span)
    return weights
