"""Packing: several responses behind one image in a single row.

    prefix (image)  segment 1: prompt, response  segment 2: prompt, response ...

A row encodes its prefix once; a block mask lets each segment see the prefix and itself only, and positions restart
after the prefix, so a packed row gives the same logits as its segments on their own, at a fraction of the cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aligners.training.logprobs import IGNORE
from evalkit.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Segment:
    """One prompt and the response to learn; `weight` is how much each response token counts in the loss."""

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """A shared prefix and the segments that follow it."""

    prefix_ids: Sequence[int]
    segments: Sequence[Segment]


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows as tensors.

    input_ids, position_ids   long (B, T), right-padded
    attention_mask            True where a query may look, bool (B, 1, T, T)
    labels                    the token itself on response tokens, IGNORE elsewhere, long (B, T)
    weights                   loss weight of each token, float (B, T)
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    weights: Tensor


def pack(rows: Sequence[Row], pad_id: int) -> PackedBatch:
    """Lay rows out as one batch.

    Raises:
        TrainingError: if there is no row, or a row has no response token.
    """
    if not rows or not all(any(segment.response_ids for segment in row.segments) for row in rows):
        raise TrainingError("every row of a batch needs at least one segment with a response")
    flat = [_flatten(row) for row in rows]
    length = max(len(ids) for ids, *_ in flat)

    def padded(column: int, filler: float) -> Tensor:
        return torch.tensor([row[column] + [filler] * (length - len(row[column])) for row in flat])

    return PackedBatch(
        input_ids=padded(0, pad_id),
        position_ids=padded(1, 0),
        attention_mask=block_mask(padded(2, -1)),
        labels=padded(3, IGNORE),
        weights=padded(4, 0.0),
    )


def _flatten(row: Row) -> tuple[list[int], list[int], list[int], list[int], list[float]]:
    """Token ids, positions, segment numbers (0 = prefix), labels and weights of one row."""
    start = len(row.prefix_ids)
    ids, positions, numbers = list(row.prefix_ids), list(range(start)), [0] * start
    labels, weights = [IGNORE] * start, [0.0] * start
    for number, segment in enumerate(row.segments, start=1):
        n_prompt, n_response = len(segment.prompt_ids), len(segment.response_ids)
        ids += [*segment.prompt_ids, *segment.response_ids]
        positions += range(start, start + n_prompt + n_response)
        numbers += [number] * (n_prompt + n_response)
        labels += [IGNORE] * n_prompt + list(segment.response_ids)
        weights += [0.0] * n_prompt + [segment.weight] * n_response
    return ids, positions, numbers, labels, weights


def block_mask(segment_numbers: Tensor) -> Tensor:
    """Causal mask in which a token sees its own segment and the prefix (number 0), (B, T) -> bool (B, 1, T, T)."""
    length = segment_numbers.shape[1]
    same = segment_numbers[:, :, None] == segment_numbers[:, None, :]
    prefix = segment_numbers[:, None, :] == 0
    causal = torch.ones(length, length, dtype=torch.bool, device=segment_numbers.device).tril()
    return ((same | prefix) & causal)[:, None]
