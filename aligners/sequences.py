"""Rows of token ids around a rollout: cutting responses at their end, masks, left padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Cut:
    """Responses cut at their end.

    ids      padded after the cut, (B, T)
    has_end  True where the end token is in what remains, bool (B,)
    mask     True on response tokens, the end token included, bool (B, T)
    """

    ids: Tensor
    has_end: Tensor
    mask: Tensor


def cut_after_end(ids: Tensor, end_id: int, pad_id: int, overriding_ids: Sequence[int] = ()) -> Cut:
    """Replace everything after the first end token by padding.

    Args:
        ids: sampled response tokens, right-padded, (B, T).
        end_id: the end token; a row without one is kept whole.
        pad_id: may equal `end_id`.
        overriding_ids: tokens whose first occurrence decides the cut instead, even behind the end token; of several
            the last listed wins. The released LLaVA-RLHF code lists the two question marks here, so its policy is
            punished for asking (no end token left).
    """
    positions = torch.arange(ids.shape[1], device=ids.device)
    cut = torch.full((len(ids),), ids.shape[1] - 1, device=ids.device)
    for token in (end_id, *overriding_ids):
        hits = ids == token
        cut = hits.int().argmax(-1).where(hits.any(-1), cut)
    kept = positions <= cut.unsqueeze(-1)
    result = ids.where(kept, pad_id)
    has_end = ((result == end_id) & kept).any(-1)
    content = (result != pad_id) | ((result == end_id) & kept)
    last = positions.where(content, -1).amax(-1, keepdim=True)
    return Cut(result, has_end, positions <= last)


def non_pad_lengths(ids: Tensor, pad_id: int) -> Tensor:
    """Tokens per row that are not `pad_id`, wherever they stand, (B,): the released code's response length."""
    return (ids != pad_id).sum(-1)


def left_pad(ids: Tensor, pad_id: int) -> Tensor:
    """Move all `pad_id` of each row to its front; the other tokens keep their order, (B, T) -> (B, T).

    Padding inside a row disappears too: a true token of that id is lost (LLaVA-RLHF pads with the unknown token).
    """
    order = (ids != pad_id).int().argsort(dim=-1, stable=True)
    return ids.gather(-1, order)
