"""Numbers and colours that a description gives to the things of a scene: hallucinations that object scorers do not see.

A description can name only what is there and still be wrong: "two green books" where one book is green. Only mentions
of nouns that are in the scene count here; the others are object hallucinations.

wrong_numbers  mentions with another number than the scene's / mentions with a number, in %
wrong_colours  mentions with another colour than the scene's / mentions with a colour, in %
"""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain
from typing import Literal

from evalkit.miniature.lexicon import COLOURS, NOUNS, plural
from evalkit.miniature.scenes import Group

Kind = Literal["number", "colour"]
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4}
_NOTHING: Mapping[str, int] = {"numbers": 0, "wrong_numbers": 0, "colours": 0, "wrong_colours": 0}
_BETWEEN_LETTERS = re.compile(r"\w\w")


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
    return list(chain.from_iterable(_said(match, truth) for match in _phrases(text)))


def _said(phrase: re.Match[str], truth: Mapping[str, Group]) -> list[Attribute]:
    """What one phrase says of a thing that is in the scene."""
    noun = _nouns()[phrase["noun"].lower()]
    group = truth.get(noun)
    if group is None:
        return []
    number, colour = phrase["number"], phrase["colour"]
    true = {1: "one", 2: "two"}.get(group.count, str(group.count))
    right = _NUMBERS[number.lower()] == group.count
    said = [Attribute(*phrase.span("number"), "number", noun, number, true, right)]
    if colour and group.colour:
        right = colour.lower() == group.colour
        said.append(Attribute(*phrase.span("colour"), "colour", noun, colour, group.colour, right))
    return said


def count_cuts(text: str, groups: Sequence[Group], ends: Sequence[int]) -> list[Mapping[str, int]]:
    """`count_attributes` of text[:end] for every end, from one reading of the whole.

    A phrase that ends before the cut is the same without what follows; one that the cut goes through is read anew.

    >>> counts = count_cuts("A red cup. Two cups.", [Group("cup", "red", 2)], [5, 9, 20])
    >>> [(one["numbers"], one["wrong_numbers"], one["colours"]) for one in counts]
    [(0, 0, 0), (1, 1, 1), (2, 1, 1)]
    """
    truth = {group.noun: group for group in groups}
    phrases = _phrases(text)
    totals, stops = [_NOTHING], [phrase.end() for phrase in phrases]
    for phrase in phrases:
        more = count_attributes(_said(phrase, truth))
        totals.append({name: count + more[name] for name, count in totals[-1].items()})
    counts: list[Mapping[str, int]] = []
    for end in ends:
        before = bisect_right(stops, end)
        if _inside_word(text, end):
            counts.append(count_attributes(attributes(text[:end], groups)))
        elif before < len(phrases) and phrases[before].start() < end:
            anew = _phrase_pattern().finditer(text, phrases[before].start(), end)
            more = count_attributes(list(chain.from_iterable(_said(one, truth) for one in anew)))
            counts.append({name: count + more[name] for name, count in totals[before].items()})
        else:
            counts.append(totals[before])
    return counts


def _inside_word(text: str, end: int) -> bool:
    """Whether a cut leaves the first letters of a word, which may name something else."""
    return (
        0 < end < len(text)
        and not text[end].isspace()
        and _BETWEEN_LETTERS.fullmatch(text, end - 1, end + 1) is not None
    )


def count_attributes(said: Sequence[Attribute]) -> Mapping[str, int]:
    """Summable counts: numbers and colours said, and how many of them are wrong."""
    counts = dict(_NOTHING)
    for one in said:
        counts[f"{one.kind}s"] += 1
        counts[f"wrong_{one.kind}s"] += not one.right
    return counts


@lru_cache(maxsize=1024)
def _phrases(text: str) -> tuple[re.Match[str], ...]:
    """What says a number of something; remembered from a run's scores to its front."""
    return tuple(_phrase_pattern().finditer(text))


@cache
def _nouns() -> Mapping[str, str]:
    """Singular or plural -> noun."""
    return {form: noun for noun in NOUNS for form in (noun, plural(noun))}


@cache
def _phrase_pattern() -> re.Pattern[str]:
    names = sorted(_nouns(), key=lambda name: (-len(name), name))
    number, colour, noun = ("|".join(map(re.escape, words)) for words in (_NUMBERS, COLOURS, names))
    return re.compile(rf"\b(?P<number>{number}) (?:(?P<colour>{colour}) )?(?P<noun>(?a:{noun}))\b", re.IGNORECASE)
