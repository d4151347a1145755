"""Prompts that show the same images are read together: what they have in common once, then the rest of each.

One object serves one call of an engine. Batches come in an order in which prompts with the same images follow each
other, and the last prefix of a batch is held for the next one. So a group may be larger than a batch, and a batch may
be halved, without its image being read again.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.model.prefixes.decoding import Started
from evalkit.engines.model.prefixes.fronts import Front, ids_like, read_front
from evalkit.engines.model.prefixes.prefill import Prefix, read_prefixes, read_tails
from evalkit.engines.served.groups import PromptTokens, group_of
from evalkit.schema import Prompt

REMEMBERED = 8  # fronts kept for the next batches; a group that spans batches needs its own only
WORTH = 0.25  # share of the tokens of prompts without images that must be spared


class Row(NamedTuple):
    """One prompt of a batch: its group, all its token ids, and how many tokens at the end must not be shared."""

    group: int
    ids: tuple[int, ...]
    own: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Prompts ready to be read.

    fronts  one prompt of each group as the processor made it
    groups  what tells the groups apart
    rows    the prompts, in order
    reader  reads them
    """

    fronts: Sequence[Front]
    groups: Sequence[Hashable]
    rows: Sequence[Row]
    reader: "Sharing"

    def members(self, group: int) -> list[Row]:
        """The prompts of a group."""
        return [row for row in self.rows if row.group == group]

    def common(self, group: int, *others: Sequence[int]) -> int:
        """Tokens with which all prompts of a group begin, and other rows of tokens too."""
        members = self.members(group)
        return min(
            common_length([*(row.ids for row in members), *others]), *(len(row.ids) - row.own for row in members)
        )

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(row.ids) for row in self.rows]

    @property
    def spared(self) -> float:
        """Share of all tokens that need not be read again."""
        common = [self.common(g) * (len(self.members(g)) - 1) for g in range(len(self.groups))]
        return sum(common) / sum(self.lengths)


class Sharing:
    """Reads the prompts of one call."""

    def __init__(self, encoder: PromptEncoder, tokens: PromptTokens | None = None) -> None:
        """`tokens` counts what is read and what is not."""
        self._encoder = encoder
        self._tokens = tokens or PromptTokens()
        self._fronts: OrderedDict[Hashable, Future[Front]] = OrderedDict()
        self._lock = threading.Lock()
        self._held: dict[Hashable, Prefix] = {}

    def rows(self, prompts: Sequence[Prompt], continuations: Sequence[Sequence[int]] | None = None) -> Rows | None:
        """Encode a batch; None if its prompts have too little in common. May be called from several threads.

        Args:
            prompts: what is asked; each can be rendered, and its images can be read.
            continuations: ids that follow each prompt.
        Raises:
            DataError: if an image cannot be read.
            EngineError: if the processor refuses a prompt.
        """
        groups: dict[Hashable, tuple[int, Front]] = {}
        rows: list[Row] = []
        for prompt, more in zip(prompts, continuations or [()] * len(prompts), strict=True):
            group, front, ids = self._encode(prompt)
            if len(ids) <= front.head:
                return None  # it ends with its image
            index, _ = groups.setdefault(group, (len(groups), front))
            rows.append(Row(index, (*ids, *more), len(more) + 1))
        encoded = Rows([front for _, front in groups.values()], list(groups), rows, self)
        return encoded if all(front.head for front in encoded.fronts) or encoded.spared >= WORTH else None

    def _encode(self, prompt: Prompt) -> tuple[Hashable, Front, Sequence[int]]:
        """(its group, the group's front, its ids)."""
        group = group_of(prompt)
        front = self.front(prompt)
        ids = ids_like(self._encoder, front, prompt)
        if ids is not None and ids[: front.head] == list(front.ids[: front.head]):
            return group, front, ids
        group = (group, self._encoder.render(prompt))  # text before the image that the others do not have
        front = self._front(group, prompt)
        return group, front, front.ids

    def front(self, prompt: Prompt) -> Front:
        """The front of a prompt's group, made by the first of it that is asked for.

        Raises:
            DataError: if an image cannot be read.
        """
        return self._front(group_of(prompt), prompt)

    def read(self, model: Any, rows: Rows, keep: int) -> Started:
        """Read a batch. Call it for one batch after the other.

        Args:
            keep: columns of logits to return, at the end.
        """
        held, self._held = self._held, {}  # not kept if memory runs out
        prefixes: dict[int, Prefix] = {}
        for g, group in enumerate(rows.groups):
            if group in held:
                length = rows.common(g, held[group].ids)
                if length >= rows.fronts[g].head:
                    prefixes[g] = held[group].cut(length)
        missing = [g for g in range(len(rows.groups)) if g not in prefixes]
        read = read_prefixes(model, [(rows.fronts[g], rows.members(g)[0].ids[: rows.common(g)]) for g in missing])
        prefixes.update(zip(missing, read, strict=True))
        pairs = [(row.group, row.ids) for row in rows.rows]
        started = read_tails(model, [prefixes[g] for g in range(len(rows.groups))], pairs, keep)
        self._count(rows, prefixes, missing)
        last = len(rows.groups) - 1
        self._held = {rows.groups[last]: prefixes[last].apart()}
        return started

    def _count(self, rows: Rows, prefixes: Mapping[int, Prefix], read: Sequence[int]) -> None:
        shared = sum(len(prefixes[row.group].ids) for row in rows.rows)
        self._tokens.add(sum(rows.lengths), shared - sum(len(prefixes[g].ids) for g in read))

    def _front(self, group: Hashable, prompt: Prompt) -> Front:
        with self._lock:
            known = self._fronts.get(group)
            future: Future[Front] = known if known is not None else Future()
            if known is None:
                self._fronts[group] = future
                while len(self._fronts) > REMEMBERED:
                    self._fronts.popitem(last=False)
        if known is None:
            try:
                future.set_result(read_front(self._encoder, prompt, [file.open() for file in prompt.images]))
            except BaseException as error:  # another thread may be waiting for it
                future.set_exception(error)
                raise
        return future.result()


def common_length(rows: Iterable[Sequence[int]]) -> int:
    """Tokens with which all rows begin."""
    listed = [tuple(row) for row in rows]
    low, high = min(listed), max(listed)  # in lexical order what these two share, all share
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
