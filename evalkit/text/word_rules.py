"""NLTK's tokenizer of sentences, rule by rule, each tried only where it can change something.

NLTKWordTokenizer rewrites a sentence with some thirty regular expressions, one after the other, though hardly any finds
what it looks for: no quote, no bracket, no dash. A rule whose signs are not in the text changes nothing and is passed
over, which leaves about five. The rules are those of the installed NLTK; one that is not known here is always tried.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

_APOSTROPHE, _FULL_STOP, _COLON_COMMA = ("'",), (".",), (":", ",")
_ALWAYS = ("",)  # is in every text

# Pattern -> texts of which one must be there for it to match.
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "([«“‘„]|[`]+)": tuple("«“‘„`"),
    r"^\"": ('"',),
    r"(``)": ("``",),
    r"([ \(\[{<])(\"|\'{2})": ('"', "''"),
    r"(?i)(?<!\w)(\')(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)": _APOSTROPHE,
    "([»”’])": tuple("»”’"),
    r"''": ("''",),
    r'"': ('"',),
    r"([^' ])('[sS]|'[mM]|'[dD]|') ": _APOSTROPHE,
    r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ": _APOSTROPHE,
    r'([^\.])(\.)([\]\)}>"\'' "»”’ " r"]*+)\s*$": _FULL_STOP,
    r'([^\.])(\.)([\]\)}>"\'' "»”’ " r"]*)\s*$": _FULL_STOP,  # of NLTK 3.9
    r"([:,])([^\d])": _COLON_COMMA,
    r"([:,])$": _COLON_COMMA,
    r"\.{2,}": ("..",),
    r"[;@#$%&]": tuple(";@#$%&"),
    r"[\u2012-\u2015]": tuple("\u2012\u2013\u2014\u2015"),
    r'([^\.])(\.)([\]\)}>"\']*)\s*$': _FULL_STOP,
    r"[?!]": tuple("?!"),
    r"([^'])' ": ("' ",),
    r"[*]": ("*",),
    r"[\]\[\(\)\{\}\<\>]": tuple("][(){}<>"),
    r"--": ("--",),
}
# The same of rules that do not look at the case, in lower case: letters that have no other capital than their own, and
# no blank, which an earlier contraction may put there.
_NEEDED_LOWERED: Mapping[str, tuple[str, ...]] = {
    r"(?i)\b(can)(?#X)(not)\b": ("nnot",),
    r"(?i)\b(d)(?#X)('ye)\b": ("d'y",),
    r"(?i)\b(gim)(?#X)(me)\b": ("mme",),
    r"(?i)\b(gon)(?#X)(na)\b": ("onna",),
    r"(?i)\b(got)(?#X)(ta)\b": ("gotta",),
    r"(?i)\b(lem)(?#X)(me)\b": ("lemme",),
    r"(?i)\b(more)(?#X)('n)\b": ("more'n",),
    r"(?i)\b(wan)(?#X)(na)(?=\s)": ("wanna",),
    r"(?i) ('t)(?#X)(is)\b": ("'t",),
    r"(?i) ('t)(?#X)(was)\b": ("'twa",),
}

_Rule = tuple[tuple[str, ...], Callable[[str, str], str], str]  # what it needs, its `sub`, the replacement


class WordRules:
    """`tokenize` of an NLTKWordTokenizer: the same tokens."""

    def __init__(self, tokenizer: Any) -> None:
        both = r" \1 \2 "
        contractions = [(pattern, both) for pattern in (*tokenizer.CONTRACTIONS2, *tokenizer.CONTRACTIONS3)]
        signs = (*tokenizer.STARTING_QUOTES, *tokenizer.PUNCTUATION, tokenizer.PARENS_BRACKETS, tokenizer.DOUBLE_DASHES)
        self._signs = _rules(signs, _NEEDED)
        self._ending = _rules(tokenizer.ENDING_QUOTES, _NEEDED)
        self._contractions = _rules(contractions, _NEEDED_LOWERED)

    def __call__(self, sentence: str) -> list[str]:
        """The tokens of a sentence."""
        text = f" {_applied(self._signs, sentence)} "
        text = _applied(self._ending, text)
        lowered = text.lower()
        for needed, sub, new in self._contractions:
            if any(part in lowered for part in needed):
                text = sub(new, text)
        return text.split()


def _rules(pairs: Iterable[tuple[Any, str]], needed: Mapping[str, tuple[str, ...]]) -> list[_Rule]:
    return [(needed.get(pattern.pattern, _ALWAYS), pattern.sub, new) for pattern, new in pairs]


def _applied(rules: Iterable[_Rule], text: str) -> str:
    for needed, sub, new in rules:
        for part in needed:
            if part in text:
                text = sub(new, text)
                break
    return text
