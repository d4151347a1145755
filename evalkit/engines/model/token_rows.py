"""Rows of tokens as model inputs: continuations appended to prompts, padding moved, rows joined.

Besides ids and attention mask, families have further features with one entry a token. A continuation's entries are
text: `token_type_ids` get the family's value for text that is generated (`PromptEncoder.text_type`), masks over images
repeat the last token's, and anything else gets 0, as in transformers' own generation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Masks (B, T, images, ...): which images a token sees (Llama 3.2 Vision, Idefics).
_IMAGE_MASKS = ("cross_attention_mask", "image_attention_mask")
_OWN_WIDTH = "qformer_"  # InstructBLIP's second tokenizer: tokens of their own, not the prompt's


@dataclass(frozen=True, slots=True)
class Encoded:
    """Model inputs of a batch of prompts, each with a continuation (possibly empty).

    inputs  keyword arguments of the model's forward, padded
    begins  index of the first real token of each row
    starts  index of the first continuation token of each row
    ends    one past the last real token of each row
    """

    inputs: dict[str, Any]
    begins: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def width(self) -> int:
        """Columns of the padded ids."""
        return int(self.inputs["input_ids"].shape[1])

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [end - begin for begin, end in zip(self.begins, self.ends, strict=True)]


def per_token(features: Mapping[str, Any]) -> list[str]:
    """Names of the features with one entry a token: ids, attention mask, and what a family has besides."""
    shape = features["input_ids"].shape
    return [
        name
        for name, value in features.items()
        if isinstance(value, Tensor)
        and not name.startswith(_OWN_WIDTH)
        and (name in _IMAGE_MASKS or (value.shape == shape and not value.is_floating_point()))
    ]


def append(
    features: Mapping[str, Any], rows: Sequence[Sequence[int]], side: str, pad_id: int, text_type: int = 0
) -> Encoded:
    """Append continuation ids to left-padded prompts and pad again on `side` ("left" or "right")."""
    features = dict(features)
    lengths = [int(n) for n in features["attention_mask"].sum(1)]
    totals = [n + len(row) for n, row in zip(lengths, rows, strict=True)]
    width = max(totals)
    offsets = [width - total if side == "left" else 0 for total in totals]
    starts = [offset + n for offset, n in zip(offsets, lengths, strict=True)]
    if side == "right" or any(len(row) for row in rows):
        for name in per_token(features):
            value = _repad(features[name], lengths, offsets, width, pad_id if name == "input_ids" else 0)
            for b, (start, row) in enumerate(zip(starts, rows, strict=True)):
                value[b, start : start + len(row)] = _continued(name, value[b, start - 1], row, text_type)
            features[name] = value
    ends = [offset + n for offset, n in zip(offsets, totals, strict=True)]
    return Encoded(features, tuple(offsets), tuple(starts), tuple(ends))


def _continued(name: str, last: Tensor, row: Sequence[int], text_type: int) -> Tensor:
    """Entries of a continuation, given that of the prompt's last token."""
    if name == "input_ids":
        return torch.tensor(list(row), dtype=last.dtype)
    if name in _IMAGE_MASKS:
        return last.expand(len(row), *last.shape)
    return torch.full((len(row),), {"attention_mask": 1, "token_type_ids": text_type}.get(name, 0), dtype=last.dtype)


def _repad(value: Tensor, lengths: Sequence[int], offsets: Sequence[int], width: int, fill: int) -> Tensor:
    """Move left-padded rows (B, T, ...) into a (B, width, ...) tensor at the given offsets."""
    out = value.new_full((len(lengths), width, *value.shape[2:]), fill)
    for b, (n, offset) in enumerate(zip(lengths, offsets, strict=True)):
        out[b, offset : offset + n] = value[b, value.shape[1] - n :]
    return out


def joined(rows: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, Any]:
    """Features of single prompts as one left-padded batch; a second tokenizer's ids are padded on the right."""
    tokens = set(per_token(rows[0]))
    width = max(int(row["input_ids"].shape[1]) for row in rows)
    batch: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name in tokens:
            lengths = [int(value.shape[1]) for value in values]
            fill = pad_id if name == "input_ids" else 0
            values = [_repad(v, [n], [width - n], width, fill) for v, n in zip(values, lengths, strict=True)]
        elif name.startswith(_OWN_WIDTH):
            widest = max(int(value.shape[1]) for value in values)
            values = [_repad(value, [int(value.shape[1])], [0], widest, 0) for value in values]
        batch[name] = torch.cat(values)
    return batch
