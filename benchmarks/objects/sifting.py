"""The few tokens of a text that can name an object, found without an object for every other token.

Nine chunks of ten (see evalkit/text/chunks.py) are one token that names nothing, wherever they stand. A table says so
per chunk, so that a text costs one look-up per chunk and a little work for each of the others.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, compress
from typing import NamedTuple, cast

from evalkit.text.chunks import CACHE_LIMIT, Chunk, Cut, Span, is_word
from evalkit.text.tagger import Answers
from evalkit.text.tokens import ChunkStarts, Tokenizer, Words, fixed_tag

Form = str | Answers  # the normalised token, or that by the tag's first letter ("" where it is irrelevant)
# A relevant token: its position among all tokens, its form, its chunk, and its span in that.
Entry = tuple[int, Form, int, int, int]
_LETTERS = (("J", "a"), ("V", "v"), ("R", "r"), ("", "n"))  # as wordnet_pos reads tags


class Forms(dict[str, Form | None]):
    """Token -> its form if that is relevant, else None; forms by tag where the part of speech decides.

    Args:
        forms: the normalised forms of a token by part of speech.
        sources: from the relevant forms to a quick look whether a token can have one of them.
    """

    def __init__(
        self,
        relevant: frozenset[str],
        forms: Callable[[str], Mapping[str, str]],
        sources: Callable[[frozenset[str]], Callable[[str], bool]],
    ) -> None:
        super().__init__()
        self.relevant, self.forms, self._sources = relevant, forms, sources

    @cached_property
    def may_be_relevant(self) -> Callable[[str], bool]:
        """Whether a token can have a relevant form."""
        return self._sources(self.relevant)

    def __missing__(self, word: str) -> Form | None:
        if len(self) >= CACHE_LIMIT:
            self.clear()
        self[word] = form = self._form(word) if self.may_be_relevant(word) else None
        return form

    def _form(self, word: str) -> Form | None:
        forms = {pos: form if form in self.relevant else "" for pos, form in self.forms(word).items()}
        distinct = set(forms.values())
        if len(distinct) == 1:
            return distinct.pop() or None
        by_tag = {letter: forms[pos] for letter, pos in _LETTERS}
        tag = fixed_tag(word)
        return tuple(by_tag.items()) if tag is None else by_tag.get(tag[:1], by_tag[""]) or None


class _Sieve(NamedTuple):
    """One way to cut a chunk: how many tokens beyond the first, (place, form, low, high) of the relevant ones, all."""

    extra: int
    kept: tuple[tuple[int, Form, int, int], ...]
    texts: tuple[str, ...]


class _Mark(NamedTuple):
    """A chunk that needs a look: its sieve, and that at the end of a sentence, None where that is the same."""

    extra: int
    kept: tuple[tuple[int, Form, int, int], ...]
    texts: tuple[str, ...]
    ends: bool | None
    last: _Sieve | None


_NOTHING = _Sieve(0, (), ())
_UNSURE = _Mark(*_NOTHING, None, None)  # cut in its surroundings only


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
            mark = None if form is None else _Mark(0, ((0, form, 0, len(chunk)),), (chunk,), False, None)
        elif (breaks := self.reader.chunks.signed_word(chunk)) is not None:
            mark = self._signed(chunk, breaks)
        else:
            entry = self.reader.chunks[chunk]
            mark = _UNSURE if entry is None else self._mark(entry)
        self[chunk] = mark
        return mark

    def _signed(self, chunk: str, breaks: bool) -> _Mark:
        """A word and a sign behind it, two tokens wherever they stand."""
        texts, stop = (chunk[:-1], chunk[-1]), len(chunk) - 1
        spans = ((0, stop), (stop, stop + 1))
        kept = [
            (at, form, *spans[at]) for at, form in enumerate(map(self.forms.__getitem__, texts)) if form is not None
        ]
        return _Mark(1, tuple(kept), texts, breaks, None)

    def _mark(self, entry: Chunk) -> _Mark | None:
        inner = self._sieve(entry.last if entry.breaks else entry.inner)
        last = None if entry.breaks or entry.last is entry.inner else self._sieve(entry.last)
        if last is None and inner is _NOTHING:
            return None
        return _Mark(*inner, entry.breaks, last)

    def _sieve(self, cut: Cut) -> _Sieve:
        texts, spans = cut
        forms = map(self.forms.__getitem__, texts)
        kept = tuple([(place, form, *spans[place]) for place, form in enumerate(forms) if form is not None])
        return _Sieve(len(texts) - 1, kept, texts) if kept or len(texts) > 1 else _NOTHING


class Sifted:
    """The relevant tokens of a text among all its `count` tokens."""

    __slots__ = ("_parts", "_text", "_wide", "count", "entries", "irregular")

    def __init__(self, text: str, parts: Sequence[str]) -> None:
        self._text, self._parts = text, parts
        self.count = len(parts)
        self.entries: list[Entry] = []
        self.irregular = False  # whether a chunk is cut differently in different places
        self._wide: list[tuple[int, tuple[str, ...]]] = []  # index of a chunk of several tokens, the tokens

    def texts(self) -> list[str]:
        """All tokens of the text."""
        return _all_tokens(self._parts, self._wide)

    def spans(self, words: Iterable[tuple[Entry, Entry]]) -> list[Span]:
        """Spans (start, end) of words given by their first and last token, ascending."""
        starts = ChunkStarts(self._text, self._parts) if self.irregular else self._starts()
        spans = []
        for first, last in words:
            start = starts[first[2]]
            spans.append((start + first[3], (start if last is first else starts[last[2]]) + last[4]))
        return spans

    def _starts(self) -> dict[int, int]:
        """Where each chunk with a relevant token begins: at its next place between blanks behind the one before.

        A chunk that is relevant in one place is so in all, so none is passed over.
        """
        text, parts = self._text, self._parts
        stop = len(text)
        starts: dict[int, int] = {}
        end = -1
        for entry in self.entries:
            chunk = entry[2]
            if chunk not in starts:
                part = parts[chunk]
                start = text.find(part, end + 1)
                end = start + len(part)
                while not ((start == 0 or text[start - 1].isspace()) and (end == stop or text[end].isspace())):
                    start = text.find(part, start + 1)
                    end = start + len(part)
                starts[chunk] = start
        return starts


class SiftedWords:
    """The same of a text that had to be read as a whole."""

    def __init__(self, words: Words, forms: Forms) -> None:
        self._words = words
        self.count = len(words.texts)
        all_forms = map(forms.__getitem__, words.texts)
        self.entries: list[Entry] = [(at, form, at, 0, 0) for at, form in enumerate(all_forms) if form is not None]

    def texts(self) -> list[str]:
        """All tokens of the text."""
        return self._words.texts

    def spans(self, words: Iterable[tuple[Entry, Entry]]) -> list[Span]:
        """Spans of words given by their first and last token."""
        ends = self._words.spans([position for word in words for position, *_ in word])
        return [(start, end) for (start, _), (_, end) in zip(ends[::2], ends[1::2], strict=True)]


def sift(text: str, marks: Marks) -> Sifted | None:
    """The relevant tokens of a text; None if it must be read as a whole."""
    reader = marks.reader
    parts = reader.split(text)
    if parts is None:
        return None
    marked = list(map(marks.__getitem__, parts))
    sifted = Sifted(text, parts)
    entries = sifted.entries
    stop = len(parts) - 1
    shift = 0  # tokens before the chunk, beyond one per chunk
    for index, mark in cast("Iterable[tuple[int, _Mark]]", compress(enumerate(marked), marked)):
        extra, kept, texts, ends, last = mark
        if last is not None:
            sifted.irregular = True
            if index == stop or (ends is None and reader.breaks_behind(parts, index)):
                extra, kept, texts = last
        for place, form, low, high in kept:
            entries.append((index + shift + place, form, index, low, high))
        if extra:
            sifted._wide.append((index, texts))
            shift += extra
        elif mark is _UNSURE:
            return None
    sifted.count += shift
    return sifted


class SiftedCut(NamedTuple):
    """The relevant tokens of a text up to a cut: so many of the whole text's, then those of its last chunk.

    The last chunk stands here by itself where it is cut otherwise than in the whole text. `tokens` counts all tokens.
    """

    whole: "SiftedPrefixes"
    chunks: int
    wide: Sequence[tuple[int, tuple[str, ...]]]
    shared: int
    ending: list[Entry]
    tokens: int

    @property
    def entries(self) -> list[Entry]:
        """All relevant tokens."""
        return self.whole.entries[: self.shared] + self.ending

    def texts(self) -> list[str]:
        """All tokens."""
        return _all_tokens(self.whole.parts[: self.chunks], self.wide)


class SiftedPrefixes:
    """The relevant tokens of a text, and how many of them stand before each chunk: `sift(text[:end])` at once.

    A chunk with another behind it is cut alike in both texts. The last one before a cut now ends its sentence.
    """

    def __init__(self, parts: list[str], marks: Marks) -> None:
        self.parts = parts
        self.entries: list[Entry] = []
        self._marked = list(map(marks.__getitem__, parts))
        self._stops = list(accumulate([len(part) + 1 for part in parts], initial=0))  # one blank behind each chunk
        self._sure = self._marked.index(_UNSURE) if _UNSURE in self._marked else len(parts)
        self._looked_at: list[int] = []  # indices of the chunks that need a look
        self._wide: list[tuple[int, tuple[str, ...]]] = []
        self._before = [(0, 0, 0)]  # entries, wide chunks, further tokens in front of each of those, and of the end
        shift = 0
        known = self._marked[: self._sure]
        for index, mark in cast("Iterable[tuple[int, _Mark]]", compress(enumerate(known), known)):
            extra, kept, texts, breaks, last = mark
            if last is not None and breaks is None and marks.reader.breaks_behind(parts, index):
                extra, kept, texts = last
            for place, form, low, high in kept:
                self.entries.append((index + shift + place, form, index, low, high))
            if extra:
                self._wide.append((index, texts))
                shift += extra
            self._looked_at.append(index)
            self._before.append((len(self.entries), len(self._wide), shift))

    def cut(self, end: int) -> SiftedCut | None:
        """Up to so many characters; None where that parts a chunk, or the text must be read as a whole before it."""
        chunks = bisect_left(self._stops, end + 1) if end else 0
        if chunks > self._sure or (end and self._stops[chunks] != end + 1):
            return None
        mark = self._marked[chunks - 1] if chunks else None
        at = chunks if mark is None or mark.last is None else chunks - 1
        shared, wide, shift = self._before[bisect_left(self._looked_at, at)]
        if mark is None or mark.last is None:
            return SiftedCut(self, chunks, self._wide[:wide], shared, [], chunks + shift)
        extra, kept, texts = mark.last
        ending = [(at + shift + place, form, at, low, high) for place, form, low, high in kept]
        broad = self._wide[:wide] + ([(at, texts)] if extra else [])
        return SiftedCut(self, chunks, broad, shared, ending, chunks + shift + extra)


def sift_prefixes(text: str, marks: Marks) -> SiftedPrefixes | None:
    """The relevant tokens of a text, to be cut anywhere; None where its chunks are not parted by single blanks."""
    parts = marks.reader.split(text)
    return None if parts is None or " ".join(parts) != text else SiftedPrefixes(parts, marks)


def _all_tokens(parts: Sequence[str], wide: Sequence[tuple[int, tuple[str, ...]]]) -> list[str]:
    """The tokens of chunks, of which some have several."""
    texts = list(parts)
    for index, tokens in reversed(wide):
        texts[index : index + 1] = tokens
    return texts
