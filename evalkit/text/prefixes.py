"""The tokens and tags of a text cut ever later, from one reading of the whole.

A cut text is read as if nothing had ever followed. Its tokens are those of `read_words`. A tag depends on the word,
on two words to each side and on the two tags before; so all tags but those of the last two tokens that the cut text
shares with the whole are the whole's, and only the rest is tagged again.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from evalkit.text.tokens import read_words, tag_at

REACH = 2  # words to the right on which a tag depends


class Prefixes:
    """A text whose beginnings are read one after the other.

    >>> prefixes = Prefixes("A cat sat. A dog ran.", lambda word: word in ("cat", "dog"))
    >>> prefixes.tagged(len("A cat sat."))
    [('cat', 'NN')]

    Args:
        text: the whole.
        wanted: which tokens matter; the others get no tag.
    """

    def __init__(self, text: str, wanted: Callable[[str], bool]) -> None:
        self._text, self._wanted = text, wanted
        self._words = read_words(text).texts
        self._positions = self._wanted_from(self._words, 0)
        tags = tag_at(self._words, self._positions) if self._positions else []
        self._tagged = [(self._words[position], tag) for position, tag in zip(self._positions, tags, strict=True)]

    def tagged(self, end: int) -> list[tuple[str, str]]:
        """The wanted tokens of text[:end] with their tags, in order.

        Raises:
            AssetError: if NLTK's punkt_tab or averaged_perceptron_tagger_eng is not installed.
        """
        words = read_words(self._text[:end]).texts
        same = max(0, shared(words, self._words) - REACH)
        anew = self._wanted_from(words, same)
        tags = tag_at(words, anew) if anew else []
        kept = self._tagged[: bisect_left(self._positions, same)]
        return kept + [(words[position], tag) for position, tag in zip(anew, tags, strict=True)]

    def _wanted_from(self, words: Sequence[str], start: int) -> list[int]:
        return [position for position in range(start, len(words)) if self._wanted(words[position])]


def shared(first: Sequence[str], second: Sequence[str]) -> int:
    """How many entries two lists begin with alike.

    >>> shared(["a", "b", "."], ["a", "b.", "c"])
    1
    """
    count = min(len(first), len(second))
    return next((place for place in range(count) if first[place] != second[place]), count)
