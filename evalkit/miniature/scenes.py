"""Scenes: what is in a picture and where, drawn at random from a seeded generator.

A picture has 3 x 3 cells; a thing fills one cell. Four to eight kinds of things, now and then two of a kind.
Splits never share a scene, whatever the seeds: a hash of the scene itself decides which split it belongs to.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from random import Random
from typing import Literal

from evalkit.errors import DataError
from evalkit.miniature.lexicon import COLOURS_OF, NOUNS, PLACES, expected_nouns

Split = Literal["train", "validation", "test"]
_SPLIT_OF_BUCKET: tuple[Split, ...] = ("train",) * 6 + ("validation",) * 2 + ("test",) * 2

GRID = 3
MAX_JITTER = 4  # pixels
MIN_KINDS, MAX_KINDS = 4, 8
_P_EXPECTED = (0.65, 0.5, 0.45)  # probability that the first, second, third expected noun is there
_P_FILLER_FROM_PLACE = 0.6
P_PAIR = 0.2


@dataclass(frozen=True)
class Thing:
    """One drawn object: noun, colour (None where the noun has only one), cell 0-8 row by row, jitter in pixels."""

    noun: str
    colour: str | None
    cell: int
    dx: int
    dy: int


@dataclass(frozen=True)
class Group:
    """All things of one noun in a scene; they share a colour."""

    noun: str
    colour: str | None
    count: int


@dataclass(frozen=True)
class Scene:
    """A place and the things in it."""

    place: str
    things: tuple[Thing, ...]

    @property
    def nouns(self) -> frozenset[str]:
        return frozenset(thing.noun for thing in self.things)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The things by noun, in alphabetical order: the order in which captions mention them."""
        colours = {thing.noun: thing.colour for thing in self.things}
        counts = [thing.noun for thing in self.things]
        return tuple(Group(noun, colours[noun], counts.count(noun)) for noun in sorted(colours))

    def beside(self, noun: str) -> frozenset[str]:
        """Other nouns of which one thing stands in a cell beside, above or below a thing of this noun."""
        cells = {thing.cell for thing in self.things if thing.noun == noun}
        return self.around(cells) - {noun}

    def around(self, cells: Iterable[int]) -> frozenset[str]:
        """Nouns of the things in the cells beside, above and below these."""
        near = {cell for one in cells for cell in adjacent_cells(one)}
        return frozenset(thing.noun for thing in self.things if thing.cell in near)

    @property
    def absent_expected(self) -> tuple[str, ...]:
        """Expected nouns of the place that are not there: what a model is tempted to hallucinate."""
        return tuple(noun for noun in expected_nouns(self.place) if noun not in self.nouns)


@cache
def adjacent_cells(cell: int) -> frozenset[int]:
    """Cells that share a side with a cell."""
    y, x = divmod(cell, GRID)
    near = ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
    return frozenset(GRID * row + column for row, column in near if 0 <= row < GRID and 0 <= column < GRID)


def sample_scene(rng: Random) -> Scene:
    """Draw one scene."""
    place = rng.choice(list(PLACES))
    kinds = _sample_kinds(place, rng)
    cells = list(range(GRID * GRID))
    rng.shuffle(cells)
    things: list[Thing] = []
    for done, noun in enumerate(kinds, start=1):
        has_room = len(cells) > len(kinds) - done + 1
        count = 2 if rng.random() < P_PAIR and has_room else 1
        colour = rng.choice(COLOURS_OF[noun]) if noun in COLOURS_OF else None
        for _ in range(count):
            dx, dy = rng.randint(-MAX_JITTER, MAX_JITTER), rng.randint(-MAX_JITTER, MAX_JITTER)
            things.append(Thing(noun, colour, cells.pop(), dx, dy))
    return Scene(place, tuple(things))


def _sample_kinds(place: str, rng: Random) -> list[str]:
    """Which nouns are there: expected ones by their probability, then fillers, none of them an expected one."""
    expected = expected_nouns(place)
    kinds = {noun for noun, probability in zip(expected, _P_EXPECTED, strict=True) if rng.random() < probability}
    wanted = rng.randint(MIN_KINDS, MAX_KINDS)
    others = PLACES[place][len(expected) :]
    anywhere = [noun for noun in NOUNS if noun not in expected]
    while len(kinds) < wanted:
        kinds.add(rng.choice(others) if rng.random() < _P_FILLER_FROM_PLACE else rng.choice(anywhere))
    ordered = sorted(kinds)
    rng.shuffle(ordered)
    return ordered


def split_of(scene: Scene) -> Split:
    """The split a scene belongs to: 60 % train, 20 % validation, 20 % test, by a hash of its content."""
    digest = hashlib.sha256(scene_json(scene).encode()).digest()
    return _SPLIT_OF_BUCKET[digest[0] % len(_SPLIT_OF_BUCKET)]


def scenes_of(split: Split, seed: int) -> Iterator[Scene]:
    """An endless stream of scenes of one split; the same seed gives the same stream."""
    if split not in _SPLIT_OF_BUCKET:
        raise DataError(f"unknown split {split!r}; known: train, validation, test")
    rng = Random(f"{split}:{seed}")
    while True:
        scene = sample_scene(rng)
        if split_of(scene) == split:
            yield scene


def scene_json(scene: Scene) -> str:
    """A scene as one line of JSON."""
    return json.dumps(asdict(scene), sort_keys=True)


def scene_from_json(line: str) -> Scene:
    """Read back a line written by `scene_json`."""
    try:
        record = json.loads(line)
        return Scene(record["place"], tuple(Thing(**thing) for thing in record["things"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a scene (expected keys 'place' and 'things'): {line[:80]!r}") from error
