"""English text as NLTK reads it, faster: sentences, tokens with character offsets, tags, lemmas.

The published protocols (CHAIR, Object HalBench, AMBER) are defined by what NLTK's functions return, so every function
here returns exactly that; the tests compare them on real captions and on generated text.

Tokens   NLTK cuts a text into Punkt sentences and rewrites each with some 30 regular expressions. Almost every stretch
         between two blanks is cut alike wherever it stands; only whether it ends its sentence matters. Such *chunks*
         are cut once by NLTK and looked up afterwards; sentences with quotes and other context-dependent signs go
         through NLTK each time.
Tags     the averaged perceptron over the same weights (see evalkit/text/tagger.py).
Lemmas   Morphy over WordNet's word lists (see evalkit/text/lemmas.py), behind a cache.

`tokenize_plain` needs no NLTK data: it is Punkt's algorithm without learned parameters, so that only abbreviations
("Mr.", "e.g.") and rare capitalisation evidence are decided differently.
"""

import re
import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate, chain
from typing import Any, NamedTuple, cast

from evalkit.text.data import PACKAGES, find_data, missing, use_named_folders
from evalkit.text.lemmas import Lemmatizer
from evalkit.text.tagger import PerceptronTagger

CACHE_LIMIT = 200_000  # distinct chunks, pairs of chunks or lemmas kept in memory

# Characters whose treatment by Python's str.split, `re` and NLTK's `regex` is known to agree.
_ODD = re.compile(r"[^ \t\n\r\f\v!-~À-ÖØ-öø-ÿ\u2012-\u2015\u2018\u2019\u201c\u201d]")
# A chunk that is cut differently in different surroundings: quotes (unless inside a word), leading or lone closers.
_CONTEXTUAL = re.compile(r"[\"`“”‘]|''|[’'](?![A-Za-z0-9])|(?<![A-Za-z0-9])[’']|^[)\]}]|^[\])}>]+$")
_PLAIN = re.compile(r"([A-Za-z0-9]+(?:-[A-Za-z0-9]+)*)([,;:.?!]?)")
_CONTRACTIONS = frozenset({"cannot", "gimme", "gonna", "gotta", "lemme", "wanna"})  # NLTK cuts them in two
_PLAIN_END = re.compile(r"([A-Za-z]{2,})([.?!])")
_WIDE_GAP = re.compile(r"\s{2,}")
_QUOTES = {"``": ('"', "``", "''"), "''": ('"', "''", "``")}

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Token:
    """A token and where it stands: text[start:end], except that NLTK rewrites double quotes to `` and ''."""

    text: str
    start: int
    end: int


class _Chunk(NamedTuple):
    """How NLTK cuts one blank-delimited chunk: inside a sentence (`inner`) and as its last chunk (`last`).

    breaks  True: a sentence ends here whatever follows; False: never; None: depends on the next chunk
    """

    breaks: bool | None
    inner: tuple[str, ...]
    last: tuple[str, ...]
    inner_spans: tuple[Span, ...]
    last_spans: tuple[Span, ...]


class _Chunks(dict[str, "_Chunk | None"]):
    """Chunk -> how it is cut, or None for a chunk whose cut depends on its surroundings; filled on demand."""

    def __init__(self, punkt: Any, cut: Any) -> None:
        super().__init__()
        self.punkt, self.cut = punkt, cut
        self.collocated = {first for first, _ in punkt._params.collocations}

    def __missing__(self, chunk: str) -> _Chunk | None:
        if len(self) >= CACHE_LIMIT:
            self.clear()
        self[chunk] = entry = self._read(chunk)
        return entry

    def _read(self, chunk: str) -> _Chunk | None:
        plain = _PLAIN.fullmatch(chunk)
        if plain and _CONTRACTIONS.isdisjoint(plain[1].lower().split("-")):
            return self._plain(chunk, *plain.groups())
        if _CONTEXTUAL.search(chunk):
            return None
        candidates = [match.start() for match in self.punkt._lang_vars.period_context_re().finditer(chunk + " x")]
        if candidates not in ([], [len(chunk) - 1]):
            return None
        inner = tuple(self.cut(f"x {chunk} x")[1:-1])
        inner_spans = tuple(_align(inner, chunk))
        if "." not in chunk:  # a full stop is all that is cut differently at the end of a sentence
            last, last_spans = inner, inner_spans
        else:
            last = tuple(self.cut(f"x {chunk}")[1:])
            last_spans = tuple(_align(last, chunk))
        breaks = self._always_breaks(chunk) if candidates else False
        return _Chunk(breaks, inner, last, inner_spans, last_spans)

    def _plain(self, chunk: str, word: str, sign: str) -> _Chunk:
        """A word with at most one sign behind it: the sign is a token, a full stop only at the sentence's end."""
        cut, cut_spans = (word, sign), ((0, len(word)), (len(word), len(chunk)))
        whole, whole_spans = (chunk,), ((0, len(chunk)),)
        if not sign:
            return _Chunk(False, whole, whole, whole_spans, whole_spans)
        if sign == ".":
            return _Chunk(self._always_breaks(chunk), whole, cut, whole_spans, cut_spans)
        return _Chunk(self._always_breaks(chunk) if sign in "?!" else False, cut, cut, cut_spans, cut_spans)

    def _always_breaks(self, chunk: str) -> bool | None:
        """True for an ordinary word with a full stop; None where Punkt has to look at the next word."""
        match = _PLAIN_END.fullmatch(chunk)
        if match is None:
            return None
        word = match[1].lower()
        ordinary = word not in self.punkt._params.abbrev_types and word not in self.collocated
        return True if ordinary or match[2] != "." else None


class Words:
    """The tokens of a text: `texts`, and on demand where they stand."""

    __slots__ = ("_cuts", "_lasts", "_parts", "_spans", "_text", "texts")

    def __init__(self, text: str, texts: list[str], spans: list[Span]) -> None:
        self.texts = texts
        self._text = text
        self._spans: list[Span] | None = spans
        self._parts: list[str] = []
        self._cuts: list[_Chunk] = []
        self._lasts: set[int] = set()

    @classmethod
    def of_chunks(cls, text: str, parts: list[str], entries: list[_Chunk], lasts: set[int]) -> "Words":
        """The tokens of chunks, those at `lasts` being the last of their sentences."""
        words = cls(text, [], [])
        tokens = [entry.inner for entry in entries]
        for index in lasts:
            tokens[index] = entries[index].last
        words.texts = list(chain.from_iterable(tokens))
        words._parts, words._cuts, words._lasts, words._spans = parts, entries, lasts, None
        return words

    def spans(self, positions: Iterable[int] | None = None) -> list[Span]:
        """Spans (start, end), in characters, of the tokens at `positions` (default: all)."""
        if self._spans is not None:
            return self._spans if positions is None else [self._spans[position] for position in positions]
        cuts = [entry.inner_spans for entry in self._cuts]
        for index in self._lasts:
            cuts[index] = self._cuts[index].last_spans
        starts = self._starts()
        if positions is None:
            return [(start + low, start + high) for start, cut in zip(starts, cuts, strict=True) for low, high in cut]
        ends = list(accumulate(map(len, cuts)))  # how many tokens the chunks up to each hold
        spans = []
        for position in positions:
            chunk = bisect_right(ends, position)
            low, high = cuts[chunk][position - ends[chunk]]  # negative: counted from the chunk's last token
            spans.append((starts[chunk] + low, starts[chunk] + high))
        return spans

    def _starts(self) -> list[int]:
        """Where each chunk begins: one blank behind the one before, but for wider gaps."""
        lengths = list(map(len, self._parts))
        lead = len(self._text) - len(self._text.lstrip())
        starts = [lead + end + blanks for blanks, end in enumerate(accumulate(lengths[:-1], initial=0))]
        if lengths and len(self._text) > starts[-1] + lengths[-1]:
            for gap in _WIDE_GAP.finditer(self._text, lead):
                behind = bisect_right(starts, gap.start())
                wider = gap.end() - gap.start() - 1
                starts[behind:] = [start + wider for start in starts[behind:]]
        return starts[: len(lengths)]


class _Tokenizer:
    """word_tokenize over one Punkt model, with chunk caches."""

    def __init__(self, punkt: Any, cut: Any) -> None:
        self.punkt, self.cut = punkt, cut
        self.chunks = _Chunks(punkt, cut)
        self.pairs: dict[tuple[str, str], bool] = {}

    def read(self, text: str) -> Words:
        """Cut a text, chunk by chunk where that is safe."""
        if _ODD.search(text) is None:
            parts = text.split()
            chunks = self.chunks
            entries = [chunks[part] for part in parts]
            if None not in entries:
                return self._by_chunks(text, parts, cast("list[_Chunk]", entries))
        tokens = self._by_sentences(text)
        return Words(text, [word for word, _, _ in tokens], [(start, end) for _, start, end in tokens])

    def _by_chunks(self, text: str, parts: list[str], entries: list[_Chunk]) -> Words:
        lasts = {
            index
            for index, entry in enumerate(entries)
            if entry[0] is not False and (entry[0] or self._breaks_behind(parts, index))
        }
        if parts:
            lasts.add(len(parts) - 1)
        return Words.of_chunks(text, parts, entries, lasts)

    def _breaks_behind(self, parts: list[str], index: int) -> bool:
        """Whether Punkt ends a sentence between this chunk and the next."""
        return index + 1 < len(parts) and self._breaks_between(parts[index], parts[index + 1])

    def _breaks_between(self, part: str, following: str) -> bool:
        known = self.pairs.get((part, following))
        if known is None:
            if len(self.pairs) >= CACHE_LIMIT:
                self.pairs.clear()
            known = bool(self.punkt.text_contains_sentbreak(f"{part} {following}"))
            self.pairs[part, following] = known
        return known

    def sentences(self, text: str) -> list[Span]:
        """Punkt's sentences."""
        return list(self.punkt.span_tokenize(text))

    def _by_sentences(self, text: str) -> list[tuple[str, int, int]]:
        """Punkt for the sentences; each sentence by chunks if they allow it, else by NLTK."""
        tokens: list[tuple[str, int, int]] = []
        for start, stop in self.sentences(text):
            for word, (low, high) in self._sentence(text[start:stop]):
                tokens.append((word, start + low, start + high))
        return tokens

    def _sentence(self, sentence: str) -> Iterable[tuple[str, Span]]:
        parts = sentence.split()
        entries = [None] if _ODD.search(sentence) else [self.chunks[part] for part in parts]
        if None in entries:
            texts = self.cut(sentence)
            return zip(texts, _align(texts, sentence), strict=True)
        chunks = cast("list[_Chunk]", entries)
        words = Words.of_chunks(sentence, parts, chunks, {len(parts) - 1} if parts else set())
        return zip(words.texts, words.spans(), strict=True)


def _align(words: Sequence[str], text: str) -> list[Span]:
    """Spans of NLTK's tokens in the text they were cut from; double quotes may have been rewritten."""
    spans: list[Span] = []
    position = 0
    for word in words:
        while text[position].isspace():
            position += 1
        forms = (word, *_QUOTES.get(word, ()))
        form = next((form for form in forms if text.startswith(form, position)), None)
        if form is None:
            raise ValueError(f"token {word!r} does not stand at character {position} of {text!r}")
        spans.append((position, position + len(form)))
        position += len(form)
    return spans


_loading = threading.RLock()  # NLTK's lazy readers must not be loaded by two threads at once


@cache
def _tokenizer() -> _Tokenizer:
    with _loading:
        from nltk.tokenize import NLTKWordTokenizer
        from nltk.tokenize.punkt import PunktTokenizer

        use_named_folders()
        try:
            punkt = PunktTokenizer("english")
        except LookupError as error:
            raise missing("punkt_tab") from error
        return _Tokenizer(punkt, NLTKWordTokenizer().tokenize)


@cache
def _plain_tokenizer() -> _Tokenizer:
    with _loading:
        from nltk.tokenize import NLTKWordTokenizer
        from nltk.tokenize.punkt import PunktSentenceTokenizer

        return _Tokenizer(PunktSentenceTokenizer(), NLTKWordTokenizer().tokenize)


@cache
def _tagger() -> PerceptronTagger:
    with _loading:
        folder = find_data(PACKAGES[1])
        if folder is None:
            raise missing("averaged_perceptron_tagger_eng")
        return PerceptronTagger.load(folder)


@cache
def _lemmatizer() -> Lemmatizer:
    with _loading:
        folder = find_data(PACKAGES[2])
        if folder is None:
            raise missing("wordnet")
        return Lemmatizer.load(folder)


def sentences(text: str) -> list[Span]:
    """Spans of the sentences of a text, as nltk.sent_tokenize cuts it.

    Raises:
        AssetError: if NLTK's punkt_tab is not installed.
    """
    return _tokenizer().sentences(text)


def read_words(text: str, *, plain: bool = False) -> Words:
    """The tokens of a text without an object for each; the quickest way to them. `plain`: as `tokenize_plain`."""
    return (_plain_tokenizer() if plain else _tokenizer()).read(text)


def tokenize(text: str) -> list[Token]:
    """Tokens with offsets; their texts are nltk.word_tokenize(text).

    Raises:
        AssetError: if NLTK's punkt_tab is not installed.
    """
    return _tokens(read_words(text))


def tokenize_plain(text: str) -> list[Token]:
    """Tokens with offsets, without NLTK data: as `tokenize` but for abbreviations.

    >>> [token.text for token in tokenize_plain("It's a dog. Really!")]
    ['It', "'s", 'a', 'dog', '.', 'Really', '!']
    """
    return _tokens(read_words(text, plain=True))


def _tokens(words: Words) -> list[Token]:
    return [Token(word, start, end) for word, (start, end) in zip(words.texts, words.spans(), strict=True)]


def tag(words: Sequence[str]) -> list[str]:
    """Penn Treebank tags of the words of a text, as nltk.pos_tag gives them.

    Raises:
        AssetError: if NLTK's averaged_perceptron_tagger_eng is not installed.
    """
    return _tagger().tag(words)


def tag_at(words: Sequence[str], positions: Sequence[int]) -> list[str]:
    """The tags of `tag(words)` at some ascending positions, without tagging all words."""
    return _tagger().tag_at(words, positions)


@lru_cache(maxsize=CACHE_LIMIT)
def lemma(word: str, pos: str = "n") -> str:
    """Lemma of a word, as nltk's WordNetLemmatizer gives it.

    Args:
        word: lower case for words that are not names; WordNet's entries are lower case.
        pos: "n" noun, "v" verb, "a" adjective, "r" adverb.
    Raises:
        AssetError: if NLTK's wordnet is not installed.
    """
    return _lemmatizer().lemma(word, pos)


_WORDNET_POS = {"J": "a", "V": "v", "N": "n", "R": "r"}


def wordnet_pos(tag: str) -> str:
    """WordNet's part of speech for a Penn Treebank tag: a, v, n or r; noun for all others."""
    return _WORDNET_POS.get(tag[:1], "n")
