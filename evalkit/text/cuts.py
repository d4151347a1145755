"""A response cut short: where its sentences and its words end.

A sentence ends behind a full stop, an exclamation or question mark (quotes and brackets that close there belong to it)
before a blank or at the end of the text, and behind a full-width one anywhere. A stretch without a letter is no
sentence: the "1." of a list belongs to what follows. Unlike Punkt, which tokens are read with, this rule knows no
abbreviations: "Mr." ends a sentence. It needs no data, and a cut text is scored as any other, so nothing depends on
the two agreeing. Words are what stands between blanks.
"""

import re
from collections.abc import Sequence

_SENTENCE_END = re.compile(r"[.!?]+[\"')\]”’]*(?=\s|$)|[。！？]+[」』”’]*")
_WORD = re.compile(r"\S+")


def sentence_ends(text: str) -> list[int]:
    """The end of every sentence in characters; the last is the end of the text. Empty for a text of blanks.

    >>> text = 'A dog. 1. A "cat." The end'
    >>> [text[:end] for end in sentence_ends(text)]
    ['A dog.', 'A dog. 1. A "cat."', 'A dog. 1. A "cat." The end']
    """
    ends: list[int] = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        stretch = text[start : match.start()].lstrip()
        if stretch[:1].isalpha() or any(map(str.isalpha, stretch)):
            ends.append(match.end())
            start = match.end()
    if text[start:].strip():
        ends.append(len(text))
    elif ends:
        ends[-1] = len(text)
    return ends


def word_ends(text: str) -> list[int]:
    """The end of every word in characters; the last is the end of the text. Empty for a text of blanks."""
    ends = [match.end() for match in _WORD.finditer(text)]
    if ends:
        ends[-1] = len(text)
    return ends


def cut_text(text: str, ends: Sequence[int], count: int) -> str:
    """The first `count` sentences or words of a text; all of it if it has no more.

    >>> cut_text("A dog. A cat.", sentence_ends("A dog. A cat."), 1)
    'A dog.'
    """
    if count >= len(ends):
        return text
    return text[: ends[count - 1]] if count else ""
