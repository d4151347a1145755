"""Mentions of COCO objects in a text, as CHAIR and Object HalBench find them (LisaAnne/Hallucination, utils/chair.py).

A response is lower-cased, cut into tokens, every token is normalised (see VARIANTS), certain pairs of tokens are joined
to double words ("hot dog" is not a dog), and every word of the synonyms table is a mention of its category. There is no
filter by part of speech: the colour orange is a fruit. Every mention keeps its span in the response.

One mechanism, two vocabularies, because the authors' scripts differ in these points and in no other:

                     CHAIR                                       Object HalBench
    words            with their further blanks (" cheesecake"    stripped
                     of the table is found in no text)
    double words     a fixed list and SHARED_DOUBLE_WORDS        every synonym of two words and SHARED_DOUBLE_WORDS
    normaliser       pos_lemma or singularize                    lemma_noun
    reference        instances and captions of one split         the same of both splits; a caption is required

    pos_lemma   tag, then WordNet lemma for that part of speech: OPERA, HALC, PAI, lmms-eval, most published numbers
    singularize pattern.en's singular of every token: the original script; needs no NLTK data
    lemma_noun  WordNet lemma as a noun: the path of Object HalBench without a judge

Tokens and lemmas are those of NLTK 3.9 and later. Releases before left a quote or a dash beside a word in its token and
took endings off a word until WordNet knew the rest ("womens" was a woman); NLTK's version stands in the signature.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Literal, cast, get_args

from benchmarks.objects.sifting import Entry, Forms, Marks, Sifted, SiftedCut, SiftedWords, sift, sift_prefixes
from benchmarks.objects.singularise import may_become, singularise
from evalkit.errors import DataError, UsageError
from evalkit.text.chunks import Span
from evalkit.text.tokens import Words, answers_at, lemma, lemma_sources, lemmas, read_words, tag, tokenizer, wordnet_pos

Variant = Literal["pos_lemma", "singularize", "lemma_noun"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

Settled = tuple[int, str, int, int, int]  # an entry (see sifting.py) whose form is decided
WHOLES_KEPT = 1024  # cut texts whose reading is remembered, of those that must be read as a whole
_SEATS = ("toilet", "seat")
_NOBODY: Settled = (-1, "", -1, 0, 0)
_Joined = tuple[str, int, Settled, Settled]  # a word after joining: the index the script reports, first and last token

_JOINED = """motor bike, motor cycle, air plane, traffic light, street light, traffic signal, stop light, fire hydrant,
stop sign, parking meter, suit case, sports ball, baseball bat, baseball glove, tennis racket, wine glass, hot dog,
cell phone, mobile phone, teddy bear, hair drier, potted plant, laptop computer, stove top oven"""
_ANIMALS = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "animal", "cub")

# Two tokens that are one word, and the word.
SHARED_DOUBLE_WORDS: Mapping[str, str] = {
    "home plate": "home plate",  # of no category, as "train track": they keep "plate" and "train" from counting
    "train track": "train track",
    **{f"{age} {animal}": animal for age in ("baby", "adult") for animal in _ANIMALS},
    "passenger jet": "jet",
    "passenger train": "train",
    "bow tie": "tie",
    "toilet seat": "toilet",
    "wine glas": "wine glass",  # what `singularize` makes of "wine glass"
}
# "stove top oven" has three tokens and never joins.
CHAIR_DOUBLE_WORDS: Mapping[str, str] = {
    **{words: words for words in re.split(r",\s+", _JOINED)},
    **SHARED_DOUBLE_WORDS,
}


@dataclass(slots=True)
class Mention:
    """One naming of an object: response[start:end], the word of the synonyms table, its category.

    index  the position that the authors' script reports: among the tokens before joining, but taken from the wrong
           place of its list once a "seat" has been dropped
    """

    start: int
    end: int
    word: str
    object: str
    index: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A response as the scorer reads it: its mentions, and the number of words after joining."""

    mentions: tuple[Mention, ...]
    words: int


@dataclass(frozen=True)
class Vocabulary:
    """Categories: word -> the category it names; double words: "first second" -> the word they become."""

    categories: Mapping[str, str]
    double_words: Mapping[str, str]

    @cached_property
    def objects(self) -> frozenset[str]:
        """All categories."""
        return frozenset(self.categories.values())

    @cached_property
    def pairs(self) -> Mapping[tuple[str, str], str]:
        """Double words by their two tokens."""
        split = {tuple(words.split(" ")): joined for words, joined in self.double_words.items()}
        return {(words[0], words[1]): joined for words, joined in split.items() if len(words) == 2}

    @cached_property
    def relevant(self) -> frozenset[str]:
        """Every normalised token that can change what is found."""
        return frozenset(self.categories) | {part for pair in self.pairs for part in pair} | set(_SEATS)


def read_synonyms(path: Path, strip: bool = False) -> dict[str, str]:
    """Synonyms table: a category per line, then its synonyms, separated by comma and blank; word -> category.

    A word of two lines belongs to the later one.

    Args:
        strip: without the further blanks of a word; CHAIR's script keeps them, so that " motor bike" and " cheesecake"
            of the official table are found in no text.
    Raises:
        DataError: if the file is absent, empty, no text, or not such a table.
    """
    try:
        lines = path.read_text(encoding="utf-8").strip().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"synonyms table {path} cannot be read: {error}") from error
    rows = [line.strip().split(", ") for line in lines if line.strip()]
    if strip:
        rows = [[word.strip() for word in row] for row in rows]
    categories = {word: row[0] for row in rows for word in row}
    if not categories:
        raise DataError(f"synonyms table {path} is empty: expected a line 'category, synonym, ...' per category")
    if "" in categories or any("\t" in word or ";" in word for word in categories):
        raise DataError(f"synonyms table {path}: expected a line 'category, synonym, ...' per category")
    return categories


def check_variant(variant: str) -> Variant:
    """The variant of that name.

    Raises:
        UsageError: if there is none.
    """
    for known in VARIANTS:
        if variant == known:
            return known
    raise UsageError(f"unknown variant {variant!r}; known: {', '.join(VARIANTS)}")


class MentionFinder:
    """Finds mentions in texts with one vocabulary and one normaliser.

    >>> finder = MentionFinder(Vocabulary({"dog": "dog", "hot dog": "hot dog"}, CHAIR_DOUBLE_WORDS), "singularize")
    >>> [(mention.word, mention.start, mention.end) for mention in finder.find("Hot dogs and dogs.").mentions]
    [('hot dog', 0, 8), ('dog', 13, 17)]
    """

    def __init__(self, vocabulary: Vocabulary, variant: Variant = "pos_lemma") -> None:
        self.vocabulary = vocabulary
        self.variant = check_variant(variant)
        self._forms = Forms(vocabulary.relevant, _FORMS[variant], _SOURCES[variant])
        self._plain = variant == "singularize"
        self._wholes: dict[str, tuple[list[str], int]] = {}  # a broken model begins many responses alike

    @cached_property
    def _marks(self) -> Marks:
        return Marks(tokenizer(plain=self._plain), self._forms)

    def read(self, response: str) -> Words:
        """The lower-cased tokens of a response; without NLTK data for `singularize`."""
        return read_words(response.lower(), plain=self._plain)

    def find(self, response: str) -> Reading:
        """All mentions, in order.

        Raises:
            AssetError: if the variant needs NLTK data that are not installed.
        """
        sifted = sift(response.lower(), self._marks) or SiftedWords(self.read(response), self._forms)
        named, joins = self._named(self._settle(sifted))
        categories = self.vocabulary.categories
        spans = _response_spans(response, sifted, named)
        mentions = [
            Mention(start, end, word, categories[word], reported)
            for (word, reported, _, _), (start, end) in zip(named, spans, strict=True)
        ]
        return Reading(tuple(mentions), sifted.count - joins)

    def find_cuts(self, response: str, ends: Sequence[int]) -> Iterator[tuple[list[str], int]]:
        """Objects that `find` finds in response[:end], and its number of words, for every end; the whole is read once.

        Raises:
            AssetError: if the variant needs NLTK data that are not installed.
        """
        prefixes = sift_prefixes(response.lower(), self._marks)  # it grows at "İ", but is cut nowhere behind that
        begun = self._begun(prefixes.entries) if prefixes is not None else []
        read: list[Settled] | None = None
        objects, joins = [], 0
        for end in ends:
            cut = prefixes.cut(end) if prefixes is not None else None
            if not end:
                yield [], 0
            elif cut is None:
                yield self._read_whole(response[:end])
            elif not cut.ending and cut.shared < len(begun) and (known := begun[cut.shared]) is not None:
                yield known[0], cut.tokens - known[1]
            else:
                settled = self._settle(cut)
                if settled != read:
                    named, joins = self._named(settled)
                    objects, read = [self.vocabulary.categories[word] for word, *_ in named], settled
                yield objects, cut.tokens - joins

    def _read_whole(self, text: str) -> tuple[list[str], int]:
        if text not in self._wholes:
            if len(self._wholes) >= WHOLES_KEPT:
                self._wholes.clear()
            reading = self.find(text)
            self._wholes[text] = [mention.object for mention in reading.mentions], reading.words
        return self._wholes[text]

    def joined_words(self, response: str) -> list[str]:
        """All words after normalising and joining, as the authors' script returns them."""
        return join_words(normalise(self.read(response).texts, self.variant), self.vocabulary)

    def _settle(self, sifted: Sifted | SiftedWords | SiftedCut) -> list[Settled]:
        """Tag the tokens whose form depends on their part of speech, and only those."""
        unsettled = [(entry[0], entry[1]) for entry in sifted.entries if not isinstance(entry[1], str)]
        if not unsettled:
            return cast("list[Settled]", sifted.entries)
        answers = iter(answers_at(sifted.texts(), unsettled))
        settled: list[Settled] = []
        for entry in sifted.entries:
            position, form, chunk, low, high = entry
            if isinstance(form, str):
                settled.append(cast("Settled", entry))
            elif decided := next(answers):
                settled.append((position, decided, chunk, low, high))
        return settled

    def _begun(self, entries: Sequence[Entry]) -> list[tuple[list[str], int] | None]:
        """The objects that the first n tokens name, and how many pairs joined, for n = 0, 1, ...; None: n parts a pair.

        It ends before the first token whose form a tag decides and before a seat or toilet: later ones change them.
        """
        decided = list(takewhile(lambda entry: isinstance(entry[1], str), entries))
        objects: list[str] = []
        joins = 0
        begun: list[tuple[list[str], int] | None] = [(objects, joins)]
        for word, _, first, last in _join(cast("list[Settled]", decided), self.vocabulary.pairs)[0]:
            if word in _SEATS:
                break
            if last is not first:
                begun.append(None)
                joins += 1
            category = self.vocabulary.categories.get(word)
            objects = objects if category is None else [*objects, category]
            begun.append((objects, joins))
        return begun

    def _named(self, settled: Sequence[Settled]) -> tuple[list[_Joined], int]:
        """The words of the synonyms table, and how many pairs joined; no seat counts where there is a toilet."""
        joined, joins = _join(settled, self.vocabulary.pairs)
        if seats_are_of_toilets([entry[0] for entry in joined]):
            joined = _without_seats(joined)
        categories = self.vocabulary.categories
        return [entry for entry in joined if entry[0] in categories], joins


def normalise(words: Sequence[str], variant: Variant) -> list[str]:
    """The normalised form of every token."""
    if variant == "pos_lemma":
        return [lemma(word, wordnet_pos(tagged)) for word, tagged in zip(words, tag(words), strict=True)]
    return [_FORMS[variant](word)["n"] for word in words]


def join_words(words: Sequence[str], vocabulary: Vocabulary) -> list[str]:
    """Normalised words with double words joined."""
    return [word for word, *_ in _join(_all(words), vocabulary.pairs)[0]]


def double_words_in(words: Sequence[str], vocabulary: Vocabulary) -> list[str]:
    """The double words among normalised words, and nothing else."""
    return [word for word, _, first, last in _join(_all(words), vocabulary.pairs)[0] if last is not first]


def _all(words: Sequence[str]) -> list[Settled]:
    return [(position, word, position, 0, 0) for position, word in enumerate(words)]


def seats_are_of_toilets(words: Collection[str]) -> bool:
    """Whether no "seat" among these words is a mention of a chair: a toilet is there."""
    return "toilet" in words and "seat" in words


_FORMS: Mapping[Variant, Callable[[str], Mapping[str, str]]] = {
    "pos_lemma": lambda word: lemmas(word),
    "singularize": lambda word: {"n": singularise(word)},
    "lemma_noun": lambda word: {"n": lemma(word, "n")},
}
_SOURCES: Mapping[Variant, Callable[[frozenset[str]], Callable[[str], bool]]] = {
    "pos_lemma": lambda forms: lemma_sources(forms).__contains__,
    "singularize": lambda forms: may_become(forms),
    "lemma_noun": lambda forms: lemma_sources(forms).__contains__,
}


def _join(entries: Sequence[Settled], pairs: Mapping[tuple[str, str], str]) -> tuple[list[_Joined], int]:
    """Join neighbours to double words, greedily from the left; also how many pairs were joined.

    Args:
        entries: tokens with their normalised form, ascending; those that can neither join nor count may be left out.
    """
    joined: list[_Joined] = []
    joins = 0
    taken = None
    for entry, following in zip(entries, (*entries[1:], _NOBODY), strict=False):
        if entry is taken:
            continue
        position, form = entry[0], entry[1]
        if following[0] == position + 1 and (word := pairs.get((form, following[1]))) is not None:
            taken = following
            joins += 1
            joined.append((word, position, entry, following))
        else:
            joined.append((form, position, entry, entry))
    return joined, joins


def _without_seats(joined: Sequence[_Joined]) -> list[_Joined]:
    """Drop every "seat".

    The script drops them from its words but not from its list of positions, so the position it reports afterwards
    is that of the word as many places earlier as seats were dropped before.
    """
    kept: list[_Joined] = []
    dropped = 0
    doubles = [last[0] for _, _, first, last in joined if last is not first]
    for word, position, first, last in joined:
        if word == "seat":
            dropped += 1
        else:
            kept.append((word, _back(position, dropped, doubles), first, last))
    return kept


def _back(position: int, places: int, doubles: Sequence[int]) -> int:
    """The position of the first token `places` joined words before the one at `position`."""
    for _ in range(places):
        position -= 1
        if position in doubles:
            position -= 1
    return position


def _response_spans(response: str, sifted: Sifted | SiftedWords, joined: Sequence[_Joined]) -> list[Span]:
    """Spans of joined words in the response itself; lower() makes one letter longer, "İ"."""
    if not joined:
        return []
    spans = sifted.spans([(first, last) for _, _, first, last in joined])
    if "İ" not in response:
        return spans
    lengths = [len(letter.lower()) for letter in response]
    origin = [place for place, length in enumerate(lengths) for _ in range(length)] + [len(response)]
    return [(origin[start], origin[end - 1] + 1) for start, end in spans]
