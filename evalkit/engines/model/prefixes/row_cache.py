"""A key-value cache of several rows that starts from prefixes computed elsewhere and grows without a copy per token.

The DynamicCache of transformers copies every layer for every token. Here a layer lies in a buffer with room at its
end, and the first tokens added may differ in number from row to row:

    row 0   . . p p p p p t t t      p  prefix, t  tail (the rest of the prompt), .  nothing, masked
    row 1   p p p p p p p p p t

All rows end in the same column, so that one more column continues every row, and a sliding window, which counts
columns, sees no gap. Where row 1 still has prefix in the columns of row 0's tail, the model is fed a filler token:
`own` says which of the added columns are real; in the others the prefix stays.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

SPARE = 64  # columns of room that are added when a buffer is full

Layers = Sequence[tuple[Tensor, Tensor]]  # keys and values of every layer, each (rows, heads, columns, size)


class RowLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer, (rows, heads, room, size), of which the first `length` columns count."""

    is_sliding = False

    def __init__(self, keys: Tensor, values: Tensor, length: int, own: Tensor | None = None) -> None:
        """Take over the buffers.

        Args:
            keys: (rows, heads, room, size).
            values: as `keys`.
            length: columns that count.
            own: which columns of the first addition are real, bool (rows, columns); None is all.
        """
        super().__init__()
        self.keys, self.values, self.length, self.own = keys, values, length, own
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the buffers exist."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Add columns; the keys and values of all columns that count."""
        begin, self.length = self.length, self.length + key_states.shape[-2]
        own, self.own = self.own, None
        self.keys = _added(self.keys, key_states, begin, own)
        self.values = _added(self.values, value_states, begin, own)
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(columns after an addition of so many, column of the first)."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Columns that count."""
        return self.length

    def get_max_length(self) -> int:
        """No limit."""
        return -1


def joined(prefixes: Sequence[Layers], lengths: Sequence[int], rows: Sequence[int], tails: Sequence[int]) -> Cache:
    """A cache whose rows begin with prefixes and wait for their tails.

    Args:
        prefixes: layers of each prefix, one row each.
        lengths: how many columns of each prefix to use.
        rows: index of the prefix of each row.
        tails: tokens that each row has after its prefix, at least 1.
    """
    longest = max(tails)
    width = max(lengths[g] + tail for g, tail in zip(rows, tails, strict=True))
    missing = torch.tensor([longest - tail for tail in tails])
    own = torch.arange(longest) >= missing[:, None] if int(missing.max()) else None

    def placed(layer: int, part: int) -> Tensor:
        first = prefixes[0][layer][part]
        buffer = first.new_zeros(len(rows), first.shape[1], width, first.shape[3])
        for r, (g, tail) in enumerate(zip(rows, tails, strict=True)):
            end = width - tail
            buffer[r, :, end - lengths[g] : end] = prefixes[g][layer][part][0, :, : lengths[g]]
        return buffer

    def layer(index: int) -> RowLayer:
        keys = placed(index, 0)
        there = own.to(keys.device) if own is not None else None
        return RowLayer(keys, placed(index, 1), width - longest, there)

    return Cache(layers=[layer(index) for index in range(len(prefixes[0]))])


def repeated(layers: Layers, times: int) -> Cache:
    """A cache in which every row stands `times` times, one after the other."""

    def rows(part: Tensor) -> Tensor:
        return part.repeat_interleave(times, 0) if times > 1 else part

    return Cache(layers=[RowLayer(rows(keys), rows(values), keys.shape[2]) for keys, values in layers])


def layers_of(cache: Cache) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of every layer, the columns that count."""
    length = cache.get_seq_length()
    return [(layer.keys[:, :, :length], layer.values[:, :, :length]) for layer in cache.layers]


def _added(buffer: Tensor, states: Tensor, begin: int, own: Tensor | None) -> Tensor:
    end = begin + states.shape[-2]
    if end > buffer.shape[2]:
        grown = buffer.new_empty(*buffer.shape[:2], end + SPARE, buffer.shape[3])
        grown[:, :, : buffer.shape[2]] = buffer
        buffer = grown
    place = buffer[:, :, begin:end]
    place.copy_(states if own is None else torch.where(own[:, None, :, None], states, place))
    return buffer
