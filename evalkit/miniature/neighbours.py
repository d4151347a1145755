"""What a description says stands next to what: relations that can be hallucinated between things that are there.

Things are neighbours if one stands in a cell beside, above or below the other. Only statements about two nouns of the
scene count here; the others are object hallucinations.

wrong_relations  statements about things that are not neighbours / statements, in %
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from evalkit.miniature.lexicon import COLOURS, NOUNS, plural
from evalkit.miniature.scenes import Scene


@dataclass(frozen=True, slots=True)
class NeighbourStatement:
    """That a thing is next to another; text[start:end] are the words between them."""

    start: int
    end: int
    noun: str
    beside: str

    @property
    def statement(self) -> str:
        return f"The {self.noun} is next to the {self.beside}."

    @property
    def question(self) -> str:
        return f"Is the {self.noun} next to the {self.beside} in this image?"


def neighbour_statements(text: str) -> list[NeighbourStatement]:
    """Statements of any text, left to right.

    >>> [one.statement for one in neighbour_statements("There are two red cups next to the clock.")]
    ['The cup is next to the clock.']
    """
    names = _nouns()
    return [
        NeighbourStatement(*match.span("words"), names[match["noun"].lower()], names[match["beside"].lower()])
        for match in _pattern().finditer(text)
    ]


def holds(said: NeighbourStatement, scene: Scene) -> bool:
    """Whether a statement is true of a scene; it is false of a thing that is not there."""
    return said.beside in scene.beside(said.noun)


def about(said: Sequence[NeighbourStatement], scene: Scene) -> list[NeighbourStatement]:
    """Those about two nouns of the scene."""
    return [one for one in said if {one.noun, one.beside} <= scene.nouns]


def count_relations(said: Sequence[NeighbourStatement], scene: Scene) -> Mapping[str, int]:
    """Summable counts: statements about things of the scene, and how many of them are wrong."""
    known = about(said, scene)
    return {"relations": len(known), "wrong_relations": sum(not holds(one, scene) for one in known)}


@cache
def _nouns() -> Mapping[str, str]:
    """Singular or plural -> noun."""
    return {form: noun for noun in NOUNS for form in (noun, plural(noun))}


@cache
def _pattern() -> re.Pattern[str]:
    forms = "|".join(sorted(map(re.escape, _nouns()), key=lambda form: (-len(form), form)))
    name, colour = f"(?a:{forms})", "|".join(COLOURS)
    return re.compile(
        rf"\b(?P<noun>{name}) (?:(?:is|are) )?"
        rf"(?P<words>next to (?:the|an?|two)) (?:(?:{colour}) )?(?P<beside>{name})\b",
        re.IGNORECASE,
    )
