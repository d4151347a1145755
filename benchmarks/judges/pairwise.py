"""Pairwise judges: one text reads a reference answer and a model's, and says how they compare.

Two forms are in use. LLaVA-Bench's judge puts two numbers on its first line, reference first; RefoMB's ends with a
verdict in double brackets, [[A]] for the reference, [[B]] for the model, [[C]] for a tie. Each form has two readings:

    official  the authors' script, letter by letter; what it cannot read is None here (the scripts return -1, or ask on)
    robust    this project's: the same numbers or verdict however the judge decorates them, and nothing out of range

A judge of this kind is checked in two ways: the reference put on both sides should win half of the time (100 of 100
points), and the sides exchanged should give the verdict exchanged. `exchanged` turns such a reply round.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

ReadingName = Literal["official", "robust"]
Verdict = Literal[-1, 0, 1]  # the reference is better, tie, the model is better

HIGHEST = 10.0  # the judge is asked for 1 to 10; a 0 is accepted as the wish to go below
_NUMBER = r"[+]?\d+(?:\.\d*)?|[+]?\.\d+"
_OUT_OF = re.compile(r"\s*(?:/|out of)\s*10(?:\.0*)?\b(?!\s*/)")
_LABEL = re.compile(r"\b(?:assistant|answer|response|model)\s*(?:1|2|one|two|a|b)\b\s*(?:'s)?", re.IGNORECASE)
_DECORATION = re.compile(
    r"[*_`#|,;:()\[\]{}\"'=-]|\b(?:scores?|ratings?|overall|and|vs\.?|is|points?)\b", re.IGNORECASE
)
_TWO = re.compile(rf"({_NUMBER})\s+({_NUMBER})\.?")
_OFFICIAL_VERDICT = re.compile(r"\[\[(A|B|C)\]\]")
_ROBUST_VERDICT = re.compile(
    r"(?:\\?\[|【|［)\s*(?:\\?\[|【|［)?\s*(?:model\s+)?([abcＡＢＣ])\s*(?:\\?\]|】|］)(?!\w)", re.IGNORECASE
)
_VERDICTS: dict[str, Verdict] = {"A": -1, "B": 1, "C": 0, "Ａ": -1, "Ｂ": 1, "Ｃ": 0}


@dataclass(frozen=True, slots=True)
class Points:
    """What the judge gave the reference answer and the model's."""

    reference: float
    model: float


def official_points(reply: str) -> Points | None:
    """LLaVA's script: the first line, its commas as blanks, is two fields that `float` accepts; no range is checked.

    >>> official_points("8 9"), official_points("8, 9"), official_points("Scores: 8 9")
    (Points(reference=8.0, model=9.0), None, None)
    >>> official_points("8_0 -9")
    Points(reference=80.0, model=-9.0)
    """
    fields = reply.split("\n")[0].replace(",", " ").split(" ")
    if len(fields) != 2:
        return None
    try:
        return Points(float(fields[0]), float(fields[1]))
    except ValueError:
        return None


def robust_points(reply: str) -> Points | None:
    """Two numbers from 0 to 10 on the first line that holds any, whatever stands around them.

    >>> robust_points("**Scores:** 8, 9"), robust_points("8/10 9/10"), robust_points("Assistant 1: 8 Assistant 2: 9")
    (Points(reference=8.0, model=9.0), Points(reference=8.0, model=9.0), Points(reference=8.0, model=9.0))
    >>> robust_points("8 9 7"), robust_points("100 3"), robust_points("nan 5"), robust_points("no scores here")
    (None, None, None, None)
    """
    for line in reply.splitlines():
        if re.search(r"\d", line):
            return _two_numbers(line)
    return None


def _two_numbers(line: str) -> Points | None:
    if re.search(r"(?<![\w)\]*`])-\s*\d", line):  # a sign, not a dash between two numbers
        return None
    plain = _DECORATION.sub(" ", _OUT_OF.sub(" ", _LABEL.sub(" ", line))).strip(" \ufeff\t")
    match = _TWO.fullmatch(" ".join(plain.split()))
    if match is None:
        return None
    points = Points(float(match[1]), float(match[2]))
    return points if max(points.reference, points.model) <= HIGHEST else None


def official_verdict(reply: str) -> Verdict | None:
    """RefoMB's scripts: the first [[A]], [[B]] or [[C]] anywhere, capitals and no blanks.

    >>> official_verdict("I quote: [[A]] or [[B]]. So: [[B]]"), official_verdict("[[b]]")
    (-1, None)
    """
    match = _OFFICIAL_VERDICT.search(reply)
    return None if match is None else _VERDICTS[match[1]]


def robust_verdict(reply: str) -> Verdict | None:
    """The last verdict in brackets of any kind: a judge that quotes its instruction does so before it concludes.

    Two that contradict each other side by side are none.

    >>> robust_verdict("I quote: [[A]] or [[B]]. So: [[B]]"), robust_verdict("[[ Model a ]]"), robust_verdict("A")
    (1, -1, None)
    >>> robust_verdict("[[A]][[B]]") is None
    True
    """
    matches = list(_ROBUST_VERDICT.finditer(reply))
    if not matches:
        return None
    last = _VERDICTS[matches[-1][1].upper()]
    for earlier, later in zip(matches[-2::-1], matches[:0:-1], strict=False):
        if re.search(r"\w", reply[earlier.end() : later.start()]):
            break
        if _VERDICTS[earlier[1].upper()] != last:
            return None
    return last


POINTS: dict[ReadingName, Callable[[str], Points | None]] = {"official": official_points, "robust": robust_points}
VERDICTS: dict[ReadingName, Callable[[str], Verdict | None]] = {"official": official_verdict, "robust": robust_verdict}


def exchanged(points: Points) -> Points:
    """The points of a reply in which the model stood first."""
    return Points(points.model, points.reference)


def mean_points(runs: Sequence[Points]) -> Points:
    """Several replies about one item as one: the mean of each side.

    Raises:
        ValueError: without any reply.
    """
    if not runs:
        raise ValueError("no reply to combine")
    count = len(runs)
    return Points(math.fsum(run.reference for run in runs) / count, math.fsum(run.model for run in runs) / count)
