"""Decoding token by token on a cache: what `generate` of transformers does, without its preparations for each token."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evalkit.engines.model.seeded_sampling import TokenChooser


@dataclass(frozen=True, slots=True)
class Started:
    """Prompts that a model has read.

    cache      its keys and values, a `row_cache` or rows of a `pool`, one per prompt
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


# (what was read, ids (rows, 1), mask (rows, columns) or None, tokens since the prompt) -> logits (rows, 1, V)
Advance = Callable[[Started, Tensor, Tensor | None, int], Tensor]


def decode(
    advance: Advance, started: Started, chooser: TokenChooser, ends: Collection[int], pad_id: int, limit: int
) -> list[list[int]]:
    """At most `limit` new token ids of each row; what follows a row's end token is padding."""
    device, count = started.mask.device, started.mask.shape[0]
    ending = torch.tensor(sorted(ends), dtype=torch.long, device=device)
    open_rows = torch.ones(count, dtype=torch.bool, device=device)
    written: list[Tensor] = []
    masks, logits = masks_of(started, limit), started.logits[:, -1]
    for step in range(limit):
        tokens = chooser.choose(step, logits.float()).to(device).where(open_rows, pad_id)
        written.append(tokens)
        open_rows &= ~torch.isin(tokens, ending)
        if step + 1 == limit or not open_rows.any():
            break
        logits = advance(started, tokens[:, None], masks(step), step)[:, -1]
    rows: list[list[int]] = torch.stack(written, 1).tolist()
    return rows


def masks_of(started: Started, limit: int) -> Callable[[int], Tensor | None]:
    """The mask of every step, of `limit` at most; None where every row has a token in every column."""
    if started.mask.all():
        return lambda step: None
    mask, width = torch.nn.functional.pad(started.mask, (0, limit), value=1), started.mask.shape[1]
    return lambda step: mask[:, : width + step + 1]


def by_model(model: Any) -> Advance:
    """One more token by the model's own forward."""

    def advance(started: Started, tokens: Tensor, mask: Tensor | None, step: int) -> Tensor:
        logits: Tensor = model(**_inputs(started, tokens, mask, step)).logits
        return logits

    return advance


def by_text_model(model: Any) -> Advance | None:
    """One more token by the text model and its head, without what surrounds them: images lie in the cache by now.

    On small models this saves a sixth of the time. None where the parts are not where transformers has them, or lie on
    several devices; whether they make all of the model's logits is for the caller to compare.
    """
    core, head = model.get_decoder(), model.get_output_embeddings()
    if core is None or core is model or head is None or len(getattr(model, "hf_device_map", None) or {}) > 1:
        return None

    def advance(started: Started, tokens: Tensor, mask: Tensor | None, step: int) -> Tensor:
        logits: Tensor = head(core(**_inputs(started, tokens, mask, step)).last_hidden_state)
        return logits

    return advance


def _inputs(started: Started, tokens: Tensor, mask: Tensor | None, step: int) -> dict[str, Any]:
    return {
        "input_ids": tokens,
        "attention_mask": mask,
        "position_ids": on_axes((started.positions + step)[:, None], started.axes),
        "past_key_values": started.cache,
        "use_cache": True,
    }


def on_axes(positions: Tensor, axes: int) -> Tensor:
    """Positions of text, (rows, T), on all axes, (axes, rows, T)."""
    return positions.expand(axes, *positions.shape) if axes else positions
