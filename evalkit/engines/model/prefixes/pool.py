"""A key-value cache that holds prefixes once, however many rows begin with them.

Keys and values of a layer lie one token after the other. A table says which token stands in which column of a row:

    pool    p p p p q q | t t t t t t | n n      p, q  two prefixes; t  tails, the rest of the prompts; n  new tokens

    row 0   . . p p p p t t n                    .  nothing, masked
    row 1   . . q q t t t t n

All rows end in the same column, so that one more column continues every row, and a sliding window, which counts
columns, sees no gap. Where row 1 has its tail and row 0 still has prefix, the model is fed a filler token for row 0,
whose keys and values no row refers to. A layer gathers its rows for as long as it works on them, so that copies of the
prefixes take the memory of one layer.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from evalkit.engines.model.prefixes.row_cache import GrowingLayer, Layers

STEPS = 8  # new tokens of every row for which room is made when the pool is full


class Pool:
    """Keys and values of some prefixes, with room behind them for the rows that are being read.

    begins  first token of each prefix
    size    tokens of all prefixes
    layers  [keys, values] of every layer, (tokens, heads, size) each
    """

    def __init__(self, prefixes: Sequence[Layers], lengths: Sequence[int], room: int) -> None:
        """Move prefixes here, layer by layer; theirs become views of what lies here.

        Args:
            prefixes: keys and values of each, (1, heads, columns, size).
            lengths: how many columns of each to use.
            room: tokens that rows will need besides.
        """
        self.begins = list(accumulate(lengths, initial=0))[:-1]
        self.size = sum(lengths)
        self.layers: list[list[Tensor]] = []
        for number in range(len(prefixes[0])):
            pair = [self._packed([layers[number][part] for layers in prefixes], lengths, room) for part in (0, 1)]
            for layers, begin, length in zip(prefixes, self.begins, lengths, strict=True):
                keys, values = (part[begin : begin + length].transpose(0, 1)[None] for part in pair)
                layers[number] = (keys, values)
            self.layers.append(pair)

    def rows(self, owners: Sequence[int], lengths: Sequence[int], tails: Sequence[int]) -> Cache:
        """A cache whose rows begin with prefixes and wait for their tails. Rows asked for before are lost.

        Args:
            owners: index of the prefix of each row.
            lengths: tokens of that prefix.
            tails: tokens that each row has after it, at least 1.
        """
        table = Table([self.begins[g] for g in owners], lengths, tails, self.size, self.layers[0][0].device)
        return Cache(layers=[PoolLayer(pair, table) for pair in self.layers])

    def _packed(self, parts: Sequence[Tensor], lengths: Sequence[int], room: int) -> Tensor:
        first = parts[0]
        packed = first.new_empty(self.size + room, first.shape[1], first.shape[3])
        columns = [part[0, :, :length].transpose(0, 1) for part, length in zip(parts, lengths, strict=True)]
        torch.cat(columns, out=packed[: self.size])
        return packed


class Table:
    """Which token of a pool stands in which column of which row.

    length  columns before the first addition
    places  token of every column, (rows, columns), and row by row
    fresh   tokens that the columns added last fill, row by row
    """

    def __init__(
        self, begins: Sequence[int], lengths: Sequence[int], tails: Sequence[int], base: int, device: torch.device
    ) -> None:
        """Rows whose prefixes begin at some tokens; their tails go behind token `base`."""
        longest, width = max(tails), max(map(sum, zip(lengths, tails, strict=True)))
        self.length = width - longest
        begin, length, tail = torch.tensor([list(begins), list(lengths), list(tails)], device=device)[:, :, None]
        columns = torch.arange(width, device=device)
        added = base + longest * torch.arange(len(tails), device=device)[:, None] + columns - self.length
        held = (columns - (width - tail - length)).clamp(min=0) + begin
        self.places = torch.where(columns >= width - tail, added, held)
        self.flat = self.places.flatten()
        self.fresh = slice(base, base + longest * len(tails))

    def reach(self, columns: int) -> None:
        """Add a column unless there are so many."""
        if self.places.shape[1] >= columns:
            return
        begin, rows = self.fresh.stop, len(self.places)
        added = torch.arange(begin, begin + rows, device=self.places.device)
        self.fresh = slice(begin, begin + rows)
        self.places = torch.cat([self.places, added[:, None]], 1)
        self.flat = self.places.flatten()


class PoolLayer(GrowingLayer):
    """One layer of a cache whose rows are gathered from a pool."""

    def __init__(self, pair: list[Tensor], table: Table) -> None:
        """`pair` are keys and values of the pool, replaced by larger ones when full; the table is all layers'."""
        super().__init__(table.length)
        self.pair, self.table = pair, table

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Add columns; the keys and values of all columns that count, (rows, heads, columns, size)."""
        self.length += key_states.shape[2]
        self.table.reach(self.length)
        fresh = self.table.fresh
        for part, states in enumerate((key_states, value_states)):
            if fresh.stop > len(self.pair[part]):
                room = self.pair[part].new_empty(STEPS * len(states), *self.pair[part].shape[1:])
                self.pair[part] = torch.cat([self.pair[part], room])
            self.pair[part][fresh] = states.transpose(1, 2).flatten(0, 1)
        return self.columns()

    def columns(self, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values of all columns that count, of some rows or of all."""
        count, (keys, values) = len(self.table.places if rows is None else rows), self.pair
        table = self.table.places
        places = (self.table.flat if rows is None else table[rows.to(table.device)].flatten()).to(keys.device)
        return _by_row(keys.index_select(0, places), count), _by_row(values.index_select(0, places), count)


def _by_row(gathered: Tensor, rows: int) -> Tensor:
    return gathered.view(rows, -1, *gathered.shape[1:]).transpose(1, 2)
