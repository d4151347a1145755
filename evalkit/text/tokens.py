"""English text as NLTK reads it, faster: sentences, tokens with character offsets, tags, lemmas.

The published protocols (CHAIR, Object HalBench, AMBER) are defined by what NLTK's functions return, so every function
here returns exactly that; the tests compare them on real captions and on generated text.

Tokens   NLTK cuts a text into Punkt sentences and rewrites each with some 30 regular expressions. Almost every stretch
         between two blanks is cut alike wherever it stands; only whether it ends its sentence matters. Such *chunks*
         are looked up (see evalkit/text/chunks.py); sentences with quotes and other context-dependent signs go
         through NLTK each time.
Tags     the averaged perceptron over the same weights (see evalkit/text/tagger.py).
Lemmas   Morphy over WordNet's word lists (see evalkit/text/lemmas.py), behind a cache.

`tokenize_plain` needs no NLTK data: it is Punkt's algorithm without learned parameters, so that only abbreviations
("Mr.", "e.g.") and rare capitalisation evidence are decided differently.
"""

import re
import threading
from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate, chain
from typing import Any, cast

from evalkit.text.chunks import CACHE_LIMIT, ODD, OPENED_BEHIND_NO_BLANK, STOP, Chunk, Chunks, Cut, Span, align
from evalkit.text.data import PACKAGES, find_data, missing, use_named_folders
from evalkit.text.lemmas import Lemmatizer
from evalkit.text.tagger import Answers, PerceptronTagger
from evalkit.text.word_rules import WordRules

_WIDE_GAP = re.compile(r"\s\s+")


@dataclass(frozen=True, slots=True)
class Token:
    """A token and where it stands: text[start:end], except that NLTK rewrites double quotes to `` and ''."""

    text: str
    start: int
    end: int


class Words:
    """The tokens of a text: `texts`, and on demand where they stand."""

    __slots__ = ("_cuts", "_parts", "_text", "texts")

    def __init__(self, text: str, texts: list[str]) -> None:
        self.texts = texts
        self._text = text
        self._parts: list[str] = []
        self._cuts: list[Cut] = []

    @classmethod
    def of_chunks(cls, text: str, parts: list[str], entries: list[Chunk], lasts: Collection[int]) -> "Words":
        """The tokens of chunks, those at `lasts` being the last of their sentences."""
        words = cls(text, [])
        cuts = [entry.inner for entry in entries]
        for index in lasts:
            cuts[index] = entries[index].last
        words.texts = list(chain.from_iterable([cut.texts for cut in cuts]))
        words._parts, words._cuts = parts, cuts
        return words

    def spans(self, positions: Iterable[int] | None = None) -> list[Span]:
        """Spans (start, end), in characters, of the tokens at `positions` (default: all)."""
        if not self._parts:  # it was not read chunk by chunk
            aligned = align(self.texts, self._text)
            return aligned if positions is None else [aligned[position] for position in positions]
        cuts = [cut.spans for cut in self._cuts]
        starts = ChunkStarts(self._text, self._parts)
        if positions is None:
            placed = [(starts[chunk], cut) for chunk, cut in enumerate(cuts)]
            return [(start + low, start + high) for start, cut in placed for low, high in cut]
        ends = list(accumulate(map(len, cuts)))  # how many tokens the chunks up to each hold
        spans = []
        for position in positions:
            chunk = bisect_right(ends, position)
            low, high = cuts[chunk][position - ends[chunk]]  # negative: counted from the chunk's last token
            spans.append((starts[chunk] + low, starts[chunk] + high))
        return spans


class ChunkStarts:
    """Where each chunk of a text begins: one blank behind the one before, but for wider gaps."""

    __slots__ = ("_behind", "_lengths", "_shifts")

    def __init__(self, text: str, parts: Sequence[str]) -> None:
        self._lengths = list(accumulate(map(len, parts), initial=0))  # of all chunks before each
        self._behind: list[int] = []  # where a chunk would begin behind each wider gap, were all one blank wide
        self._shifts = [0]  # how much wider the gaps before it are in all
        if parts and self._lengths[-1] + len(parts) - 1 != len(text):
            lead = len(text) - len(text.lstrip())
            self._widen(0, lead)
            for gap in _WIDE_GAP.finditer(text, lead):
                self._widen(gap.start() + 1 - self._shifts[-1], gap.end() - gap.start() - 1)

    def _widen(self, behind: int, wider: int) -> None:
        self._behind.append(behind)
        self._shifts.append(self._shifts[-1] + wider)

    def __getitem__(self, chunk: int) -> int:
        start = self._lengths[chunk] + chunk
        return start + self._shifts[bisect_right(self._behind, start)] if self._behind else start


class Tokenizer:
    """word_tokenize over one Punkt model, with chunk caches."""

    def __init__(self, punkt: Any, cut: Any) -> None:
        self.punkt, self.cut = punkt, cut
        self.chunks = Chunks(punkt, cut)
        self.pairs: dict[tuple[str, str], bool] = {}

    def read(self, text: str) -> Words:
        """Cut a text, chunk by chunk where that is safe."""
        parts = self.split(text)
        if parts is None:
            return self._by_sentences(text)
        entries = list(map(self.chunks.__getitem__, parts))
        if all(entries):
            whole = cast("list[Chunk]", entries)
            return Words.of_chunks(text, parts, whole, self._lasts(parts, whole))
        return self._by_parts(text, parts, entries)

    def split(self, text: str) -> list[str] | None:
        """The chunks of a text; None where NLTK may see other blanks than str.split does."""
        parts = text.split()
        if " ".join(parts) == text:
            return parts
        return None if ODD.search(text) or ('"' in text and OPENED_BEHIND_NO_BLANK.search(text)) else parts

    def _lasts(self, parts: list[str], entries: list[Chunk]) -> set[int]:
        """Indices of the chunks that end a sentence."""
        lasts = {
            index
            for index, entry in enumerate(entries)
            if entry[0] is not False and (entry[0] or self.breaks_behind(parts, index))
        }
        if parts:
            lasts.add(len(parts) - 1)
        return lasts

    def breaks_behind(self, parts: list[str], index: int) -> bool:
        """Whether Punkt ends a sentence between this chunk and the next."""
        if index + 1 == len(parts):
            return False
        pair = (parts[index], parts[index + 1])
        known = self.pairs.get(pair)
        if known is None:
            if len(self.pairs) >= CACHE_LIMIT:
                self.pairs.clear()
            known = bool(self.punkt.text_contains_sentbreak(" ".join(pair)))
            self.pairs[pair] = known
        return known

    def sentences(self, text: str) -> list[Span]:
        """Punkt's sentences; it looks for ends of sentences at these signs only."""
        if STOP.search(text) is None:
            end = len(text.rstrip())
            return [(0, end)] if end else []
        return list(self.punkt.span_tokenize(text))

    def _by_parts(self, text: str, parts: list[str], entries: list[Chunk | None]) -> Words:
        """Cut a text at the ends of sentences that its chunks are sure of; read each part by Punkt and NLTK if need be.

        Such an end stands between two chunks that are cut alike everywhere, so nothing reaches over it.
        """
        starts = ChunkStarts(text, parts)
        stop = len(parts) - 1
        words = Words(text, [])
        begin = start = 0  # the text's own margins belong to its first and last part
        for index, entry in enumerate(entries):
            if index < stop and not (entry is not None and entry.breaks is True and entries[index + 1] is not None):
                continue
            end = starts[index] + len(parts[index]) if index < stop else len(text)
            part, own, chunks = text[start:end], entries[begin : index + 1], parts[begin : index + 1]
            if None in own:
                ended = STOP.search("".join(chunks[:-1] if own[-1] else chunks)) is not None  # Punkt looks behind these
                words.texts += (self._by_sentences(part) if ended else self._sentence(part.rstrip())).texts
            else:
                whole = cast("list[Chunk]", own)
                words.texts += Words.of_chunks(part, chunks, whole, self._lasts(chunks, whole)).texts
            if index < stop:
                begin, start = index + 1, starts[index + 1]
        return words

    def _by_sentences(self, text: str) -> Words:
        """Punkt for the sentences; each sentence by chunks if they allow it, else by NLTK."""
        words = Words(text, [])
        for start, stop in self.sentences(text):
            words.texts += self._sentence(text[start:stop]).texts
        return words

    def _sentence(self, sentence: str) -> Words:
        parts = self.split(sentence)
        entries = [None] if parts is None else [self.chunks[part] for part in parts]
        if parts is None or None in entries:
            return Words(sentence, self.cut(sentence))
        return Words.of_chunks(sentence, parts, cast("list[Chunk]", entries), {len(parts) - 1} if parts else ())


_loading = threading.RLock()  # NLTK's lazy readers must not be loaded by two threads at once


@cache
def _tokenizer() -> Tokenizer:
    with _loading:
        from nltk.tokenize import NLTKWordTokenizer
        from nltk.tokenize.punkt import PunktTokenizer

        use_named_folders()
        try:
            punkt = PunktTokenizer("english")
        except LookupError as error:
            raise missing("punkt_tab") from error
        return Tokenizer(punkt, WordRules(NLTKWordTokenizer()))


@cache
def _plain_tokenizer() -> Tokenizer:
    with _loading:
        from nltk.tokenize import NLTKWordTokenizer
        from nltk.tokenize.punkt import PunktSentenceTokenizer

        return Tokenizer(PunktSentenceTokenizer(), WordRules(NLTKWordTokenizer()))


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


def tokenizer(*, plain: bool = False) -> Tokenizer:
    """The reader behind `read_words`, for those who read chunk by chunk themselves."""
    return _plain_tokenizer() if plain else _tokenizer()


def read_words(text: str, *, plain: bool = False) -> Words:
    """The tokens of a text without an object for each; the quickest way to them. `plain`: as `tokenize_plain`."""
    return tokenizer(plain=plain).read(text)


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


def fixed_tag(word: str) -> str | None:
    """The tag that a word has wherever it stands, by the tagger's dictionary of such words; None for any other."""
    return _tagger().tagdict.get(word)


def answers_at(words: Sequence[str], asked: Sequence[tuple[int, Answers]]) -> list[str]:
    """What the tags at ascending positions answer to a question about each (see PerceptronTagger.answers_at)."""
    return _tagger().answers_at(words, asked)


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


def lemmas(word: str) -> dict[str, str]:
    """`lemma` for every part of speech, not remembered."""
    return _lemmatizer().lemmas(word)


def lemma_sources(lemmas: Collection[str]) -> frozenset[str]:
    """All words whose lemma can be one of these (see Lemmatizer.sources)."""
    return _lemmatizer().sources(lemmas)


_WORDNET_POS = {"J": "a", "V": "v", "N": "n", "R": "r"}


def wordnet_pos(tag: str) -> str:
    """WordNet's part of speech for a Penn Treebank tag: a, v, n or r; noun for all others."""
    return _WORDNET_POS.get(tag[:1], "n")
