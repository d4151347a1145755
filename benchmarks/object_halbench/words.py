"""Object HalBench's words: synonyms of the 80 COCO categories, double words, and what counts as a mention.

Two tables exist: synonyms_refine.txt (one category a line, "category, synonym, synonym"), which all published numbers
use, and chair_mapping.mergeall.correct_0406.json ({category: [phrases]}), used by a script that the authors withdrew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.objects.mentions import (
    SHARED_DOUBLE_WORDS,
    MentionFinder,
    Vocabulary,
    double_words_in,
    read_synonyms,
    seats_are_of_toilets,
)
from evalkit.errors import DataError
from evalkit.files.fields import read_object


@dataclass(frozen=True, slots=True)
class NamedObject:
    """A noun of a list that names a COCO category; `index` as the authors print it, off after a dropped "seat"."""

    word: str
    category: str
    index: int


class ObjectTable(Vocabulary):
    """The benchmark's vocabulary; how it differs from CHAIR's stands in `benchmarks.objects.mentions`."""

    @classmethod
    def of(cls, categories: Mapping[str, str]) -> "ObjectTable":
        """Add the double words: every synonym of several words, and the authors' fixed rules.

        >>> ObjectTable.of({"hot dog": "hot dog"}).double_words["baby zebra"]
        'zebra'
        """
        own = {word: word for word in categories if " " in word}
        return cls(dict(categories), {**own, **SHARED_DOUBLE_WORDS})

    @classmethod
    def read(cls, path: Path) -> "ObjectTable":
        """Read either table, told apart by its ending.

        Raises:
            DataError: if the file is missing, or is not such a table.
        """
        return cls.of(_read_mapping(path) if path.suffix == ".json" else read_synonyms(path, strip=True))

    def double_words_in(self, lemmas: Sequence[str]) -> list[str]:
        """Only the double words, greedily from the left."""
        return double_words_in(lemmas, self)

    def named(self, nouns: Sequence[str]) -> list[NamedObject]:
        """The nouns that name a category; a "seat" beside a "toilet" does not count (as it would for "chair").

        The authors number the nouns that are left after dropping "seat", so later numbers are one too small.
        """
        kept = [noun for noun in nouns if noun != "seat"] if seats_are_of_toilets(nouns) else nouns
        return [
            NamedObject(noun, self.categories[noun], index)
            for index, noun in enumerate(kept)
            if noun in self.categories
        ]

    @cached_property
    def finder(self) -> MentionFinder:
        """Finds these objects in running text by noun lemmas: the path without a judge, and the human captions."""
        return MentionFinder(self, "lemma_noun")

    def objects_in(self, caption: str) -> set[str]:
        """Categories that a human caption names: one half of the ground truth."""
        return {mention.object for mention in self.finder.find(caption).mentions}


def _read_mapping(path: Path) -> dict[str, str]:
    """A category also names itself; where two categories list a phrase, the later one has it."""
    categories: dict[str, str] = {}
    for category, phrases in read_object(path).items():
        if not isinstance(phrases, list) or not all(isinstance(phrase, str) and phrase.strip() for phrase in phrases):
            raise DataError(f"{path}: expected JSON {{category: [phrases]}}, got {phrases!r:.60} for {category!r}")
        categories |= dict.fromkeys((*map(str.strip, phrases), category), category)
    if not categories:
        raise DataError(f"{path}: expected JSON {{category: [phrases]}}, got an empty object")
    return categories
