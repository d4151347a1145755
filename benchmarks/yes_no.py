"""Readings of an answer to a yes/no question: what counts as "yes", as "no", and as neither.

The published protocols differ in nothing but this, and the difference decides the score: a model that writes "No." is
always wrong to AMBER's script, and one that writes nothing says yes to POPE's. So every reading has a name, and
several stand side by side in a report.

    exact           AMBER's script: the response is "Yes" or "No", letter by letter
    substring       lmms-eval: "yes" anywhere, else "no" anywhere (so "cannot" and "know" are a no)
    word            VLMEvalKit: the word "yes" or the word "no", but not both; its punctuation rules included
    first_sentence  POPE's script: "No", "not" or "no" before the first full stop is a no, everything else a yes
    leading         ours: the first word is yes or no, whatever the case and the signs around it
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from evalkit.benchmark import Benchmark
from evalkit.metrics import Metric, sum_counts
from evalkit.schema import Item

YesNo = Literal["yes", "no"]
Reading = Callable[[str], YesNo | None]

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_MAX_FULL_STOPS = 32  # VLMEvalKit removes no more: a flag stands where the number of replacements belongs
_FIRST_WORD = re.compile(r"[^\w]*(yes|no)\b", re.IGNORECASE)


def read_exact(response: str) -> YesNo | None:
    """AMBER's script: exactly "Yes" or "No".

    >>> read_exact("No"), read_exact("No."), read_exact("no")
    ('no', None, None)
    """
    return "yes" if response == "Yes" else "no" if response == "No" else None


def read_substring(response: str) -> YesNo | None:
    """lmms-eval: "yes" anywhere in any case, else "no" anywhere.

    >>> read_substring("Yes."), read_substring("I cannot tell."), read_substring("")
    ('yes', 'no', None)
    """
    lowered = response.lower()
    return "yes" if "yes" in lowered else "no" if "no" in lowered else None


def read_word(response: str) -> YesNo | None:
    """VLMEvalKit: one of the words "yes" and "no" occurs, in any case, and the other does not.

    A sign is removed if it stands next to a blank somewhere (or the response has a number like 1,000), and becomes
    a blank otherwise: "Yes,it is" has the word "yes"; so does "yes-man, no", which therefore is neither.

    >>> read_word("No, there is not."), read_word("Yes and no"), read_word("There is a dog.")
    ('no', None, None)
    """
    text = response.lower()
    words = without_signs(text).split()
    if ("yes" in words) == ("no" in words):
        return None
    return "yes" if "yes" in words else "no"


def without_signs(text: str) -> str:
    """VQA's punctuation rule, which VLMEvalKit took over; see `read_word`. Apostrophes and colons stay."""
    has_number = _COMMA_IN_NUMBER.search(text) is not None
    cleaned = text
    for sign in _PUNCTUATION:
        if sign in text:
            removed = has_number or f"{sign} " in text or f" {sign}" in text
            cleaned = cleaned.replace(sign, "" if removed else " ")
    return _FULL_STOP.sub("", cleaned, count=_MAX_FULL_STOPS)


def read_first_sentence(response: str) -> YesNo:
    """POPE's script: a no if "No", "not" or "no" stands before the first full stop; everything else is a yes.

    Words are separated by single blanks and commas are dropped; a line break separates nothing.

    >>> read_first_sentence("There is no dog."), read_first_sentence("NO"), read_first_sentence("")
    ('no', 'yes', 'yes')
    """
    words = response.partition(".")[0].replace(",", "").split(" ")
    return "no" if "No" in words or "not" in words or "no" in words else "yes"


def read_leading(response: str) -> YesNo | None:
    """Our strict reading: the response begins with the word yes or no; it treats both answers alike.

    >>> read_leading("**No**, it is empty."), read_leading("YES"), read_leading("There is no dog."), read_leading("")
    ('no', 'yes', None, None)
    """
    match = _FIRST_WORD.match(response)
    if match is None:
        return None
    return "yes" if match[1].lower() == "yes" else "no"


def ratio(part: float, whole: float) -> float | None:
    """A fraction; None of nothing."""
    return part / whole if whole else None


@dataclass(frozen=True, slots=True)
class Rates:
    """Figures of answers that are right or wrong yes and no, as fractions; None where they would divide by zero.

    >>> rates = Rates(tp=3, fp=1, tn=4, fn=0)
    >>> rates.precision, rates.recall, rates.accuracy, rates.yes
    (0.75, 1.0, 0.875, 0.5)
    """

    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def precision(self) -> float | None:
        """Right among the answers yes."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """Answered yes among those where yes is right."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of the two, in the scripts' order of operations."""
        precision, recall = self.precision, self.recall
        return None if precision is None or recall is None else ratio(2 * precision * recall, precision + recall)

    @property
    def accuracy(self) -> float | None:
        """Right among all."""
        return ratio(self.tp + self.tn, self.tp + self.fp + self.tn + self.fn)

    @property
    def yes(self) -> float | None:
        """Answered yes among all."""
        return ratio(self.tp + self.fp, self.tp + self.fp + self.tn + self.fn)


def constant_answers(
    benchmark: Benchmark, items: Sequence[Item], metrics: Sequence[Metric]
) -> dict[str, dict[str, float | None]]:
    """Baselines: models that give the same answer to every one of these questions."""
    rows = {}
    for answer in ("Yes", "No"):
        sums = sum_counts(benchmark.score(item, answer).counts or {} for item in items)
        rows[f"constant {answer}"] = {metric.name: metric.value(sums) for metric in metrics}
    return rows
