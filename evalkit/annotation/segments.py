"""Words of a text, and what a correction changed, in words. All positions are code points, as Python counts them.

A browser counts UTF-16 units: an emoji is one code point and two units. `from_utf16` and `to_utf16` translate positions
that come from tools which run there.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial

Span = tuple[int, int]

_JOINERS = "'’-\u200c\u200d"  # inside a word: don't, o’clock, half-open, and the joiners of several scripts
_IDEOGRAPHS = (("\u3040", "\u30ff"), ("\u3400", "\u4dbf"), ("\u4e00", "\u9fff"), ("\uf900", "\ufaff"))


_ASCII_WORD = re.compile(r"\w+(?:['-]\w+)*|[^\w\s]")  # what `_words` finds in plain English, ten times as fast


@dataclass(frozen=True, slots=True)
class Segment:
    """One change: original[start:end] became corrected[to_start:to_end]; `type` says what was wrong, "" if unsaid."""

    start: int
    end: int
    to_start: int
    to_end: int
    type: str = ""


def words(text: str) -> list[Span]:
    """Spans [start, end) of words and punctuation marks; white space lies between them.

    Marks stay with their letter, parts of an emoji together; an ideograph or kana is a word by itself.

    >>> text = "A dog's bowl, 2 cups."
    >>> [text[start:end] for start, end in words(text)]
    ['A', "dog's", 'bowl', ',', '2', 'cups', '.']
    """
    if text.isascii():
        return [match.span() for match in _ASCII_WORD.finditer(text)]
    return list(_words(text))


def _words(text: str) -> Iterator[Span]:
    place = 0
    while place < len(text):
        start = place
        place += 1
        if text[start].isspace():
            continue
        if _is_letter(text[start]) and not _is_ideograph(text[start]):
            while place < len(text) and _continues_word(text, place):
                place += 1
        else:
            while place < len(text) and _continues_symbol(text, place):
                place += 1
        yield start, place


def _continues_word(text: str, place: int) -> bool:
    here = text[place]
    if _is_letter(here):
        return not _is_ideograph(here)
    return here in _JOINERS and place + 1 < len(text) and _is_letter(text[place + 1])


def _continues_symbol(text: str, place: int) -> bool:
    """Whether a character belongs to the symbol before it: combining marks, variation, skin tone, joined emoji."""
    here = text[place]
    return (
        unicodedata.category(here)[0] == "M"
        or "\U0001f3fb" <= here <= "\U0001f3ff"
        or here == "\u200d"
        or text[place - 1] == "\u200d"
    )


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_" or unicodedata.category(character)[0] == "M"


def _is_ideograph(character: str) -> bool:
    return any(first <= character <= last for first, last in _IDEOGRAPHS)


def changed_segments(original: str, corrected: str) -> list[Segment]:
    """What a correction changed, in reading order, by whole words (longest matching blocks).

    What lies between segments is the same in both texts, white space included: `apply_segments` gives the corrected
    text back.

    >>> [("A red dog.", s.start, s.end) for s in changed_segments("A red dog.", "A black dog.")]
    [('A red dog.', 2, 5)]
    """
    ours, theirs = words(original), words(corrected)
    matcher = SequenceMatcher(
        None, [original[a:b] for a, b in ours], [corrected[a:b] for a, b in theirs], autojunk=False
    )
    ours_at = partial(_between, ours, len(original))
    theirs_at = partial(_between, theirs, len(corrected))
    segments: list[Segment] = []
    before = (0, 0)  # words that are dealt with on either side
    for first, second, size in matcher.get_matching_blocks():
        # everything between the last matching word and the next one: a change, or only white space
        segments += _segment(original, corrected, ours_at(before[0], first), theirs_at(before[1], second))
        for step in range(1, size):
            gap, other = ours_at(first + step, first + step), theirs_at(second + step, second + step)
            segments += _segment(original, corrected, gap, other)
        before = (first + size, second + size)
    return segments


def _between(spans: list[Span], length: int, first: int, last: int) -> Span:
    """From the end of the word before `first` to the start of word `last`."""
    return (spans[first - 1][1] if first else 0), (spans[last][0] if last < len(spans) else length)


def _segment(original: str, corrected: str, ours: Span, theirs: Span) -> list[Segment]:
    """The segment of two spans without the white space they begin and end with in common; none if they are equal."""
    (start, end), (to_start, to_end) = ours, theirs
    if original[start:end] == corrected[to_start:to_end]:
        return []
    while start < end and to_start < to_end and original[start] == corrected[to_start] and original[start].isspace():
        start, to_start = start + 1, to_start + 1
    while (
        start < end and to_start < to_end and original[end - 1] == corrected[to_end - 1] and original[end - 1].isspace()
    ):
        end, to_end = end - 1, to_end - 1
    return [Segment(start, end, to_start, to_end)]


def apply_segments(original: str, corrected: str, segments: list[Segment]) -> str:
    """The original with its segments replaced by what stands in the corrected text."""
    parts, place = [], 0
    for segment in segments:
        parts += [original[place : segment.start], corrected[segment.to_start : segment.to_end]]
        place = segment.end
    return "".join([*parts, original[place:]])


def from_utf16(text: str, unit: int) -> int:
    """The code point that begins at a UTF-16 unit; one inside a surrogate pair is the pair's own.

    >>> from_utf16("🐶 dog", 3)
    2
    """
    units = 0
    for place, character in enumerate(text):
        if units >= unit:
            return place if units == unit else place - 1
        units += 2 if ord(character) > 0xFFFF else 1
    return len(text)


def to_utf16(text: str, place: int) -> int:
    """UTF-16 units before a code point.

    >>> to_utf16("🐶 dog", 2)
    3
    """
    return place + sum(ord(character) > 0xFFFF for character in text[:place])
