"""The few tokens of a text that can name an object, found without an object for every other token.

Nine chunks of ten (see evalkit/text/chunks.py) are one token that names nothing, wherever they stand. A table says so
per chunk, so that a text costs one look-up per chunk and a little work for each of the others.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from typing import NamedTuple, cast

from evalkit.text.chunks import CACHE_LIMIT, Chunk, Cut, Span, is_word
from evalkit.text.tagger import Answers
from evalkit.text.tokens import Tokenizer, Words, chunk_starts

Form = str | Answers  # the normalised token, or that by the tag's first letter ("" where it is irrelevant)
_LETTERS = (("J", "a"), ("V", "v"), ("R", "r"), ("", "n"))  # as wordnet_pos reads tags


class Forms(dict[str, Form | None]):
    """Token -> its form if that is relevant, else None; forms by tag where the part of speech decides."""

    def __init__(self, relevant: frozenset[str], forms: Callable[[str], Mapping[str, str]]) -> None:
        super().__init__()
        self.relevant, self.forms = relevant, forms

    def __missing__(self, word: str) -> Form | None:
        if len(self) >= CACHE_LIMIT:
            self.clear()
        forms = {pos: form if form in self.relevant else "" for pos, form in self.forms(word).items()}
        distinct = set(forms.values())
        by_tag = tuple((letter, forms[pos]) for letter, pos in _LETTERS) if len(distinct) > 1 else None
        self[word] = form = by_tag or distinct.pop() or None
        return form


class _Sieve(NamedTuple):
    """What one way to cut a chunk leaves: how many tokens beyond the first, (place, form, span) of relevant ones."""

    extra: int
    kept: tuple[tuple[int, Form, Span], ...]
    texts: tuple[str, ...]


class _Mark(NamedTuple):
    """A chunk that needs a look. `last` is how it is cut at the end of a sentence, None where that is the same."""

    ends: bool | None
    inner: _Sieve
    last: _Sieve | None


_NOTHING = _Sieve(0, (), ())
_UNSURE = _Mark(None, _NOTHING, None)  # cut in its surroundings only


class Marks(dict[str, _Mark | None]):
    """Chunk -> what to look at, None for one irrelevant token; filled on demand."""

    def __init__(self, reader: Tokenizer, forms: Forms) -> None:
        super().__init__()
        self.reader, self.forms = reader, forms

    def __missing__(self, chunk: str) -> _Mark | None:
        if len(self) >= CACHE_LIMIT:
            self.clear()
        if is_word(chunk):
            form = self.forms[chunk]
            mark = None if form is None else _Mark(False, _Sieve(0, ((0, form, (0, len(chunk))),), (chunk,)), None)
        else:
            entry = self.reader.chunks[chunk]
            mark = _UNSURE if entry is None else self._mark(entry)
        self[chunk] = mark
        return mark

    def _mark(self, entry: Chunk) -> _Mark | None:
        inner = self._sieve(entry.last if entry.breaks else entry.inner)
        last = None if entry.breaks or entry.last is entry.inner else self._sieve(entry.last)
        if last is None and inner is _NOTHING:
            return None
        return _Mark(entry.breaks, inner, last)

    def _sieve(self, cut: Cut) -> _Sieve:
        texts, spans = cut
        if len(texts) == 1:
            form = self.forms[texts[0]]
            return _NOTHING if form is None else _Sieve(0, ((0, form, spans[0]),), texts)
        forms = [self.forms[text] for text in texts]
        kept = tuple((place, form, spans[place]) for place, form in enumerate(forms) if form is not None)
        return _Sieve(len(texts) - 1, kept, texts)


class Sifted:
    """The relevant tokens of a text: `forms`, each with its position among all `count` tokens."""

    __slots__ = ("_parts", "_places", "_text", "_wide", "count", "forms")

    def __init__(self, text: str, parts: Sequence[str]) -> None:
        self._text, self._parts = text, parts
        self.count = len(parts)
        self.forms: list[tuple[int, Form]] = []
        self._places: dict[int, tuple[int, Span]] = {}  # position -> index of its chunk, span in the chunk
        self._wide: list[tuple[int, tuple[str, ...]]] = []  # index of a chunk of several tokens, the tokens

    def texts(self) -> list[str]:
        """All tokens of the text."""
        texts = list(self._parts)
        for index, tokens in reversed(self._wide):
            texts[index : index + 1] = tokens
        return texts

    def spans(self, words: Iterable[tuple[int, int]]) -> list[Span]:
        """Spans (start, end), of words given by the positions of their first and last token, ascending."""
        parts, places = self._parts, self._places
        if sum(map(len, parts)) + len(parts) - 1 != len(self._text):  # gaps wider than a blank
            starts = chunk_starts(self._text, parts)
            ends = [(places[first], places[last]) for first, last in words]
            return [(starts[index] + low, starts[stop] + high) for (index, (low, _)), (stop, (_, high)) in ends]
        spans = []
        start = before = 0
        for first, last in words:
            index, (low, high) = places[first]
            start += sum(map(len, parts[before:index])) + index - before
            before = index
            end = start + high
            if last != first:
                stop, (_, high) = places[last]
                end = start + sum(map(len, parts[index:stop])) + stop - index + high
            spans.append((start + low, end))
        return spans


class SiftedWords:
    """The same of a text that had to be read as a whole."""

    def __init__(self, words: Words, forms: Forms) -> None:
        self._words = words
        self.count = len(words.texts)
        all_forms = map(forms.__getitem__, words.texts)
        self.forms = [(position, form) for position, form in enumerate(all_forms) if form is not None]

    def texts(self) -> list[str]:
        """All tokens of the text."""
        return self._words.texts

    def spans(self, words: Iterable[tuple[int, int]]) -> list[Span]:
        """Spans of words given by the positions of their first and last token."""
        ends = self._words.spans([position for word in words for position in word])
        return [(start, end) for (start, _), (_, end) in zip(ends[::2], ends[1::2], strict=True)]


def sift(text: str, marks: Marks) -> Sifted | None:
    """The relevant tokens of a text; None if it must be read as a whole."""
    reader = marks.reader
    parts = reader.split(text)
    if parts is None:
        return None
    marked = list(map(marks.__getitem__, parts))
    sifted = Sifted(text, parts)
    stop = len(parts) - 1
    shift = 0  # tokens before the chunk, beyond one per chunk
    for index, mark in cast("Iterable[tuple[int, _Mark]]", compress(enumerate(marked), marked)):
        if mark is _UNSURE:
            return None
        ends, sieve, last = mark
        if last is not None and (index == stop or (ends is None and reader.breaks_behind(parts, index))):
            sieve = last
        extra, kept, texts = sieve
        for place, form, span in kept:
            position = index + shift + place
            sifted.forms.append((position, form))
            sifted._places[position] = (index, span)
        if extra:
            sifted._wide.append((index, texts))
            shift += extra
    sifted.count += shift
    return sifted
