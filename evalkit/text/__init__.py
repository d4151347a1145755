"""Reading text: sentences, tokens, part-of-speech tags, lemmas, as NLTK reads them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.text.data import has_language_data as has_language_data
    from evalkit.text.data import language_data as language_data
    from evalkit.text.tokens import lemma as lemma
    from evalkit.text.tokens import read_words as read_words
    from evalkit.text.tokens import sentences as sentences
    from evalkit.text.tokens import tag as tag
    from evalkit.text.tokens import tokenize as tokenize
    from evalkit.text.tokens import tokenize_plain as tokenize_plain
    from evalkit.text.tokens import wordnet_pos as wordnet_pos

_TOKENS = ("sentences", "read_words", "tokenize", "tokenize_plain", "tag", "lemma", "wordnet_pos")
_MODULES = dict.fromkeys(_TOKENS, "evalkit.text.tokens") | dict.fromkeys(
    ("language_data", "has_language_data"), "evalkit.text.data"
)


def __getattr__(name: str) -> Any:
    """The names above, imported when they are first asked for."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
