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
