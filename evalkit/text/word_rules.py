"""NLTK's tokenizer of sentences, rule by rule, each tried only where it can change something.

NLTKWordTokenizer rewrites a sentence with some thirty regular expressions, one after the other, though hardly any finds
what it looks for: no quote, no bracket, no dash. A rule whose signs are not in the text changes nothing and is passed
over, which leaves about five. The rules are those of the installed NLTK; one that is not known here is always tried.

NLTK compiles them with `regex`, under a time limit. Where a pattern names characters one by one, Python's `re` finds
the same sooner; only classes of characters and the case of letters are not the same in both.
"""

import re
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

_CLASSES = re.compile(r"\\[A-Za-z]|\(\?i")
_BLANKS_OF_REGEX = r"[^\S\x1c-\x1f]+"  # `\s+` for re, which counts the four separators among the blanks

# Rules that put blanks around each of the signs they need, wherever it stands.
_SET_APART = frozenset({r"[;@#$%&]", r"[?!]", r"[*]", r"[\]\[\(\)\{\}\<\>]", "([»”’])", r"[\u2012-\u2015]"})

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
        parts = {part for needed, _, _ in self._contractions for part in needed}
        self._contracted = re.compile("|".join(map(re.escape, sorted(parts)))).search  # one look for all of them

    def __call__(self, sentence: str) -> list[str]:
        """The tokens of a sentence."""
        text = f" {_applied(self._signs, sentence)} "
        text = _applied(self._ending, text)
        lowered = text.lower()
        if self._contracted(lowered):
            for needed, sub, new in self._contractions:
                if any(part in lowered for part in needed):
                    text = sub(new, text)
        return text.split()


def _rules(pairs: Iterable[tuple[Any, str]], needed: Mapping[str, tuple[str, ...]]) -> list[_Rule]:
    return [(needed.get(pattern.pattern, _ALWAYS), _quickest(pattern, new), new) for pattern, new in pairs]


def _quickest(pattern: Any, new: str) -> Callable[[str, str], str]:
    """The quickest that does the same as the pattern's `sub`."""
    if pattern.pattern in _SET_APART and new in (r" \g<0> ", r" \1 "):
        signs = _NEEDED[pattern.pattern]
        return lambda _, text: _set_apart(signs, text)
    if isinstance(pattern, re.Pattern):  # of NLTK 3.9
        return pattern.sub
    if pattern.pattern == r"\s+":
        return re.compile(_BLANKS_OF_REGEX).sub
    return pattern.sub if _CLASSES.search(pattern.pattern) else re.compile(pattern.pattern).sub


def _set_apart(signs: Iterable[str], text: str) -> str:
    for sign in signs:
        if sign in text:
            text = text.replace(sign, f" {sign} ")
    return text


def _applied(rules: Iterable[_Rule], text: str) -> str:
    for needed, sub, new in rules:
        for part in needed:
            if part in text:
                text = sub(new, text)
                break
    return text
