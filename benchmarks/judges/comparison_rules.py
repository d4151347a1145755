"""What the rules judge answers to the prompts of pairwise and paired benchmarks, for the miniature world alone."""

import re
from collections.abc import Callable, Sequence

from benchmarks.judges.prompts import own_prompt
from evalkit.miniature.lexicon import find_nouns

Rate = Callable[[set[str], str, str, str], int]  # nouns in the image, question, truth in words, answer -> 0 to 6
_COMMITS = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)
_FOUND = re.compile(r"Hallucinations: A (\d+), B (\d+)\.")
_LLAVA = re.compile(
    r"\[Context\]\n(?P<truth>.*?)\n\n\[Question\]\n(?P<question>.*?)\n\n\[Assistant 1\]\n(?P<first>.*)\n\n"
    r"\[End of Assistant 1\]\n\n\[Assistant 2\]\n(?P<second>.*)\n\n\[End of Assistant 2\]\n\n"
    r"\[System\]\n(?P<rule>.*)\n\n",
    re.DOTALL,
)
_REFOMB = re.compile(
    r"\[Beginning of the detailed description of the picture\]\n    (?P<truth>.*)\n    \[End of the detailed .*"
    r"\[Beginning of the user's question\]\n    (?P<question>.*)\n    \[End of the user's question\].*"
    r"\[Beginning of Model A's answer\]\n    (?P<first>.*)\n    \[End of Model A's answer\].*"
    r"\[Beginning of Model B's answer\]\n    (?P<second>.*)\n    \[End of Model B's answer\]",
    re.DOTALL,
)


def nouns_in(text: str) -> set[str]:
    """The world's nouns that a text names."""
    return {mention.noun for mention in find_nouns(text)}


def compare(text: str, rate: Rate) -> str | None:
    """A reply to one of this project's pairwise prompts; None for any other text, or one not about the world."""
    if (match := _LLAVA.fullmatch(text)) and match["rule"] == own_prompt("llava_bench_judge").template:
        ratings = _ratings(match, rate)
        if ratings is None:
            return None
        first, second = (1 + round(1.5 * rating) for rating in ratings)
        return f"{first} {second}\nThe first answer earns {ratings[0]} of 6 and the second {ratings[1]}."
    if own_prompt("refomb_overall").template in text and (match := _REFOMB.search(text)):
        ratings = _ratings(match, rate)
        if ratings is None:
            return None
        wrong = [len(nouns_in(match[side]) - nouns_in(match["truth"])) for side in ("first", "second")]
        return f"Hallucinations: A {wrong[0]}, B {wrong[1]}.\n\n{_verdict(ratings[0], ratings[1])}"
    if own_prompt("refomb_hallucination").template in text and (match := _FOUND.search(text)):
        return _verdict(-int(match[1]), -int(match[2]))
    return None


def _ratings(match: re.Match[str], rate: Rate) -> Sequence[int] | None:
    """How both answers are rated against the truth; None if it names nothing of the world."""
    present = nouns_in(match["truth"])
    if not present:
        return None
    return [rate(present, match["question"], match["truth"], match[side]) for side in ("first", "second")]


def _verdict(first: int, second: int) -> str:
    return "[[C]]" if first == second else "[[A]]" if first > second else "[[B]]"


def check(slots: Callable[[str, int], Sequence[str] | None]) -> str | None:
    """A reply to one of this project's two prompts for yes/no answers about figures; None for any other prompt.

    Args:
        slots: (name of an own prompt, number of its slots) -> what stands in them, or None.
    """
    asked = slots("hallusionbench_correctness", 3)
    if asked is not None:
        _, right, answer = asked
        said, truth = _COMMITS.match(answer), _COMMITS.match(right)
        if truth is None:
            return None
        if said is None:
            return "unclear"
        return "correct" if said[1].lower() == truth[1].lower() else "incorrect"
    both = slots("hallusionbench_same", 2)
    if both is None:
        return None
    words = [match[1].lower() if (match := _COMMITS.match(text)) else None for text in both]
    return "same" if words[0] == words[1] or None in words else "different"
