"""Words of the miniature world: 28 COCO nouns, five places, six colours, and how English inflects them.

A place has three *expected* nouns (a kitchen: dining table, chair, cup). They are often there, and noisy captions
mention them even where they are not: this planted co-occurrence is what a model trained on the captions hallucinates.
"""

import re
from dataclasses import dataclass
from functools import cache

# The first three nouns of a place are its expected ones.
PLACES: dict[str, tuple[str, ...]] = {
    "kitchen": ("dining table", "chair", "cup", "bowl", "banana", "apple", "refrigerator", "clock"),
    "street": ("car", "traffic light", "person", "truck", "stop sign", "bicycle"),
    "park": ("bench", "dog", "person", "bird", "kite", "sports ball", "bicycle"),
    "living room": ("couch", "tv", "cat", "potted plant", "book", "suitcase", "clock"),
    "beach": ("umbrella", "surfboard", "boat", "person", "bird", "kite"),
}
NOUNS: tuple[str, ...] = tuple(sorted({noun for nouns in PLACES.values() for noun in nouns}))

COLOURS_OF: dict[str, tuple[str, ...]] = {
    "car": ("red", "blue", "white"),
    "cup": ("red", "blue", "white"),
    "umbrella": ("red", "blue", "yellow"),
    "chair": ("red", "green", "blue"),
    "kite": ("red", "blue", "yellow"),
    "book": ("red", "blue", "green"),
    "couch": ("red", "blue", "green"),
}
COLOURS: tuple[str, ...] = tuple(sorted({colour for colours in COLOURS_OF.values() for colour in colours}))

# What a drawn animal or person does, and what it surely does not.
ACTIONS_OF: dict[str, tuple[str, str]] = {
    "bird": ("stand", "fly"),
    "cat": ("sit", "run"),
    "dog": ("stand", "sleep"),
    "person": ("stand", "swim"),
}

# Other names a caption scorer accepts; the single words carry a compound that a tagger or singulariser breaks
# ("sports ball" -> "sport ball", "potted" -> "pot"). Two nouns that scorers miss have no place here: one published
# CHAIR variant never finds "bus", and NLTK's tagger takes "a laptop" for an adjective.
SYNONYMS_OF: dict[str, tuple[str, ...]] = {
    "bicycle": ("bike",),
    "couch": ("sofa",),
    "cup": ("mug",),
    "dining table": ("table",),
    "person": ("people",),
    "potted plant": ("plant",),
    "refrigerator": ("fridge",),
    "sports ball": ("ball",),
    "tv": ("television",),
}

_IRREGULAR_PLURALS = {"bench": "benches", "couch": "couches", "person": "people"}


@dataclass(frozen=True)
class NounMention:
    """One naming of a noun in a text, with its character span."""

    start: int
    end: int
    noun: str


def plural(noun: str) -> str:
    """The plural of one of the world's nouns."""
    return _IRREGULAR_PLURALS.get(noun, noun + "s")


def with_article(words: str) -> str:
    """ "apple" -> "an apple"; right for every word of this world."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def expected_nouns(place: str) -> tuple[str, ...]:
    """The three nouns that a place suggests, most suggestive first."""
    return PLACES[place][:3]


def head_word(noun: str) -> str:
    """The single word that carries a noun: "dining table" -> "table"."""
    return noun.split()[-1]


def synonyms_text() -> str:
    """The synonyms table in CHAIR's format: one category a line, the category first, separated by ", "."""
    lines = [", ".join((noun, *SYNONYMS_OF.get(noun, ()))) for noun in NOUNS]
    return "\n".join(lines) + "\n"


@cache
def _noun_of_form() -> dict[str, str]:
    forms: dict[str, str] = {}
    for noun in NOUNS:
        for name in (noun, *SYNONYMS_OF.get(noun, ())):
            forms[name] = noun
            forms[name if name == "people" else plural(name)] = noun
    return forms


@cache
def _form_pattern() -> re.Pattern[str]:
    longest_first = sorted(_noun_of_form(), key=lambda form: (-len(form), form))
    return re.compile(r"\b(?a:" + "|".join(map(re.escape, longest_first)) + r")\b", re.IGNORECASE)


def find_nouns(text: str) -> list[NounMention]:
    """Every naming of one of the 28 nouns (singular, plural or synonym), left to right."""
    forms = _noun_of_form()
    return [NounMention(m.start(), m.end(), forms[m.group().lower()]) for m in _form_pattern().finditer(text)]
