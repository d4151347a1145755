"""A key-value cache of several rows that grows without a copy per token.

The DynamicCache of transformers copies every layer for every token. Here a layer lies in a buffer with room at its end.
"""

from collections.abc import Iterable

from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

SPARE = 64  # columns of room that are added when a buffer is full

Layers = list[tuple[Tensor, Tensor]]  # keys and values of every layer, each (rows, heads, columns, size)


class GrowingLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer of a cache to which columns are added without end; `length` of them count."""

    is_sliding = False

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing: the buffers exist."""

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(columns after an addition of so many, column of the first)."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Columns that count."""
        return self.length

    def get_max_length(self) -> int:
        """No limit."""
        return -1


class RowLayer(GrowingLayer):
    """Keys and values of one layer, (rows, heads, room, size), of which the first `length` columns count."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        """Take over the buffers, (rows, heads, columns, size); all columns count."""
        super().__init__(keys.shape[2])
        self.keys, self.values = keys, values

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Add columns; the keys and values of all columns that count."""
        begin, self.length = self.length, self.length + key_states.shape[-2]
        self.keys = _added(self.keys, key_states, begin)
        self.values = _added(self.values, value_states, begin)
        return self.columns()

    def columns(self) -> tuple[Tensor, Tensor]:
        """Keys and values of all columns that count."""
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


def repeated(layers: Iterable[tuple[Tensor, Tensor]], times: int) -> Cache:
    """A cache in which every row stands `times` times, one after the other."""

    def rows(part: Tensor) -> Tensor:
        return part.repeat_interleave(times, 0) if times > 1 else part

    return Cache(layers=[RowLayer(rows(keys), rows(values)) for keys, values in layers])


def _added(buffer: Tensor, states: Tensor, begin: int) -> Tensor:
    end = begin + states.shape[-2]
    if end > buffer.shape[2]:
        grown = buffer.new_empty(*buffer.shape[:2], end + SPARE, buffer.shape[3])
        grown[:, :, : buffer.shape[2]] = buffer
        buffer = grown
    buffer[:, :, begin:end].copy_(states)
    return buffer
