"""Numbers and colours that a description gives to the things of a scene: hallucinations that object scorers do not see.

A description can name only what is there and still be wrong: "two green books" where one book is green. Only mentions
of nouns that are in the scene count here; the others are object hallucinations.

wrong_numbers  mentions with another number than the scene's / mentions with a number, in %
wrong_colours  mentions with another colour than the scene's / mentions with a colour, in %
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from evalkit.miniature.lexicon import COLOURS, NOUNS, find_nouns, plural
from evalkit.miniature.scenes import Group

Kind = Literal["number", "colour"]
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4}


@dataclass(frozen=True, slots=True)
class Attribute:
    """A number or colour said of a mentioned thing, with its span, and whether it is the scene's."""

    start: int
    end: int
    kind: Kind
    noun: str
    said: str
    true: str
    right: bool


def attributes(text: str, groups: Sequence[Group]) -> list[Attribute]:
    """Numbers and colours said of things that are in the scene, left to right.

    >>> cup = Group("cup", "red", 2)
    >>> [(one.kind, one.said, one.true) for one in attributes("There is a blue cup and a dog.", [cup])]
    [('number', 'a', 'two'), ('colour', 'blue', 'red')]
    """
    truth = {group.noun: group for group in groups}
    said: list[Attribute] = []
    for match in _phrase_pattern().finditer(text):
        noun = find_nouns(match["noun"])[0].noun
        group = truth.get(noun)
        if group is None:
            continue
        number, colour = match["number"].lower(), match["colour"]
        true = {1: "one", 2: "two"}.get(group.count, str(group.count))
        right = _NUMBERS[number] == group.count
        said.append(Attribute(*match.span("number"), "number", noun, match["number"], true, right))
        if colour and group.colour:
            right = colour.lower() == group.colour
            said.append(Attribute(*match.span("colour"), "colour", noun, colour, group.colour, right))
    return said


def count_attributes(said: Sequence[Attribute]) -> Mapping[str, int]:
    """Summable counts: numbers and colours said, and how many of them are wrong."""
    counts = {"numbers": 0, "wrong_numbers": 0, "colours": 0, "wrong_colours": 0}
    for one in said:
        counts[f"{one.kind}s"] += 1
        counts[f"wrong_{one.kind}s"] += not one.right
    return counts


@cache
def _phrase_pattern() -> re.Pattern[str]:
    names = sorted({*NOUNS, *map(plural, NOUNS)}, key=lambda name: (-len(name), name))
    number, colour, noun = ("|".join(map(re.escape, words)) for words in (_NUMBERS, COLOURS, names))
    return re.compile(rf"\b(?P<number>{number}) (?:(?P<colour>{colour}) )?(?P<noun>{noun})\b", re.IGNORECASE)
