"""AMBER's noun test: which nouns of a description the annotation supports, and which it does not.

Every image is annotated with the objects present (`truth`) and with objects a model is likely to hallucinate (`hallu`);
a table of associations ("person" -> "people", "man", ...) says what else each of them may be called. Nouns outside the
vocabulary of that table are not looked at. The authors' script decides noun by noun, in this order:

    a safe word of the list                 ignored: neither covers nor hallucinates
    equal to a word of the truth            covers that word of the truth
    equal or similar to a word of hallu     hits that word of hallu (cognition), and goes on:
    similar to a word of the truth          covers it, is not a hallucination
    none of these                           hallucinated

"A word of the truth" is one of its associations or the word itself. Associations come first, so with the truth [person,
man] the noun "man" credits "person". Nouns keep their case ("Trees" is not a "tree").
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from benchmarks.amber.similarity import Similarity
from evalkit.errors import DataError
from evalkit.schema import Finding, Score
from evalkit.text import tokens as text
from evalkit.text.prefixes import Prefixes

Label = Literal["ignored", "covered", "correct", "hallucinated"]


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun of a response: its lemma, and where it stands."""

    lemma: str
    start: int
    end: int


class Name(NamedTuple):
    """One way to name an annotated word: the name, the word it credits, and that word's position in the annotation."""

    name: str
    word: str
    slot: int


@dataclass(frozen=True)
class Lexicon:
    """What a noun is compared with: associations and safe words of the benchmark, and a similarity of words.

    >>> from benchmarks.amber.similarity import identity
    >>> associations = {"person": ["man"], "dog": ["puppy"], "cat": []}
    >>> lexicon = Lexicon(associations, frozenset(), identity(vocabulary_of(associations)))
    >>> lexicon.names_of(["dog", "person"])[-1]
    Name(name='person', word='person', slot=1)
    """

    associations: Mapping[str, Sequence[str]]
    safe_words: frozenset[str]
    similarity: Similarity

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """The only nouns that are looked at."""
        return vocabulary_of(self.associations)

    def names_of(self, words: Sequence[str]) -> list[Name]:
        """All names of annotated words, in the order of the test: associations of all words, then the words.

        Raises:
            DataError: if a word has no entry in the table of associations.
        """
        missing = [word for word in words if word not in self.associations]
        if missing:
            raise DataError(f"annotated words without an entry in the table of associations: {', '.join(missing)}")
        associated = [Name(name, word, slot) for slot, word in enumerate(words) for name in self.associations[word]]
        return associated + [Name(word, word, slot) for slot, word in enumerate(words)]


def vocabulary_of(associations: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Keys and values of the table of associations.

    >>> sorted(vocabulary_of({"person": ["man"], "dog": []}))
    ['dog', 'man', 'person']
    """
    return frozenset(associations) | {name for names in associations.values() for name in names}


@dataclass(frozen=True, slots=True)
class NounReading:
    """The decision on every noun, and what the nouns add up to.

    labels   one per noun
    notes    why, one per noun
    covered  for every word of the truth: was it named
    hits     for every word of hallu: was it named
    """

    labels: tuple[Label, ...]
    notes: tuple[str, ...]
    covered: tuple[bool, ...]
    hits: tuple[bool, ...]

    @property
    def flags(self) -> tuple[bool, ...]:
        """For every noun: is it hallucinated."""
        return tuple(label == "hallucinated" for label in self.labels)


def find_nouns(response: str, vocabulary: Collection[str] | None = None) -> list[Noun]:
    """Nouns of a text in order, lemmatised, repeats kept; with a vocabulary, only those whose lemma is in it.

    A noun is a token that NLTK's tagger gives a tag NN*; its lemma is WordNet's for nouns, letter case kept.

    Raises:
        AssetError: if NLTK's punkt_tab, averaged_perceptron_tagger_eng or wordnet is not installed.
    """
    words = text.read_words(response)
    lemmas = [text.lemma(word) for word in words.texts]
    positions = [index for index, lemma in enumerate(lemmas) if vocabulary is None or lemma in vocabulary]
    if not positions:
        return []
    tags = text.tag_at(words.texts, positions)
    nouns = [index for index, tag in zip(positions, tags, strict=True) if tag.startswith("NN")]
    return [Noun(lemmas[index], *span) for index, span in zip(nouns, words.spans(nouns), strict=True)]


def read_nouns(nouns: Sequence[str], truth: Sequence[str], hallu: Sequence[str], lexicon: Lexicon) -> NounReading:
    """Decide on every noun.

    Args:
        nouns: lemmas of the vocabulary, in order of mention, with repeats.
        truth: objects in the image, by the annotation.
        hallu: objects the annotators expect models to hallucinate.

    >>> from benchmarks.amber.similarity import identity
    >>> associations = {"person": ["man"], "dog": ["puppy"], "cat": [], "sign": []}
    >>> lexicon = Lexicon(associations, frozenset({"sign"}), identity(vocabulary_of(associations)))
    >>> reading = read_nouns(["man", "cat", "sign", "cat"], ["person", "dog"], ["cat"], lexicon)
    >>> reading.labels
    ('covered', 'hallucinated', 'ignored', 'hallucinated')
    >>> reading.covered, reading.hits
    ((True, False), (True,))
    """
    return _reading(nouns, _Decisions(truth, hallu, lexicon))


class _Decision(NamedTuple):
    """What one noun says of an image: positions are those of the annotation's lists."""

    label: Label
    note: str
    covers: int | None
    hits: tuple[int, ...]


class _Decisions(dict[str, _Decision]):
    """Noun -> the decision on it, for one image; filled on demand."""

    def __init__(self, truth: Sequence[str], hallu: Sequence[str], lexicon: Lexicon) -> None:
        super().__init__()
        self.truth, self.hallu, self.lexicon = truth, hallu, lexicon
        self._names = lexicon.names_of(truth), lexicon.names_of(hallu)

    def __missing__(self, noun: str) -> _Decision:
        self[noun] = decision = _decide(noun, *self._names, self.lexicon)
        return decision


def _reading(nouns: Sequence[str], decisions: _Decisions) -> NounReading:
    covered, hits = [False] * len(decisions.truth), [False] * len(decisions.hallu)
    decided = [decisions[noun] for noun in nouns]
    for decision in decided:
        for slot in decision.hits:
            hits[slot] = True
        if decision.covers is not None:
            covered[decision.covers] = True
    labels, notes = tuple(one.label for one in decided), tuple(one.note for one in decided)
    return NounReading(labels, notes, tuple(covered), tuple(hits))


def _decide(noun: str, truth_names: Sequence[Name], hallu_names: Sequence[Name], lexicon: Lexicon) -> _Decision:
    if noun in lexicon.safe_words:
        return _Decision("ignored", f"{noun}: safe word", None, ())
    exact = _first(truth_names, noun.__eq__)
    if exact:
        note = "in the image" if exact.word == noun else f"named as {noun!r}"
        return _Decision("covered", f"{exact.word}: {note}", exact.slot, ())
    is_similar = lexicon.similarity.similar(noun).__contains__
    hit = [name for name in (_first(hallu_names, noun.__eq__), _first(hallu_names, is_similar)) if name]
    slots = tuple(name.slot for name in hit)
    expected = f"; expected hallucination {hit[0].word!r}" if hit else ""
    near = _first(truth_names, is_similar)
    if near:
        return _Decision("correct", f"{near.word}: {noun!r} is similar to {near.name!r}{expected}", near.slot, slots)
    return _Decision("hallucinated", f"{noun}: not in the image{expected}", None, slots)


def _first(names: Sequence[Name], accept: Callable[[str], bool]) -> Name | None:
    return next((name for name in names if accept(name.name)), None)


def score_description(response: str, truth: Sequence[str], hallu: Sequence[str], lexicon: Lexicon) -> Score:
    """Score one description of an image; see the module for the rules and `Lexicon` for an example.

    Counts: captions, hallucinated_captions; mentions, hallucinated_mentions; truth_words, covered_words; hallu_words,
    hit_words. Findings: every noun of the vocabulary.
    """
    nouns = find_nouns(response, lexicon.vocabulary)
    reading = read_nouns([noun.lemma for noun in nouns], truth, hallu, lexicon)
    return Score(
        counts=counts_of(reading),
        findings=tuple(_findings(nouns, reading)),
        details={
            "nouns": [noun.lemma for noun in nouns],
            "covered": [word for word, named in zip(truth, reading.covered, strict=True) if named],
            "missed": [word for word, named in zip(truth, reading.covered, strict=True) if not named],
            "hit": [word for word, named in zip(hallu, reading.hits, strict=True) if named],
        },
    )


def count_cuts(
    response: str, ends: Sequence[int], truth: Sequence[str], hallu: Sequence[str], lexicon: Lexicon
) -> list[dict[str, float]]:
    """Counts of `score_description` of response[:end] for every end, from one reading of the whole."""
    prefixes = Prefixes(response, lambda word: text.lemma(word) in lexicon.vocabulary)
    decisions = _Decisions(truth, hallu, lexicon)
    counts = []
    for end in ends:
        nouns = [text.lemma(word) for word, tag in prefixes.tagged(end) if tag.startswith("NN")]
        counts.append(counts_of(_reading(nouns, decisions)))
    return counts


def counts_of(reading: NounReading) -> dict[str, float]:
    """The summable counts of one description."""
    hallucinated = sum(reading.flags)
    return {
        "captions": 1,
        "hallucinated_captions": int(hallucinated > 0),
        "mentions": len(reading.flags),
        "hallucinated_mentions": hallucinated,
        "truth_words": len(reading.covered),
        "covered_words": sum(reading.covered),
        "hallu_words": len(reading.hits),
        "hit_words": sum(reading.hits),
    }


def _findings(nouns: Sequence[Noun], reading: NounReading) -> Iterator[Finding]:
    for noun, label, note in zip(nouns, reading.labels, reading.notes, strict=True):
        yield Finding(noun.start, noun.end, label, note)
