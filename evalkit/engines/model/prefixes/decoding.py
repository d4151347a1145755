"""Decoding token by token on a cache: what `generate` of transformers does, without its preparations for each token."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from evalkit.engines.model.prefixes import row_cache
from evalkit.engines.model.seeded_sampling import TokenChooser

BRIEF = 4  # tokens of an answer, after which rows that go on leave the pool


@dataclass(frozen=True, slots=True)
class Started:
    """Prompts that a model has read.

    cache      its keys and values, a `row_cache` or rows of a `pool`, one per prompt
    logits     after the last token of each row, (rows, columns kept, V); the last column is the last token's
    mask       1 where a row has a token, (rows, columns)
    positions  position of each row's next token, (rows,)
    axes       axes of a position, 0 where positions are plain numbers
    apart      rows of a pool that may be copied out of it at a time
    """

    cache: Any
    logits: Tensor
    mask: Tensor
    positions: Tensor
    axes: int
    apart: int = 0


# (what was read, ids (rows, 1), mask (rows, columns) or None, tokens since the prompt) -> logits (rows, 1, V)
Advance = Callable[[Started, Tensor, Tensor | None, int], Tensor]


def decode(
    advance: Advance, started: Started, chooser: TokenChooser, ends: Collection[int], pad_id: int, limit: int
) -> list[list[int]]:
    """At most `limit` new token ids of each row; what follows a row's end token is padding.

    Rows of a pool that have not ended after some tokens leave it, if there is memory for them.
    """
    device, count = started.mask.device, started.mask.shape[0]
    ending = torch.tensor(sorted(ends), dtype=torch.long, device=device)
    written = torch.full((count, limit), pad_id, dtype=torch.long, device=device)
    begun: list[tuple[Tensor, int]] = [(torch.arange(count, device=device), 0)]  # (rows, step); the last one goes on
    longest = 0
    while begun:
        rows, first = begun.pop()
        part = taken_out(started, rows) if first else started
        masks, columns, tokens = masks_of(part, limit), [], written[rows, first - 1]
        open_rows = torch.ones(len(rows), dtype=torch.bool, device=device)
        for step in range(first, limit):
            scores = advance(part, tokens[:, None], masks(step - 1), step - 1) if step else part.logits
            tokens = chooser.choose(step, scores[:, -1].float(), rows).to(device).where(open_rows, pad_id)
            columns.append(tokens)
            open_rows &= ~torch.isin(tokens, ending)
            if not open_rows.any():
                break
            if step + 1 == BRIEF < limit and (pieces := _pieces(rows[open_rows], started.apart)):
                begun += [(piece, BRIEF) for piece in pieces]
                break
        longest = max(longest, first + len(columns))
        written[rows, first : first + len(columns)] = torch.stack(columns, 1)
        del part  # before the keys and values of the next piece are copied
    listed: list[list[int]] = written[:, :longest].tolist()
    return listed


def _pieces(rows: Tensor, most: int) -> Sequence[Tensor]:
    """The rows in one piece or two of at most so many; none if they would be more."""
    if len(rows) > 2 * most:
        return ()
    return rows.chunk(2 if len(rows) > most else 1)


def taken_out(started: Started, rows: Tensor) -> Started:
    """Some rows of a pool with keys and values of their own, which are quicker to go on with; no logits."""
    cache = row_cache.repeated((layer.columns(rows) for layer in started.cache.layers), 1)
    return replace(started, cache=cache, mask=started.mask[rows], positions=started.positions[rows])


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
