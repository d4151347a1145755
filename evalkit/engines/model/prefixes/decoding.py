"""Decoding token by token on a cache: what `generate` of transformers does, without its preparations for each token."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evalkit.engines.model.seeded_sampling import TokenChooser


@dataclass(frozen=True, slots=True)
class Started:
    """Prompts that a model has read.

    cache      its keys and values, a `row_cache` with one row per prompt
    logits     after the last token of each row, (rows, columns kept, V); the last column is the last token's
    mask       1 where a row has a token, (rows, columns)
    positions  position of each row's next token, (rows,)
    axes       axes of a position, 0 where positions are plain numbers
    """

    cache: Any
    logits: Tensor
    mask: Tensor
    positions: Tensor
    axes: int


def decode(
    model: Any, started: Started, chooser: TokenChooser, ends: Collection[int], pad_id: int, limit: int
) -> list[list[int]]:
    """At most `limit` new token ids of each row; what follows a row's end token is padding."""
    device, count = started.mask.device, started.mask.shape[0]
    ending = torch.tensor(sorted(ends), dtype=torch.long, device=device)
    open_rows = torch.ones(count, dtype=torch.bool, device=device)
    written: list[Tensor] = []
    mask = torch.nn.functional.pad(started.mask, (0, limit), value=1)
    width, logits = started.mask.shape[1], started.logits[:, -1]
    for step in range(limit):
        tokens = chooser.choose(step, logits.float()).to(device).where(open_rows, pad_id)
        written.append(tokens)
        open_rows &= ~torch.isin(tokens, ending)
        if step + 1 == limit or not open_rows.any():
            break
        logits = advance(model, started, tokens[:, None], mask[:, : width + step + 1], step)[:, -1]
    rows: list[list[int]] = torch.stack(written, 1).tolist()
    return rows


def advance(model: Any, started: Started, tokens: Tensor, mask: Tensor, step: int) -> Tensor:
    """Logits (rows, 1, V) after one more token of each row, ids (rows, 1), `step` tokens after the prompt."""
    logits: Tensor = model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=on_axes((started.positions + step)[:, None], started.axes),
        past_key_values=started.cache,
        use_cache=True,
    ).logits
    return logits


def on_axes(positions: Tensor, axes: int) -> Tensor:
    """Positions of text, (rows, T), on all axes, (axes, rows, T)."""
    return positions.expand(axes, *positions.shape) if axes else positions
