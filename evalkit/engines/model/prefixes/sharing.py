"""Prompts that show the same images are read together: what they have in common once, then the rest of each.

One object serves one call of an engine. The prefixes of a batch are read in one pass, the rest of its prompts in as few
as the memory of a batch of whole prompts allows. Batches come in an order in which prompts with the same images follow
each other, and the last prefix of a batch is held for the next one. So a group may be larger than a batch, and a batch
may be halved, without its image being read again.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.model.prefixes.decoding import Started
from evalkit.engines.model.prefixes.front_maker import FrontMaker
from evalkit.engines.model.prefixes.fronts import Front, ids_like
from evalkit.engines.model.prefixes.memory import footprint
from evalkit.engines.model.prefixes.pool import STEPS, Pool
from evalkit.engines.model.prefixes.prefill import Prefix, read_prefixes, read_tails
from evalkit.engines.served.groups import PromptTokens, group_of
from evalkit.schema import Prompt

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
    members the prompts of each group
    reader  reads them
    """

    fronts: Sequence[Front]
    groups: Sequence[Hashable]
    rows: Sequence[Row]
    members: Sequence[Sequence[Row]]
    reader: "Sharing"

    def common(self, group: int, *others: Sequence[int]) -> int:
        """Tokens with which all prompts of a group begin, and other rows of tokens too."""
        members = self.members[group]
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
        common = [self.common(g) * (len(self.members[g]) - 1) for g in range(len(self.groups))]
        return sum(common) / sum(self.lengths)


class Sharing:
    """Reads the prompts of one call."""

    def __init__(
        self, encoder: PromptEncoder, sequences: int, tokens: PromptTokens | None = None, together: bool = False
    ) -> None:
        """Whatever is read takes no more memory than so many whole prompts.

        Args:
            encoder: the checkpoint's.
            sequences: whole prompts.
            tokens: counts what is read, and what is not.
            together: see `FrontMaker`.
        """
        self._encoder = encoder
        self._sequences = sequences
        self._tokens = tokens or PromptTokens()
        self.fronts = FrontMaker(encoder, together)
        self._held: dict[Hashable, Prefix] = {}

    def rows(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[Sequence[int]] | None = None,
        ready: Mapping[Hashable, Future[Front]] | None = None,
    ) -> Rows | None:
        """Encode a batch; None if its prompts have too little in common. May be called from several threads.

        Args:
            prompts: what is asked; each can be rendered, and its images can be read.
            continuations: ids that follow each prompt.
            ready: what `fronts` gave for these prompts.
        Raises:
            DataError: if an image cannot be read.
            EngineError: if the processor refuses a prompt.
        """
        ready = ready if ready is not None else self.fronts.of(prompts)
        fronts: dict[Hashable, Front] = {}
        numbers: dict[Hashable, int] = {}
        members: dict[Hashable, list[Row]] = {}
        rows: list[Row] = []
        for prompt, more in zip(prompts, continuations or [()] * len(prompts), strict=True):
            group, front, ids = self._encode(prompt, group_of(prompt), ready)
            if len(ids) <= front.head:
                return None  # it ends with its image
            fronts.setdefault(group, front)
            row = Row(numbers.setdefault(group, len(numbers)), (*ids, *more), len(more) + 1)
            members.setdefault(group, []).append(row)
            rows.append(row)
        encoded = Rows(list(fronts.values()), list(fronts), rows, list(members.values()), self)
        return encoded if all(front.head for front in encoded.fronts) or encoded.spared >= WORTH else None

    def _encode(
        self, prompt: Prompt, group: Hashable, ready: Mapping[Hashable, Future[Front]]
    ) -> tuple[Hashable, Front, Sequence[int]]:
        """(its group, the group's front, its ids), given the group that its images make and the fronts of those."""
        front = ready[group].result()
        ids = ids_like(self._encoder, front, prompt)
        if ids is not None and ids[: front.head] == front.ids[: front.head]:
            return group, front, ids
        group = (group, self._encoder.render(prompt))  # text before the image that the others do not have
        front = self.fronts.for_groups({group: prompt})[group].result()
        return group, front, front.ids

    def read(
        self, model: Any, rows: Rows, keep: int, new: int = 0, at_once: bool = False
    ) -> Iterator[tuple[list[int], Started]]:
        """Read a batch: (places of some of its prompts, what was read of them), until all are read.

        What is given lasts until the next is asked for. Read one batch after the other, each to its end.

        Args:
            keep: columns of logits to return, at the end.
            new: most tokens that will be decoded after each.
            at_once: read all prompts together, whatever memory that takes.
        """
        held, self._held = self._held, {}  # not kept if memory runs out
        prefixes = self._prefixes(model, rows, held)
        lengths = [len(prefix.ids) for prefix in prefixes]
        parts = [list(range(len(rows.rows)))] if at_once else self._parts(model, rows, prefixes, keep, new)
        tails = [len(row.ids) - lengths[row.group] for row in rows.rows]
        room = max(len(places) * (max(tails[i] for i in places) + min(new, STEPS)) for places in parts)
        pool = Pool([prefix.layers for prefix in prefixes], lengths, room)
        cost, width = footprint(model, prefixes[-1].layers), max(rows.lengths)
        apart = cost.apart(self._sequences, pool.size + room, width, new)
        for places in parts:
            pairs = [(rows.rows[i].group, rows.rows[i].ids) for i in places]
            started = read_tails(model, prefixes, pool, pairs, keep)
            yield places, replace(started, apart=apart)
        self._held = {rows.groups[-1]: prefixes[-1].apart()}

    def _prefixes(self, model: Any, rows: Rows, held: Mapping[Hashable, Prefix]) -> list[Prefix]:
        """The prefix of every group, those that are not held read in one pass."""
        prefixes: dict[int, Prefix] = {}
        for g, group in enumerate(rows.groups):
            if group in held:
                length = rows.common(g, held[group].ids)
                if length >= rows.fronts[g].head:
                    prefixes[g] = held[group].cut(length)
        missing = [g for g in range(len(rows.groups)) if g not in prefixes]
        read = read_prefixes(model, [(rows.fronts[g], rows.members[g][0].ids[: rows.common(g)]) for g in missing])
        prefixes.update(zip(missing, read, strict=True))
        self._count(rows, prefixes, missing)
        return [prefixes[g] for g in range(len(rows.groups))]

    def _parts(self, model: Any, rows: Rows, prefixes: Sequence[Prefix], keep: int, new: int) -> list[list[int]]:
        """Places of the prompts to read together, longest tails first."""
        lengths = [len(prefix.ids) for prefix in prefixes]
        tails = [len(row.ids) - lengths[row.group] for row in rows.rows]
        order = sorted(range(len(tails)), key=lambda i: -tails[i])
        cost, width = footprint(model, prefixes[0].layers), max(rows.lengths)
        parts: list[list[int]] = []
        while order:
            fit = cost.rows(self._sequences, sum(lengths), width, tails[order[0]], keep, new)
            parts.append(order[:fit])
            order = order[fit:]
        return parts

    def _count(self, rows: Rows, prefixes: Mapping[int, Prefix], read: Sequence[int]) -> None:
        shared = sum(len(prefixes[row.group].ids) for row in rows.rows)
        self._tokens.add(sum(rows.lengths), shared - sum(len(prefixes[g].ids) for g in read))


def common_length(rows: Iterable[Sequence[int]]) -> int:
    """Tokens with which all rows begin."""
    listed = [tuple(row) for row in rows]
    low, high = min(listed), max(listed)  # in lexical order what these two share, all share
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
