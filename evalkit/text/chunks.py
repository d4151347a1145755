"""How NLTK cuts one blank-delimited stretch of English, looked up instead of cut again.

Almost every chunk is cut alike wherever it stands; only whether it ends its sentence matters. A word, alone or with
brackets, a possessive and a sign around it, is cut by rule; other chunks are cut once by NLTK; a chunk with quotes and
other signs that are read in their surroundings has no cut of its own.
"""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

CACHE_LIMIT = 200_000  # distinct chunks, pairs of chunks or lemmas kept in memory

STOP = re.compile("[.?!]")  # what can end a sentence
# Characters whose treatment by Python's str.split, `re` and NLTK's `regex` is known to agree.
ODD = re.compile(r"[^ \t\n\r\f\v!-~À-ÖØ-öø-ÿ\u2012-\u2015\u2018\u2019\u201c\u201d]")
OPENED_BEHIND_NO_BLANK = re.compile(
    r"[\t\n\r\f\v]\""
)  # NLTK takes such a quote for a closing one, but at a sentence's start
# A chunk that is cut differently in different surroundings: quotes (unless inside a word), leading or lone closers. A
# double quote that opens a word behind a blank, or closes one, is cut alike everywhere.
_OUTER_QUOTE = re.compile(r"(?:^|(?<=^\())\"(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])[,;:]?\"(?=\)?[,;:.?!]?$)")
_CONTEXTUAL = re.compile(r"[\"`“”‘]|''|[’'](?![A-Za-z0-9])|(?<![A-Za-z0-9])[’']|^[)\]}]|^[\])}>]+$")
_PLAIN = re.compile(r"(\(?)(\"?)([A-Za-z0-9]+(?:[-/][A-Za-z0-9]+)*)('[sS]?)?(?:([,;:]?)(\"))?(\)?)(\.{2,}|[,;:.?!]?)")
_PARTS = re.compile("[-/]")
_CONTRACTIONS = frozenset({"cannot", "gimme", "gonna", "gotta", "lemme", "wanna"})  # NLTK cuts them in two
_PLAIN_END = re.compile(r"([A-Za-z]{2,})([.?!])")
_QUOTES = {"``": ('"', "``", "''"), "''": ('"', "''", "``")}

Span = tuple[int, int]


class Cut(NamedTuple):
    """Tokens of a chunk, and where each stands in it."""

    texts: tuple[str, ...]
    spans: tuple[Span, ...]


class Chunk(NamedTuple):
    """How NLTK cuts one blank-delimited chunk: inside a sentence (`inner`) and as its last chunk (`last`).

    breaks  True: a sentence ends here whatever follows; False: never; None: depends on the next chunk
    """

    breaks: bool | None
    inner: Cut
    last: Cut


class Chunks(dict[str, "Chunk | None"]):
    """Chunk -> how it is cut, or None for a chunk whose cut depends on its surroundings; filled on demand."""

    def __init__(self, punkt: Any, cut: Any) -> None:
        super().__init__()
        self.punkt, self.cut = punkt, cut
        self.collocated = {first for first, _ in punkt._params.collocations}

    def __missing__(self, chunk: str) -> Chunk | None:
        if len(self) >= CACHE_LIMIT:
            self.clear()
        self[chunk] = entry = self._read(chunk)
        return entry

    def _read(self, chunk: str) -> Chunk | None:
        if chunk[-1] in ",.;:?!" and is_word(chunk[:-1]):  # as `_plain` below, for nearly all chunks that are no word
            return self._signed(chunk, chunk[:-1], chunk[-1])
        plain = _PLAIN.fullmatch(chunk)
        if plain is not None:
            bracket, opening, word, clitic, inner, closing, end, sign = plain.groups()
            contracted = not _CONTRACTIONS.isdisjoint(_PARTS.split(word.lower()))
            # NLTK sees no possessive before a full stop, and a bare apostrophe only before a blank
            if not contracted and not (clitic and sign[:1] == ".") and not (clitic == "'" and (closing or end or sign)):
                return self._plain(chunk, (bracket, opening, word, clitic, inner, closing, end), sign)
        if _CONTEXTUAL.search(_OUTER_QUOTE.sub("", chunk)) or ODD.search(chunk):
            return None
        candidates = self._candidates(chunk) if STOP.search(chunk) else []
        if candidates not in ([], [len(chunk) - 1]):
            return None
        texts = tuple(self.cut(f"x {chunk} x")[1:-1])
        inner = last = Cut(texts, tuple(align(texts, chunk)))
        if "." in chunk:  # a full stop is all that is cut differently at the end of a sentence
            texts = tuple(self.cut(f"x {chunk}")[1:])
            last = Cut(texts, tuple(align(texts, chunk)))
        return Chunk(self._always_breaks(chunk) if candidates else False, inner, last)

    def signed_word(self, chunk: str) -> bool | None:
        """Of a word with a comma, colon, semicolon or full stop behind it: whether it ends a sentence.

        Returns:
            None for any other chunk, and where Punkt has to look at the next one. Else it is two tokens everywhere.
        """
        if chunk[-1] not in ",.;:" or not is_word(chunk[:-1]):
            return None
        return False if chunk[-1] != "." else self._always_breaks(chunk)

    def _candidates(self, chunk: str) -> list[int]:
        """Where Punkt looks for an end of a sentence in a chunk with another behind it."""
        return [match.start() for match in self.punkt._lang_vars.period_context_re().finditer(chunk + " x")]

    def _signed(self, chunk: str, word: str, sign: str) -> Chunk:
        """A word and a sign behind it: two tokens, but for a full stop inside a sentence."""
        stop = len(word)
        apart = Cut((word, sign), ((0, stop), (stop, stop + 1)))
        if sign == ".":
            return Chunk(self._always_breaks(chunk), Cut((chunk,), ((0, stop + 1),)), apart)
        return Chunk(self._always_breaks(chunk) if sign in "?!" else False, apart, apart)

    def _plain(self, chunk: str, parts: Sequence[str | None], sign: str) -> Chunk:
        """A word with quotes, brackets, a possessive and a sign around it, each a token.

        A full stop right behind the word is one only at the end of the sentence.
        """
        pieces = [part for part in parts if part]
        if not sign:
            whole = _cut(pieces)
            return Chunk(False, whole, whole)
        last = _cut([*pieces, sign])
        if sign == "." and pieces[-1] not in (")", '"'):
            return Chunk(self._always_breaks(chunk), _cut([*pieces[:-1], f"{pieces[-1]}."]), last)
        return Chunk(self._always_breaks(chunk) if sign[0] in ".?!" else False, last, last)

    def _always_breaks(self, chunk: str) -> bool | None:
        """True for an ordinary word with a full stop; None where Punkt has to look at the next word."""
        match = _PLAIN_END.fullmatch(chunk)
        if match is None:
            return None
        word = match[1].lower()
        ordinary = word not in self.punkt._params.abbrev_types and word not in self.collocated
        return True if ordinary or match[2] != "." else None


def is_word(chunk: str) -> bool:
    """Whether a chunk is one token wherever it stands, as nearly all are: ASCII letters and digits alone."""
    return chunk.isalnum() and chunk.isascii() and chunk.lower() not in _CONTRACTIONS


def _cut(pieces: Sequence[str]) -> Cut:
    """Pieces that follow each other without a gap; a double quote opens before the word and closes behind it."""
    ends = list(accumulate(map(len, pieces)))
    spans = tuple(zip([0, *ends], ends, strict=False))
    if '"' in pieces:
        word = next(at for at, piece in enumerate(pieces) if piece[0].isalnum())
        pieces = [piece if piece != '"' else "``" if at < word else "''" for at, piece in enumerate(pieces)]
    return Cut(tuple(pieces), spans)


def align(words: Sequence[str], text: str) -> list[Span]:
    """Spans of NLTK's tokens in the text they were cut from; double quotes may have been rewritten."""
    spans: list[Span] = []
    position = 0
    for word in words:
        start = text.find(word, position)
        if start != position and (start < 0 or not text[position:start].isspace()):
            start, word = _rewritten(word, text, position)
        position = start + len(word)
        spans.append((start, position))
    return spans


def _rewritten(word: str, text: str, position: int) -> tuple[int, str]:
    """Where a token stands behind the blanks at `position`, and what it was before NLTK rewrote it."""
    while text[position].isspace():
        position += 1
    form = next((form for form in (word, *_QUOTES.get(word, ())) if text.startswith(form, position)), None)
    if form is None:
        raise ValueError(f"token {word!r} does not stand at character {position} of {text!r}")
    return position, form
