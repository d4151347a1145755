"""Object HalBench's words: synonyms of the 80 COCO categories, double words, and what counts as a mention.

Two tables exist: synonyms_refine.txt (one category a line, "category, synonym, synonym"), which all published numbers
use, and chair_mapping.mergeall.correct_0406.json ({category: [phrases]}), used by a script that the authors withdrew.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit.errors import DataError
from evalkit.text import lemma, tokenize

_ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "animal", "cub")
_VEHICLES = ("jet", "train")
# They have no category of their own: they stop "plate" and "train" from counting.
_BLOCKING_DOUBLE_WORDS = ("home plate", "train track")


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text after joining double words, with its characters [start, end) and first token's number."""

    text: str
    token: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ObjectMention:
    """A word that names a COCO category.

    index     as the authors print it: one position off after every dropped "seat"
    position  where the word really stands in the list it was found in
    """

    word: str
    category: str
    index: int
    position: int


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
        joined |= {f"{age} {animal}": animal for age in ("baby", "adult") for animal in _ANIMALS}
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
        found, index = [], 0
        while index < len(lemmas):
            joined = self.double_words.get(" ".join(lemmas[index : index + 2]))
            if joined is not None:
                found.append(joined)
            index += 1 if joined is None else 2
        return found

    def words(self, text: str) -> list[Word]:
        """Noun lemmas of a text with double words joined, greedily from the left.

        Offsets are those of `text.lower()`, which has another length for a few letters outside English.
        """
        tokens = tokenize(text.lower())
        lemmas = [lemma(token.text) for token in tokens]
        words, index = [], 0
        while index < len(tokens):
            joined = self.double_words.get(" ".join(lemmas[index : index + 2]))
            last = index if joined is None else min(index + 1, len(tokens) - 1)
            words.append(Word(joined or lemmas[index], index, tokens[index].start, tokens[last].end))
            index = last + 1
        return words

    def mentions(self, words: Sequence[str], indices: Sequence[int] | None = None) -> list[ObjectMention]:
        """The words that name a category; a "seat" beside a "toilet" does not count (as it would for "chair").

        Args:
            indices: what the authors print for each word; by default its number in the list.
        """
        drop_seat = "toilet" in words and "seat" in words
        kept = [(position, word) for position, word in enumerate(words) if not (drop_seat and word == "seat")]
        printed = range(len(words)) if indices is None else indices
        return [
            ObjectMention(word, self.categories[word], printed[number], position)
            for number, (position, word) in enumerate(kept)
            if word in self.categories
        ]

    def objects_in(self, caption: str) -> set[str]:
        """Categories that a human caption names: one half of the ground truth."""
        return {mention.category for mention in self.mentions([word.text for word in self.words(caption)])}


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
