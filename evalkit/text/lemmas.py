"""Morphy, WordNet's rules for reducing a word to its entry, over NLTK's copy of WordNet 3.0.

Same lemmas as nltk.stem.WordNetLemmatizer, which reads all of WordNet (two seconds) where four word lists and four
exception lists suffice. Rules: morphy(7WN), https://wordnet.princeton.edu/documentation/morphy7wn; of several forms
that WordNet knows, the shortest is taken, the first of equally short ones.
"""

from collections.abc import Collection, Mapping
from typing import Any

FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
ENDINGS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "n": (
        ("s", ""),
        ("ses", "s"),
        ("ves", "f"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ),
    "v": (
        ("s", ""),
        ("ies", "y"),
        ("es", "e"),
        ("es", ""),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
    ),
    "a": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "r": (),
}
_OLD_ENDINGS = {pos: tuple(old for old, _ in endings) for pos, endings in ENDINGS.items()}
_ANY_ENDING = tuple({old for endings in _OLD_ENDINGS.values() for old in endings})


class Lemmatizer:
    """Reduces words to their entries; build it with `load`."""

    def __init__(
        self, entries: Mapping[str, frozenset[str]], exceptions: Mapping[str, Mapping[str, list[str]]]
    ) -> None:
        self.entries = entries
        self.exceptions = exceptions
        self._exceptional = frozenset().union(*exceptions.values())

    @classmethod
    def load(cls, folder: Any) -> "Lemmatizer":
        """Read index.* and *.exc of a WordNet folder given as NLTK's path pointer (folder or zip)."""

        def lines(name: str) -> list[list[str]]:
            with folder.join(name).open(encoding="utf-8") as file:
                return [line.split() for line in file if line.strip() and not line.startswith(" ")]

        entries = {pos: frozenset(words[0] for words in lines(f"index.{name}")) for pos, name in FILES.items()}
        exceptions = {pos: {words[0]: words[1:] for words in lines(f"{name}.exc")} for pos, name in FILES.items()}
        return cls(entries, exceptions)

    def lemma(self, word: str, pos: str) -> str:
        """The shortest entry the word can be a form of; the word itself if there is none."""
        entries = self.entries[pos]
        forms = self.exceptions[pos].get(word)
        if forms is None:
            if not word.endswith(_OLD_ENDINGS[pos]):
                return word
            forms = [word[: -len(old)] + new for old, new in ENDINGS[pos] if word.endswith(old)]
        known = [form for form in (word, *forms) if form in entries]
        return min(known, key=len) if known else word

    def lemmas(self, word: str) -> dict[str, str]:
        """The lemma for every part of speech."""
        if not word.endswith(_ANY_ENDING) and word not in self._exceptional:
            return dict.fromkeys(FILES, word)
        return {pos: self.lemma(word, pos) for pos in FILES}

    def sources(self, lemmas: Collection[str]) -> frozenset[str]:
        """All words whose lemma, for any part of speech, can be one of these; more may be among them."""
        changes = {change for endings in ENDINGS.values() for change in endings}
        formed = {
            lemma[: len(lemma) - len(new)] + old for old, new in changes for lemma in lemmas if lemma.endswith(new)
        }
        return self._exceptional.union(lemmas, formed)
