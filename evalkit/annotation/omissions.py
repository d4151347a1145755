"""Omissions: a corrected response is preferred to the same response without one of its accepted sentences.

Corrections mostly delete. Trained on them alone, a model learns that the shorter response is the better one, and falls
silent about things that are there. But whoever corrects a response also reads the rest and lets it stand: a response
that lacks an accepted sentence says less that is true. Pairs of both kinds together say that a false sentence is to go
and a true one to stay, and only the image tells which is which. RLHF-V (arXiv:2312.00849) has no such pairs.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from evalkit.annotation.study import place_in_draw
from evalkit.schema import Json
from evalkit.text.cuts import sentence_ends


def omissions(answer: Mapping[str, Json], count: int, *draw: object) -> Iterator[tuple[int, str]]:
    """Number of a sentence, and the corrected text without it; at most `count` of them.

    Args:
        answer: a correction: "text" and the "segments" that changed.
        draw: words that decide which sentences are taken.
    """
    text = str(answer["text"])
    kept = accepted_sentences(text, [(segment[2], segment[3]) for segment in answer["segments"]])
    if len(sentence_ends(text)) < 2:
        return
    for number, start, end in sorted(kept, key=lambda one: place_in_draw(*draw, one[0]))[:count]:
        yield number, (text[:start] + text[end:]).strip()


def accepted_sentences(text: str, changed: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Number, start and end of every sentence that nothing was changed in.

    Args:
        changed: spans of the text; an empty one is where something was deleted.

    >>> accepted_sentences("A dog. A cat. A cup.", [(9, 12)])
    [(0, 0, 6), (2, 13, 20)]
    """
    borders = [0, *sentence_ends(text)]
    return [
        (number, start, end)
        for number, (start, end) in enumerate(pairwise(borders))
        if not any(start < last and first < end for first, last in changed if first < last)
        and not any(start < at < end for at, last in changed if at == last)
    ]
