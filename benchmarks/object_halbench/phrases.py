"""Reading the noun phrases that an extractor lists: "two large birthday cakes" -> tokens with lemma and tag.

Object HalBench reads each phrase with an article in front ("a " + phrase) through spaCy's en_core_web_trf. That model
is in no package index, so the analyser is a plug-in and its name stands in the signature:

    spacy     en_core_web_trf, as the authors
    nltk      NLTK's tagger and WordNet, helped where they fail on single phrases
    recorded  tokens stored beforehand, for tests and for re-reading somebody else's run
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, Protocol

from evalkit.errors import DataError, EngineError
from evalkit.text.tokens import lemma, tag, tokenize

NOUN_TAGS = frozenset({"NN", "NNS", "NNP", "NNPS"})
SPACY_MODEL = "en_core_web_trf"

AnalyserName = Literal["auto", "spacy", "nltk"]

# Object words for which WordNet's shortest lemma is another word: "men" is one itself, "vas" a duct, "sport" no ball.
_LEMMAS = {"men": "man", "sports": "sports", "vases": "vase"}


@dataclass(frozen=True, slots=True)
class PhraseToken:
    """A token of "a " + phrase, with its lemma and Penn Treebank tag."""

    text: str
    lemma: str
    tag: str


class PhraseAnalyser(Protocol):
    """Anything that reads a phrase; `name` goes into the signature."""

    name: str

    def analyse(self, phrase: str) -> Sequence[PhraseToken]:
        """Tokens of "a " + phrase, the article included."""


class SpacyAnalyser:
    """spaCy's transformer pipeline, as the authors use it.

    Raises:
        EngineError: if spaCy or the model is not installed.
    """

    def __init__(self, model: str = SPACY_MODEL) -> None:
        try:
            import spacy

            self._pipeline: Any = spacy.load(model)
        except (ImportError, OSError) as error:
            raise EngineError(f"spaCy model {model!r} cannot be loaded ({error}); use the analyser 'nltk'") from error
        self.name = f"{model}-{self._pipeline.meta['version']}"
        self._read: dict[str, tuple[PhraseToken, ...]] = {}

    def analyse(self, phrase: str) -> Sequence[PhraseToken]:
        """Tokens of "a " + phrase; a phrase seen before is not read again."""
        if phrase not in self._read:
            document = self._pipeline(f"a {phrase}")
            self._read[phrase] = tuple(PhraseToken(t.text, t.lemma_, t.tag_) for t in document)
        return self._read[phrase]


class NltkAnalyser:
    """NLTK's tokens and tags, WordNet's lemmas; lower case throughout.

    NLTK's tagger was made for sentences and takes "blue" of "a blue toaster" for a noun, so it reads "there is a blue
    toaster ."; where it finds no noun in a phrase, the last word is one.
    """

    name = "nltk"

    def analyse(self, phrase: str) -> Sequence[PhraseToken]:
        """Tokens of "a " + phrase.

        >>> NltkAnalyser().analyse("two dogs")[-1]
        PhraseToken(text='dogs', lemma='dog', tag='NNS')
        """
        sentence = [token.text for token in tokenize(f"there is a {phrase} .".lower())]
        words, tags = sentence[2:-1], tag(sentence)[2:-1]
        if len(words) > 1 and words[-1].isalpha() and not NOUN_TAGS.intersection(tags):
            tags[-1] = "NN"
        return [PhraseToken(word, _lemma(word), mark) for word, mark in zip(words, tags, strict=True)]


class RecordedAnalyser:
    """Replays stored tokens: phrase -> [[text, lemma, tag], ...]."""

    name = "recorded"

    def __init__(self, tokens: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._tokens = {phrase: [PhraseToken(*row) for row in rows] for phrase, rows in tokens.items()}

    def analyse(self, phrase: str) -> Sequence[PhraseToken]:
        """The stored tokens.

        Raises:
            DataError: if the phrase was not recorded.
        """
        try:
            return self._tokens[phrase]
        except KeyError:
            raise DataError(f"no tokens are recorded for the phrase {phrase!r}") from None


def _lemma(word: str) -> str:
    return _LEMMAS.get(word) or lemma(word, "n")


def choose_analyser(name: AnalyserName = "auto") -> PhraseAnalyser:
    """The analyser of that name; "auto" is spaCy's model where it is installed, else NLTK.

    Raises:
        EngineError: if "spacy" is asked for and the model is not installed.
    """
    if name == "spacy" or (name == "auto" and find_spec("spacy") and find_spec(SPACY_MODEL)):
        return SpacyAnalyser()
    return NltkAnalyser()


def noun_runs(tokens: Sequence[PhraseToken]) -> list[str]:
    """Lemmas of each maximal run of nouns, joined by blanks.

    >>> a, birthday, cake, on, table = (PhraseToken(w, w, t) for w, t in
    ...     [("a", "DT"), ("birthday", "NN"), ("cake", "NN"), ("on", "IN"), ("table", "NN")])
    >>> noun_runs([a, birthday, cake, on, table])
    ['birthday cake', 'table']
    """
    runs: list[list[str]] = [[]]
    for token in tokens:
        if token.tag in NOUN_TAGS:
            runs[-1].append(token.lemma)
        else:
            runs.append([])
    return [" ".join(run).strip() for run in runs if run]
