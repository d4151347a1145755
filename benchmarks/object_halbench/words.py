"""Object HalBench's words: synonyms of the 80 COCO categories, double words, and what counts as a mention.

Two tables exist: synonyms_refine.txt (one category a line, "category, synonym, synonym"), which all published numbers
use, and chair_mapping.mergeall.correct_0406.json ({category: [phrases]}), used by a script that the authors withdrew.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.objects.mentions import ANIMALS, MentionFinder, Vocabulary
from evalkit.errors import DataError

_VEHICLES = ("jet", "train")
# They have no category of their own: they stop "plate" and "train" from counting.
_BLOCKING_DOUBLE_WORDS = ("home plate", "train track")


@dataclass(frozen=True, slots=True)
class NamedObject:
    """A noun of a list that names a COCO category; `index` as the authors print it, off after a dropped "seat"."""

    word: str
    category: str
    index: int


@dataclass(frozen=True)
class ObjectTable:
    """word -> category, and double word -> the word it is replaced by."""

    categories: Mapping[str, str]
    double_words: Mapping[str, str]

    @classmethod
    def of(cls, categories: Mapping[str, str]) -> "ObjectTable":
        """Add the double words: every synonym of several words, and the authors' fixed rules.

        >>> ObjectTable.of({"hot dog": "hot dog"}).double_words["baby zebra"]
        'zebra'
        """
        joined = {word: word for word in categories if " " in word}
        joined |= {word: word for word in _BLOCKING_DOUBLE_WORDS}
        joined |= {f"{age} {animal}": animal for age in ("baby", "adult") for animal in ANIMALS}
        joined |= {f"passenger {vehicle}": vehicle for vehicle in _VEHICLES}
        joined |= {"bow tie": "tie", "toilet seat": "toilet", "wine glas": "wine glass"}
        return cls(dict(categories), joined)

    @classmethod
    def read(cls, path: Path) -> "ObjectTable":
        """Read either table, told apart by its ending.

        Raises:
            DataError: if the file is missing, or is not such a table.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise DataError(f"synonym table {path} is missing") from error
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"synonym table {path} cannot be read: {error}") from error
        rows = _json_rows(path, text) if path.suffix == ".json" else _text_rows(text)
        categories = {word: category for category, words in rows for word in words}
        if not categories or "" in categories or any("\t" in word or ";" in word for word in categories):
            raise DataError(f"{path}: expected lines 'category, synonym, synonym', or JSON {{category: [phrases]}}")
        return cls.of(categories)

    def double_words_in(self, lemmas: Sequence[str]) -> list[str]:
        """Only the double words, greedily from the left."""
        doubles, index = [], 0
        while index < len(lemmas):
            joined = self.double_words.get(" ".join(lemmas[index : index + 2]))
            if joined is not None:
                doubles.append(joined)
            index += 1 if joined is None else 2
        return doubles

    def named(self, nouns: Sequence[str]) -> list[NamedObject]:
        """The nouns that name a category; a "seat" beside a "toilet" does not count (as it would for "chair").

        The authors number the nouns that are left after dropping "seat", so later numbers are one too small.
        """
        drop_seat = "toilet" in nouns and "seat" in nouns
        kept = [noun for noun in nouns if not (drop_seat and noun == "seat")]
        return [
            NamedObject(noun, self.categories[noun], index)
            for index, noun in enumerate(kept)
            if noun in self.categories
        ]

    @cached_property
    def finder(self) -> MentionFinder:
        """Finds these objects in running text by noun lemmas: the path without a judge, and the human captions."""
        return MentionFinder(Vocabulary(self.categories, self.double_words), "lemma_noun")

    def objects_in(self, caption: str) -> set[str]:
        """Categories that a human caption names: one half of the ground truth."""
        return {mention.object for mention in self.finder.find(caption).mentions}


def _text_rows(text: str) -> list[tuple[str, list[str]]]:
    lines = [[word.strip() for word in line.strip().split(", ")] for line in text.splitlines() if line.strip()]
    return [(words[0], words) for words in lines]


def _json_rows(path: Path, text: str) -> list[tuple[str, list[str]]]:
    """A category also names itself; where two categories list a phrase, the later one has it."""
    try:
        table = json.loads(text)
        rows = [(category, [*(phrase.strip() for phrase in phrases), category]) for category, phrases in table.items()]
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path}: expected JSON {{category: [phrases]}}: {error}") from error
    return rows
