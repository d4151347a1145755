"""Candidates: several responses to one prompt, before ranking; choosing among them."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One sampled response.

    id         unique: prompt and sample index
    prompt_id  candidates of one prompt (image and question) share it
    image      path or content hash of the image, as in the prompt file; None for a prompt without one
    prompt     the question asked
    text       the response
    sample     index among the responses to the prompt
    """

    id: str
    prompt_id: str
    image: str | None
    prompt: str
    text: str
    sample: int


def group_by(rows: Sequence[T], keys: Sequence[K]) -> dict[K, list[T]]:
    """Rows by key, both in order of first appearance."""
    groups: dict[K, list[T]] = {}
    for row, key in zip(rows, keys, strict=True):
        groups.setdefault(key, []).append(row)
    return groups


def best_of(rewards: Sequence[float]) -> int:
    """Index of the highest reward, the first of equals: best-of-N selection.

    Raises:
        ValueError: if there is no candidate or a reward is NaN.
    """
    if not rewards or any(math.isnan(reward) for reward in rewards):
        raise ValueError(f"best-of-N needs at least one candidate and no NaN, got {list(rewards)}")
    return max(range(len(rewards)), key=rewards.__getitem__)


def near_duplicate(first: str, second: str, *, n: int = 10, threshold: float = 0.9) -> bool:
    """True if the word n-grams of two texts overlap: intersection / union > threshold.

    RLAIF-V's data engine uses n = 10 and 0.9. Texts shorter than n words are compared as a whole.
    """
    a, b = _ngrams(first, n), _ngrams(second, n)
    return len(a & b) > threshold * len(a | b)


def without_near_duplicates(texts: Sequence[str], *, n: int = 10, threshold: float = 0.9) -> list[int]:
    """Indices of texts that are not near-duplicates of an earlier kept one."""
    kept: list[int] = []
    for i, text in enumerate(texts):
        if not any(near_duplicate(text, texts[j], n=n, threshold=threshold) for j in kept):
            kept.append(i)
    return kept


def _ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    words = text.split()
    size = min(n, len(words))
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}
