"""Omissions: a corrected response is preferred to the same response without one of its accepted sentences.

Corrections mostly delete. Trained on them alone, a model learns that the shorter response is the better one, and falls
silent about things that are there. But whoever corrects a response also reads the rest and lets it stand: a response
that lacks an accepted sentence says less that is true. Pairs of both kinds together say that a false sentence is to go
and a true one to stay, and only the image tells which is which. RLHF-V (arXiv:2312.00849) has no such pairs.
"""

from collections.abc import Iterator
from itertools import pairwise

from evalkit.annotation.study import place_in_draw
from evalkit.text.cuts import sentence_ends


def omissions(original: str, corrected: str, count: int, *draw: object) -> Iterator[tuple[int, str]]:
    """Number of a sentence, and the corrected text without it; at most `count` of them.

    Args:
        draw: words that decide which sentences are taken.
    """
    if len(sentence_ends(corrected)) < 2:
        return
    accepted = accepted_sentences(original, corrected)
    for number, start, end in sorted(accepted, key=lambda one: place_in_draw(*draw, one[0]))[:count]:
        yield number, (corrected[:start] + corrected[end:]).strip()


def accepted_sentences(original: str, corrected: str) -> list[tuple[int, int, int]]:
    """Number, start and end of every sentence of the corrected text that the original has too, word for word.

    >>> accepted_sentences("A dog. A cat. Two cups.", "A dog. Three cups.")
    [(0, 0, 6)]
    """
    said = {original[start:end].strip() for start, end in _sentences(original)}
    spans = enumerate(_sentences(corrected))
    return [(number, start, end) for number, (start, end) in spans if corrected[start:end].strip() in said]


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    return pairwise([0, *sentence_ends(text)])
