"""Numbers and colours that a description gives to the things of a scene: hallucinations that object scorers do not see.

A description can name only what is there and still be wrong: "two green books" where one book is green. Only mentions
of nouns that are in the scene count here; the others are object hallucinations.

wrong_numbers  mentions with another number than the scene's / mentions with a number, in %
wrong_colours  mentions with another colour than the scene's / mentions with a colour, in %
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Literal, NamedTuple

from evalkit.miniature.lexicon import COLOURS, NOUNS, plural
from evalkit.miniature.scenes import Group

Kind = Literal["number", "colour"]
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4}
_SPELLED = {1: "one", 2: "two"}


class Attribute(NamedTuple):
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
    return list(chain.from_iterable(_said(match, truth) for match in _phrase_pattern().finditer(text)))


def _said(phrase: re.Match[str], truth: Mapping[str, Group]) -> list[Attribute]:
    """What one phrase says of a thing that is in the scene."""
    number, colour, noun = phrase.group("number", "colour", "noun")
    group = truth.get(_nouns()[noun.lower()])
    if group is None:
        return []
    right = _NUMBERS[number.lower()] == group.count
    true = _SPELLED.get(group.count) or str(group.count)
    said = [Attribute(*phrase.span("number"), "number", group.noun, number, true, right)]
    if colour and group.colour:
        right = colour.lower() == group.colour
        said.append(Attribute(*phrase.span("colour"), "colour", group.noun, colour, group.colour, right))
    return said


def count_attributes(said: Sequence[Attribute]) -> Mapping[str, int]:
    """Summable counts: numbers and colours said, and how many of them are wrong."""
    numbers, colours = ([one.right for one in said if one.kind == kind] for kind in ("number", "colour"))
    return {
        "numbers": len(numbers),
        "wrong_numbers": numbers.count(False),
        "colours": len(colours),
        "wrong_colours": colours.count(False),
    }


@cache
def _nouns() -> Mapping[str, str]:
    """Singular or plural -> noun."""
    return {form: noun for noun in NOUNS for form in (noun, plural(noun))}


@cache
def _phrase_pattern() -> re.Pattern[str]:
    names = sorted(_nouns(), key=lambda name: (-len(name), name))
    number, colour, noun = ("|".join(map(re.escape, words)) for words in (_NUMBERS, COLOURS, names))
    return re.compile(rf"\b(?P<number>{number}) (?:(?P<colour>{colour}) )?(?P<noun>(?a:{noun}))\b", re.IGNORECASE)
