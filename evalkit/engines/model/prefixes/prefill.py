"""Reading prompts into a cache: whole batches, or a shared prefix once and then what follows it in every prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from evalkit.engines.model.prefixes import row_cache
from evalkit.engines.model.prefixes.decoding import Started, on_axes
from evalkit.engines.model.prefixes.fronts import Front
from evalkit.engines.model.prefixes.pool import Pool
from evalkit.engines.model.running import keeps_some_logits, on_device, to_device
from evalkit.engines.model.token_rows import Encoded

AXES = 3  # of a multi-axis position: time, height, width


@dataclass(frozen=True, slots=True)
class Prefix:
    """The beginning of some prompts as the model has read it.

    ids     its token ids
    layers  keys and values, one row; columns beyond these ids do not count. A pool moves them into itself
    next    position of the token after it
    """

    ids: tuple[int, ...]
    layers: row_cache.Layers
    next: int

    def cut(self, length: int) -> "Prefix":
        """Its first tokens; the rest must be text (one position per token)."""
        return Prefix(self.ids[:length], self.layers, self.next - (len(self.ids) - length))

    def apart(self) -> "Prefix":
        """The same in memory of its own, which does not keep the batch it was read in alive."""
        layers = [(_apart(keys), _apart(values)) for keys, values in self.layers]
        return Prefix(self.ids, layers, self.next)


def read_whole(model: Any, encoded: Encoded) -> Started:
    """Read a batch of prompts, padded on the left."""
    inputs = on_device(model, encoded)
    mask = inputs["attention_mask"]
    positions = _positions(model, inputs)
    logits, cache = _forward(model, {**inputs, "position_ids": positions}, 1)
    layers = [(layer.keys, layer.values) for layer in cache.layers]
    return Started(row_cache.repeated(layers, 1), logits, mask, _after(positions), _axes(model))


def read_prefixes(model: Any, fronts: Sequence[tuple[Front, tuple[int, ...]]]) -> list[Prefix]:
    """Read the first tokens of some prompts, those of one form together.

    Args:
        fronts: a front of each prompt's group, and the token ids to read, which begin with the front's head.
    """
    forms: dict[object, list[int]] = {}
    for i, (front, ids) in enumerate(fronts):
        forms.setdefault((len(ids), _form(front)), []).append(i)
    prefixes: dict[int, Prefix] = {}
    for places in forms.values():
        prefixes.update(zip(places, _read_alike(model, [fronts[i] for i in places]), strict=True))
    return [prefixes[i] for i in range(len(fronts))]


def _read_alike(model: Any, fronts: Sequence[tuple[Front, tuple[int, ...]]]) -> list[Prefix]:
    ids = torch.tensor([prefix for _, prefix in fronts])
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    for name, value in fronts[0][0].inputs.items():
        if isinstance(value, Tensor):
            parts = [_for_prefix(front, name, ids.shape[1]) for front, _ in fronts]
            inputs[name] = torch.cat(parts)
    inputs = to_device(model, inputs)
    positions = _positions(model, inputs)
    _, cache = _forward(model, {**inputs, "position_ids": positions}, 1)
    after = _after(positions)
    single = len(fronts) == 1
    return [
        Prefix(
            prefix,
            [
                (layer.keys, layer.values) if single else (layer.keys[i : i + 1], layer.values[i : i + 1])
                for layer in cache.layers
            ],
            int(after[i]),
        )
        for i, (_, prefix) in enumerate(fronts)
    ]


def read_tails(
    model: Any, prefixes: Sequence[Prefix], pool: Pool, rows: Sequence[tuple[int, Sequence[int]]], keep: int
) -> Started:
    """Read the rest of some prompts whose beginnings have been read.

    Args:
        prefixes: the beginnings.
        pool: their keys and values; rows that were read from it before are lost.
        rows: (index of its prefix, all its token ids) of each prompt; at least one token follows the prefix.
        keep: columns of logits to return, at the end.
    """
    owners, device = [g for g, _ in rows], model.device
    lengths = [len(prefixes[g].ids) for g in owners]
    tails = [list(ids[length:]) for length, (_, ids) in zip(lengths, rows, strict=True)]
    counts = [len(tail) for tail in tails]
    longest = max(counts)
    tokens = torch.tensor([[0] * (longest - len(tail)) + tail for tail in tails], device=device)
    starts = [prefixes[g].next for g in owners]
    start, count, total = torch.tensor([starts, counts, [len(ids) for _, ids in rows]], device=device)
    width = max(len(ids) for _, ids in rows)
    mask = (torch.arange(width, device=device) >= width - total[:, None]).long()
    ahead = start + count
    positions = (ahead[:, None] - longest + torch.arange(longest, device=device)).clamp(min=0)
    axes = _axes(model)
    inputs = {"input_ids": tokens, "attention_mask": mask, "position_ids": on_axes(positions, axes)}
    logits, cache = _forward(model, inputs, keep, pool.rows(owners, lengths, counts))
    return Started(cache, logits, mask, ahead, axes)


def repeat(started: Started, times: int) -> Started:
    """Every row `times` times, one after the other."""
    if times == 1:
        return started
    cache = row_cache.repeated((layer.columns() for layer in started.cache.layers), times)
    logits, mask, positions = (
        part.repeat_interleave(times, 0) for part in (started.logits, started.mask, started.positions)
    )
    return Started(cache, logits, mask, positions, started.axes)


def _forward(model: Any, inputs: Mapping[str, Any], keep: int, cache: Any = None) -> tuple[Tensor, Any]:
    """(logits (rows, keep, V), cache)."""
    fewer = {"logits_to_keep": keep} if keeps_some_logits(model) else {}
    # a cache without the configuration keeps all columns of sliding layers too: a mask hides the ones out of the window
    out = model(**inputs, past_key_values=cache if cache is not None else DynamicCache(), use_cache=True, **fewer)
    return out.logits[:, -keep:], out.past_key_values


def _positions(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    """(rows, T), or (AXES, rows, T) in families that place image tokens in a plane."""
    mask: Tensor = inputs["attention_mask"]
    if not _axes(model):
        return (mask.cumsum(-1) - 1).clamp(min=0)
    if inputs.get("mm_token_type_ids") is None or inputs.get("image_grid_thw") is None:
        return on_axes((mask.cumsum(-1) - 1).clamp(min=0), AXES)
    wanted = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    positions: Tensor = model.model.get_rope_index(**{name: inputs[name] for name in wanted})[0]
    return positions


def _after(positions: Tensor) -> Tensor:
    """Position of the token after each row."""
    return (positions.amax((0, 2)) if positions.dim() == AXES else positions.amax(1)) + 1


def _apart(part: Tensor) -> Tensor:
    return part.clone() if part.untyped_storage().nbytes() > part.nbytes else part


def _axes(model: Any) -> int:
    return AXES if hasattr(getattr(model, "model", None), "get_rope_index") else 0


def _form(front: Front) -> object:
    """Equal for fronts whose inputs can be put together."""
    return tuple(
        (name, value.dim() if _per_token(value, front) else value.shape[1:])
        for name, value in front.inputs.items()
        if isinstance(value, Tensor)
    )


def _for_prefix(front: Front, name: str, length: int) -> Tensor:
    """An input for the first tokens of a prompt with this front; text has 0 where an input has a number per token."""
    value: Tensor = front.inputs[name]
    if not _per_token(value, front):
        return value
    part = value.new_zeros(1, length)
    part[:, : front.head] = value[:, : front.head]
    return part


def _per_token(value: Tensor, front: Front) -> bool:
    return value.shape == (1, len(front.ids)) and not value.is_floating_point()
