"""Which words of a closed vocabulary count as the same: AMBER's word-vector test as a fixed table.

AMBER compares nouns by `nlp(a).similarity(nlp(b)) > 0.8` with spaCy's en_core_web_lg. Both words come from a vocabulary
of some 400, so the whole test is one boolean table, computed once per model release and kept. The vectors changed
between releases, so the release is part of the name that a score carries.

    identity     words are similar if they are equal but for case. Needs nothing; not AMBER's published test
    spacy:MODEL  computed with the installed model, then kept in the cache folder
    table:FILE   pairs listed in a file; the cache of a machine that has the model holds such files
"""

import hashlib
import json
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.files.atomic import replace_text
from evalkit.files.fields import read_object

THRESHOLD = 0.8  # AMBER's default; two words are similar if their similarity is strictly greater
DEFAULT_MODEL = "en_core_web_lg"

Pair = tuple[str, str, float]


@dataclass(frozen=True)
class Similarity:
    """A symmetric, reflexive relation between the words of a vocabulary.

    source    "identity", "spacy-<model>-<version>", or "table" where a file does not say what it was made with
    partners  word -> all words similar to it, itself included
    pairs     the similar pairs of different words, with their similarity
    margin    smallest |similarity - 0.8| over all pairs; above 1e-4 float noise cannot change a decision.
              None where it is unknown
    """

    source: str
    partners: Mapping[str, frozenset[str]]
    pairs: tuple[Pair, ...] = ()
    margin: float | None = None

    @property
    def name(self) -> str:
        """Source and hash of the pairs, for the signature; a table computed here and its copy elsewhere agree.

        >>> identity(["cat"]).name
        'identity'
        """
        if self.source == "identity":
            return self.source
        return f"{self.source}-{hashlib.sha256(json.dumps([pair[:2] for pair in self.pairs]).encode()).hexdigest()[:8]}"

    def similar(self, word: str) -> frozenset[str]:
        """Words similar to `word`; empty for a word outside the vocabulary.

        >>> sorted(identity(["TV", "tv", "dog"]).similar("TV"))
        ['TV', 'tv']
        """
        return self.partners.get(word, frozenset())

    def write(self, path: Path, vocabulary: Collection[str]) -> None:
        """Write a table file that `read_table` gives back the same relation from."""
        content = {
            "source": self.source,
            "threshold_strictly_greater_than": THRESHOLD,
            "margin": self.margin,
            "vocabulary": vocabulary_hash(vocabulary),
            "pairs": [list(pair) for pair in self.pairs],
        }
        replace_text(path, json.dumps(content, indent=0) + "\n", shared=True)


def vocabulary_hash(vocabulary: Collection[str]) -> str:
    """First 8 hexadecimal digits of the sha256 over the sorted words."""
    return hashlib.sha256("\n".join(sorted(vocabulary)).encode()).hexdigest()[:8]


def _relate(source: str, vocabulary: Collection[str], pairs: Iterable[Pair], margin: float | None) -> Similarity:
    kept = tuple(sorted((min(a, b), max(a, b), value) for a, b, value in pairs if value > THRESHOLD))
    partners: dict[str, set[str]] = {word: {word} for word in vocabulary}
    by_case: dict[str, list[str]] = {}
    for word in vocabulary:
        by_case.setdefault(word.lower(), []).append(word)
    for words in by_case.values():
        for word in words:
            partners[word].update(words)
    for a, b, _ in kept:
        if a in partners and b in partners:
            partners[a].add(b)
            partners[b].add(a)
    return Similarity(source, {word: frozenset(others) for word, others in partners.items()}, kept, margin)


def identity(vocabulary: Collection[str]) -> Similarity:
    """Words are similar if they are equal but for case."""
    return _relate("identity", vocabulary, (), None)


def read_table(path: Path, vocabulary: Collection[str]) -> Similarity:
    """A relation from a file `{"pairs": [[word, word, similarity], ...]}`, symmetric, on top of `identity`.

    Raises:
        DataError: if the file is malformed, made with another threshold or for another vocabulary.
    """
    content = read_object(path)
    if not isinstance(content.get("pairs"), list):
        raise DataError(f'{path}: expected a similarity table {{"pairs": [[word, word, similarity], ...]}}')
    threshold = content.get("threshold_strictly_greater_than", THRESHOLD)
    if threshold != THRESHOLD:
        raise DataError(f"{path}: the table was made for threshold {threshold!r}, not {THRESHOLD}")
    made_for = content.get("vocabulary", vocabulary_hash(vocabulary))
    if made_for != vocabulary_hash(vocabulary):
        raise DataError(f"{path}: the table was made for another vocabulary ({made_for})")
    pairs = [_pair(path, number, entry) for number, entry in enumerate(content["pairs"], 1)]
    known = set(vocabulary)
    if pairs and not any(a in known and b in known for a, b, _ in pairs):
        raise DataError(f"{path}: none of its {len(pairs)} pairs is in the vocabulary of this benchmark")
    source, margin = content.get("source", "table"), content.get("margin")
    if not isinstance(source, str) or not isinstance(margin, int | float | None):
        raise DataError(f"{path}: 'source' must be a string and 'margin' a number, found {source!r} and {margin!r}")
    return _relate(source, vocabulary, pairs, margin)


def _pair(path: Path, number: int, entry: Any) -> Pair:
    if (
        not isinstance(entry, list)
        or len(entry) != 3
        or not all(isinstance(word, str) for word in entry[:2])
        or not isinstance(entry[2], int | float)
        or isinstance(entry[2], bool)
    ):
        raise DataError(f"{path}: pair {number} must be [word, word, similarity], found {entry!r:.80}")
    return entry[0], entry[1], float(entry[2])


def compute(nlp: Any, vocabulary: Collection[str]) -> Similarity:
    """The relation by a loaded spaCy model: its own `Doc.similarity` for every pair of words.

    The tokeniser alone makes the docs: the similarity of a model with word vectors does not depend on the rest of
    the pipeline.

    Raises:
        DataError: if the model has no word vectors.
    """
    name = f"{nlp.meta['lang']}_{nlp.meta['name']}"
    if nlp.vocab.vectors.shape[0] == 0:
        raise DataError(f"spaCy model {name} has no word vectors; AMBER is defined with {DEFAULT_MODEL}")
    words = sorted(vocabulary)
    docs = {word: nlp.make_doc(word) for word in words}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # spaCy warns of every word without a vector; its similarity is 0
        pairs = [(a, b, float(docs[a].similarity(docs[b]))) for a, b in combinations(words, 2)]
    margin = min((abs(value - THRESHOLD) for _, _, value in pairs), default=None)
    return _relate(f"spacy-{name}-{nlp.meta['version']}", vocabulary, pairs, margin)


def from_spacy(model: str, vocabulary: Collection[str], cache: Path) -> Similarity:
    """`compute` with an installed model, kept in `cache` under model, version and vocabulary.

    Raises:
        DataError: if spaCy or the model is not installed, or the model has no word vectors.
    """
    version = installed_version(model)
    path = cache / f"{model}-{version}-{vocabulary_hash(vocabulary)}.json"
    if not path.is_file():
        compute(_load(model), vocabulary).write(path, vocabulary)
    return read_table(path, vocabulary)


def installed_version(model: str) -> str:
    """Release of an installed spaCy model, without loading it.

    Raises:
        DataError: if spaCy or the model is not installed.
    """
    try:
        from spacy.util import get_package_version
    except ImportError as error:
        raise _not_installed(model, "spaCy is not installed") from error
    version = get_package_version(model)
    if version is None:
        raise _not_installed(model, f"the spaCy model {model} is not installed")
    return str(version)


def _load(model: str) -> Any:
    import spacy

    try:
        return spacy.load(model)
    except OSError as error:
        raise _not_installed(model, f"spaCy cannot load {model}: {error}") from error


def _not_installed(model: str, reason: str) -> DataError:
    return DataError(
        f"{reason}; install it (pip install 'hallu-evalkit[spacy]' and python -m spacy download {model}), or set "
        "similarity to table:FILE with a table made elsewhere, or to identity (then the score is not AMBER's own)"
    )


def open_similarity(source: str, vocabulary: Collection[str], cache: Path) -> Similarity:
    """The relation that an option names: "identity", "table:FILE" or "spacy:MODEL" ("spacy" alone is en_core_web_lg).

    Raises:
        DataError: if the source is unknown, or what it needs is absent.
    """
    kind, _, name = source.partition(":")
    if kind == "identity" and not name:
        return identity(vocabulary)
    if kind == "table" and name:
        return read_table(Path(name), vocabulary)
    if kind == "spacy":
        return from_spacy(name or DEFAULT_MODEL, vocabulary, cache)
    raise DataError(f"similarity {source!r}: expected identity, table:FILE or spacy:MODEL")
