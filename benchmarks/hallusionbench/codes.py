"""Codes of HallusionBench: how a question was answered, from a judge's text, by rule, or from a label.

    0  wrong       1  right       2  unclear, the model did not commit itself

An unclear answer is right where the question comes without its figure (VS, figure 0) and wrong everywhere else. Every
score is a function of the codes alone, so that judge, rule and people are read by one scorer.
"""

import re
from typing import Literal

from benchmarks.yes_no import read_leading, read_word

Code = Literal["0", "1", "2"]

# Ours, for the judge-free variant: refusing to say without the figure is the right answer to a question about it.
_CANNOT_TELL = re.compile(
    r"\b(?:can(?:not|'t|’t| not)|unable to|impossible to|not (?:possible|able) to|don'?t|do not|could not|couldn'?t)\b"
    r"[^.]{0,60}\b(?:tell|say|see|know|determine|answer|verify|confirm|judge|provide|view)\b"
    r"|\b(?:no|without (?:an?|the|any)?)\s*(?:image|figure|picture|chart|map|table|graph)\b"
    r"|\b(?:not sure|uncertain|unclear|unknown|not enough information|insufficient information)\b",
    re.IGNORECASE,
)


def read_correctness(reply: str) -> Code:
    """The judge's verdict on an answer, as the authors' script reads it: any text is one of the three.

    >>> read_correctness("Incorrect."), read_correctness("That is correct"), read_correctness("hard to say")
    ('0', '1', '2')
    >>> read_correctness("not correct"), read_correctness("uncorrect")
    ('1', '1')
    """
    lowered = reply.lower()
    return "0" if "incorrect" in lowered else "1" if "correct" in lowered else "2"


def read_same(reply: str) -> bool:
    """Whether the judge found two answers compatible, as the authors' script reads it ("not the same" too)."""
    return "same" in reply.lower()


def code_by_word(response: str, truth: str) -> Code:
    """VLMEvalKit's rule: the word yes or the word no, but not both; anything else is wrong, never unclear.

    Args:
        truth: "yes" or "no".
    """
    return "1" if read_word(response) == truth else "0"


def code_by_rule(response: str, truth: str) -> Code:
    """This project's rule: the answer's first word, else VLMEvalKit's reading, else unclear if it says so.

    >>> code_by_rule("**Yes**", "yes"), code_by_rule("I cannot tell without the chart.", "no"), code_by_rule("", "no")
    ('1', '2', '0')

    Args:
        truth: "yes" or "no".
    """
    answer = read_leading(response) or (None if _CANNOT_TELL.search(response) else read_word(response))
    if answer is None:
        return "2" if _CANNOT_TELL.search(response) else "0"
    return "1" if answer == truth else "0"
