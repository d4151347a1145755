"""A judge by rules, for the miniature world alone: no model, no network, the same answer every time.

It knows the world's 28 nouns and reads the two prompts of this project: for Object HalBench it lists the nouns that a
response names; for MMHal-Bench it compares nouns, colours, numbers, places and yes/no with the labels and the human
answer in the prompt, and pairwise benchmarks get both answers rated that way. Real images hold far more than 28 kinds
of things, so anything else is refused.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache

from benchmarks.judges.comparison_rules import check, compare
from benchmarks.judges.prompts import own_prompt
from evalkit.engines.texts import TextEngine
from evalkit.errors import EngineError
from evalkit.miniature.lexicon import COLOURS, NOUNS, PLACES, find_nouns
from evalkit.miniature.questions import DESCRIBE_PROMPTS, LIST_PROMPT
from evalkit.sampling import Sampling
from evalkit.schema import Json, Prompt, Response

_WORLD_QUESTIONS = re.compile(
    r"What colour is the .+\?|Is there an? .+ in the image\?|Are there more .+ than .+\?|How many .+ are there\?"
    r"|What is next to the .+\?|Where was this picture taken\?"
)
_NEGATION = re.compile(r"\b(?:no|not|without|never|neither|none|nor)\b|n't\b", re.IGNORECASE)
_COLOUR = re.compile(rf"\b(?:{'|'.join(COLOURS)})\b", re.IGNORECASE)
_PLACE = re.compile(rf"\b(?:{'|'.join(PLACES)})\b", re.IGNORECASE)
_NUMBERS = {"1": "one", "2": "two", "3": "three", "4": "four"}
_NUMBER = re.compile(rf"\b(?:{'|'.join([*_NUMBERS, *_NUMBERS.values()])})\b", re.IGNORECASE)


class RulesJudge(TextEngine):
    """An engine that answers this project's judge prompts about the miniature world, and nothing else."""

    name = "rules"

    def describe(self) -> Mapping[str, Json]:
        """What the manifest records: that no model judged."""
        return {"engine": "rules", "model": "rules", "scope": "miniature", "version": 1}

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        """The same text for each of `sampling.n` samples.

        Raises:
            EngineError: for a prompt that is not about the miniature world.
        """
        for prompt in prompts:
            text = _reply(prompt)
            for sample in range(sampling.n):
                yield Response(prompt.id, text, sample, finish="stop")


def _reply(prompt: Prompt) -> str:
    extraction = _slots(own_prompt("object_halbench_extractor").template, ("{question}", "{answer}"), prompt.system)
    if extraction is not None and not prompt.text:
        question, answer = extraction
        if question not in DESCRIBE_PROMPTS:
            raise _foreign(f"the question {question[:60]!r}")
        return json.dumps(named_nouns(answer))
    rating = _slots(own_prompt("mmhal_judge").template, ("{}",) * 4, prompt.text)
    if rating is None:
        reply = compare(prompt.text, _rating_number) or check(
            lambda name, count: _slots(own_prompt(name).template, ("{}",) * count, prompt.text)
        )
        if reply is not None:
            return reply
        raise _foreign("a prompt that is not this project's own")
    labels, question, human_answer, response = rating
    present = set(filter(None, labels.split(", ")))
    if not present or not present <= set(NOUNS):
        raise _foreign(f"the labels {labels[:60]!r}")
    if question not in (*DESCRIBE_PROMPTS, LIST_PROMPT) and not _WORLD_QUESTIONS.fullmatch(question):
        raise _foreign(f"the question {question[:60]!r}")
    return rate(present, question, human_answer, response)


def _rating_number(present: set[str], question: str, truth: str, answer: str) -> int:
    """The number that `rate` ends with."""
    return int(rate(present, question, truth, answer).rpartition(" ")[2])


def _foreign(what: str) -> EngineError:
    return EngineError(f"the rules judge knows the miniature world only, not {what}; name a model with --judge")


def _slots(template: str, marks: Sequence[str], text: str | None) -> list[str] | None:
    """What stands in the slots of a filled template, None if the text was not made from it."""
    pieces: list[str] = []
    rest = template
    for mark in marks:
        piece, _, rest = rest.partition(mark)
        pieces.append(piece)
    if text is None or not text.startswith(pieces[0]) or not text.endswith(rest):
        return None
    text = text[len(pieces[0]) : len(text) - len(rest)]
    slots = []
    for piece in pieces[1:]:
        slot, separator, text = text.partition(piece)
        if not separator:
            return None
        slots.append(slot)
    return [*slots, text]


def named_nouns(text: str) -> list[str]:
    """The world's nouns that a text asserts, each once, in order; those after a negation in their sentence don't count.

    >>> named_nouns("There are two dogs and a bike. There is no cat.")
    ['dog', 'bicycle']
    """
    names = [
        mention.noun
        for sentence in _sentences(text)
        for mention in find_nouns(sentence)
        if not _NEGATION.search(sentence, 0, mention.start)
    ]
    return list(dict.fromkeys(names))


def rate(present: set[str], question: str, human_answer: str, response: str) -> str:
    """A judge's text for one response: a sentence of explanation and "Rating: N".

    Args:
        present: nouns in the image.
    """
    false_nouns = [noun for noun in named_nouns(response) if noun not in present]
    truth, stated = _facts(question, human_answer), _facts(question, response)
    wrong = [f"names a {noun}, which is not there" for noun in false_nouns]
    wrong += [
        f"says {', '.join(sorted(said))}, not {', '.join(sorted(right))}" for said, right in _conflicts(truth, stated)
    ]
    expected = set().union(*truth.values())
    covered = expected & set().union(*stated.values())
    level = 0 if not covered else 2 if covered == expected else 1
    explanation = f"The response {' and '.join(wrong)}." if wrong else "The response claims nothing false."
    return f"{explanation} It gives {len(covered)} of {len(expected)} facts.\n\nRating: {level if wrong else level + 3}"


def _conflicts(truth: Mapping[str, set[str]], stated: Mapping[str, set[str]]) -> Iterator[tuple[set[str], set[str]]]:
    """What the response says of a kind of fact where the truth is another; nouns are compared with the labels."""
    for kind in truth:
        if kind != "nouns" and truth[kind] and stated[kind] - truth[kind]:
            yield stated[kind] - truth[kind], truth[kind]


@cache
def _asked_kinds(question: str) -> frozenset[str]:
    """Which kinds of facts answer a question of the world."""
    if question.startswith(("Is there", "Are there")):
        return frozenset({"yes/no"})
    if question.startswith("What colour"):
        return frozenset({"colours"})
    if question.startswith("How many"):
        return frozenset({"numbers"})
    if question.startswith("Where"):
        return frozenset({"places"})
    return frozenset({"nouns"}) | (frozenset({"places"}) if question in DESCRIBE_PROMPTS else frozenset())


def _facts(question: str, text: str) -> dict[str, set[str]]:
    """Facts of the kinds that the question asks for."""
    facts = {
        "yes/no": _yes_no(text),
        "colours": _lowered(_COLOUR.findall(text)),
        "numbers": {_NUMBERS.get(number, number) for number in _lowered(_NUMBER.findall(text))},
        "places": _lowered(_PLACE.findall(text)),
        "nouns": set(named_nouns(text)),
    }
    return {kind: facts[kind] for kind in facts if kind in _asked_kinds(question)}


def _yes_no(text: str) -> set[str]:
    first = re.match(r"\W*(yes|no)\b", text, re.IGNORECASE)
    if first:
        return {first[1].lower()}
    return {"no"} if _NEGATION.search(text) else {"yes"} if re.match(r"\s*there (?:is|are)\b", text, re.I) else set()


def _lowered(words: Iterable[str]) -> set[str]:
    return {word.lower() for word in words}


def _sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.!?])\s+|\n+", text)
