"""Divide: a response into claims, each with a polar (yes/no) question (RLAIF-V, arXiv:2405.17220).

The paper fine-tuned two language models for this: one lists the facts of a response, one turns each fact into a
question. Here either any engine does it (requests and parsers below, wording our own) or `split_claims`, rules for
plain English descriptions that need no model. Both keep negation and tense: "no people are visible" asks "Are no people
visible?", and the claim holds if the answer is yes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ClaimKind = Literal["existence", "count", "location", "statement", "answer"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One checkable statement of a response and the polar question that checks it."""

    text: str
    question: str
    kind: ClaimKind = "statement"


# --- by a model ---------------------------------------------------------------------------------------------------


def facts_request(question: str, response: str) -> str:
    """Prompt that asks a language model for the claims of a response, as a list."""
    return (
        "Below are a question about an image and an answer to it. List every fact that the answer states about the "
        "image, one short sentence each, understandable on its own (name things, use no pronouns). Leave out opinions "
        "and guesses about mood.\n"
        "Write the list and nothing else, each line beginning with '- '.\n\n"
        f"Question: {question}\nAnswer: {response}\n\n### Facts:"
    )


def questions_request(claims: Sequence[str]) -> str:
    """Prompt that asks a language model to turn each claim into a polar question, in order."""
    listed = "\n".join(f"- {claim}" for claim in claims)
    return (
        "Turn each statement into a question that can be answered with yes or no, so that 'yes' confirms it. "
        "Keep its tense and every negation, add nothing.\n"
        "Write one question per statement in the same order, each line beginning with '- '.\n\n"
        f"### Statements:\n{listed}\n\n### Questions:"
    )


_BULLET = re.compile(r"^\s*(?:[-*•–]|\d+[.)](?!\d))\s*")


def parse_list(reply: str) -> list[str]:
    """Entries of a list reply: bullets and numbers removed; headings, blank lines and repeated entries dropped.

    If any line has a bullet, lines without one are talk around the list and dropped as well.
    """
    lines = [line for line in reply.splitlines() if line.strip() and "###" not in line]
    bulleted = [line for line in lines if _BULLET.match(line)]
    entries = (_BULLET.sub("", line).strip() for line in bulleted or lines)
    return list(dict.fromkeys(entry for entry in entries if entry))


def parse_list_as_released(reply: str) -> list[str]:
    """Entries of a list reply as RLAIF-V's released code reads them.

    Every line without "###" loses its first character whatever it is, so a line without a bullet loses a letter.
    """
    lines = reply.strip().split("\n")
    return [line[1:].strip() for line in lines if line and "###" not in line]


def join_questions(claims: Sequence[str], questions: Sequence[str]) -> list[Claim] | None:
    """Claims with the questions a model wrote for them; None if their numbers differ (nothing can be matched then)."""
    if len(claims) != len(questions):
        return None
    return [Claim(text, question) for text, question in zip(claims, questions, strict=True)]


# --- by rules -----------------------------------------------------------------------------------------------------

_COUNTS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "several", "many", "multiple", "few"]
_DETERMINER = rf"(?:an?|some|another|one|{'|'.join(_COUNTS)})"
_AUXILIARIES = frozenset(
    {"is", "are", "was", "were", "can", "could", "has", "have", "had", "does", "do", "did", "will", "would"}
)

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_OPINION = re.compile(
    r"\b(I|we|overall|atmosphere|ambian?ce|mood|feeling|sense of|reminds?|perhaps|maybe|possibly|likely|"
    r"suggest(?:s|ing)?|might|may)\b",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(
    r"^(?:yes|no|in the (?:image|picture|photo|scene)|in addition(?: to that)?|additionally|also|furthermore|moreover|"
    r"finally|meanwhile)\s*,\s*",
    re.IGNORECASE,
)
# what only another sentence says: "it", "one closer to the left", "some of them"
_PRONOUN = re.compile(
    r"^(?:(?:he|she|it|they)\b|(?:this|that|these|those|both|each|others?|the others?)\s+"
    r"(?:is|are|was|were|can|could|has|have|had|does|do|did|will|would|seems?|appears?|looks?)\b)",
    re.IGNORECASE,
)
_PARTITIVE = re.compile(
    r"^(?:one|some|another|others?|the others?|both|each|several|many|a few|most)\s+"
    r"(?:of (?:them|which|whom)|closer|nearer|further|farther|on|in|at|near|to|with|behind|is|are|visible|\w+ing)\b",
    re.IGNORECASE,
)
_PLACE_FIRST = re.compile(
    r"^(?P<place>(?:in|on|at|near|behind|next to|under|above)\b[^,]*?)"
    r"(?:\s*,\s*|\s+(?=there (?:is|are)\b))(?P<rest>.+)$",
    re.IGNORECASE,
)
_IN_THE_IMAGE = re.compile(r"in the (?:image|picture|photo|scene)", re.IGNORECASE)
_PLURAL = re.compile(r"people|men|women|children|\w{2,}[^su\W]s", re.IGNORECASE)
_PICTURE = re.compile(
    r"^(?:the|this) (?:image|picture|photo|scene)(?: \w+ly)? "
    r"(?:shows|features|depicts|contains|includes|captures)\s+(?P<nouns>.+)$"
    r"|^this is (?:a|an) (?:image|picture|photo) of\s+(?P<of>.+)$"
    r"|^(?:you|one) can (?:also )?see\s+(?P<see>.+)$"
    r"|^there (?:is|are|was|were)(?: also)?\s+(?P<there>(?!no\b|not\b).+)$",
    re.IGNORECASE,
)
_NEXT_NOUN = re.compile(
    rf"\s*,\s*(?:and\s+)?(?={_DETERMINER}\b)|\s*,?\s+(?:and|with)\s+(?={_DETERMINER}\b)", re.IGNORECASE
)
_NEXT_CLAUSE = re.compile(r"\s*;\s*|\s*,?\s+while\s+|\s*,\s+and\s+(?=(?:the|there|it|they)\b)", re.IGNORECASE)
_PLACE_LAST = re.compile(
    r"^(?P<noun>.+?)\s+(?P<place>(?:on|in|at|to|near|next to|behind|under|above|beside|in front of)\s+"
    r"(?:the|a|an|front|it|them)\b.*)$",
    re.IGNORECASE,
)


def split_claims(response: str) -> list[Claim]:
    """Claims of an English description by rules: existence, number, place and plain statements, in reading order.

    "The image shows a kitchen with two cups and a chair on the left." gives: a kitchen exists; two cups; a chair
    exists; the chair is on the left. Opinions and guesses are left out; repeated claims count once. So are statements
    about "it", "they" or "one of them": these rules do not know what another sentence speaks of, and the labeler is
    asked each question by itself.
    """
    claims: list[Claim] = []
    for sentence in _SENTENCE_END.split(response):
        plain = _LEAD_IN.sub("", _BULLET.sub("", sentence).strip().rstrip(".!?").strip())
        if plain and not _OPINION.search(plain):
            for clause in _NEXT_CLAUSE.split(plain):
                claims += _clause_claims(clause.strip())
    return list({claim.question: claim for claim in claims}.values())


def answer_claim(question: str, response: str) -> Claim | None:
    """The claim of an answer too short to state anything by itself ("Red.", "Two", "No"); None for a longer one.

    Half of RLAIF-V's prompts are questions; the claim of a bare answer is that it is right.
    """
    words = response.strip().rstrip(".!?").split()
    if not 0 < len(words) <= 3 or not question.strip():
        return None
    answer, asked = " ".join(words), " ".join(question.split())
    return Claim(f'"{asked}" "{answer}"', f'To the question "{asked}", is "{answer}" the right answer?', "answer")


def polar_question(statement: str) -> str:
    """Yes/no question that is true exactly if the statement is: "The cup is red." -> "Is the cup red?"

    Statements whose verb cannot be moved to the front by these rules become "Is it true that ...?".
    """
    words = statement.strip().rstrip(".!?").split()
    for i, word in enumerate(words):
        verb = word.lower()
        if verb in ("who", "which", "that", "where"):
            break
        if verb in _AUXILIARIES and 0 < i < len(words) - 1:
            subject, rest = _lower_first(words[:i]), words[i + 1 :]
            if verb in ("has", "have", "had") and not rest[0].endswith(("ed", "en")):
                front = {"has": "Does", "have": "Do", "had": "Did"}[verb]
                return f"{front} {' '.join([*subject, 'have', *rest])}?"
            return f"{verb.capitalize()} {' '.join([*subject, *rest])}?"
    return f"Is it true that {' '.join(_lower_first(words))}?"


def _clause_claims(clause: str) -> list[Claim]:
    moved = _PLACE_FIRST.match(clause)
    if moved:  # "On the table, there is a cup" -> "there is a cup on the table"
        clause = f"{moved['rest']} {' '.join(_lower_first(moved['place'].split()))}"
    listed = _PICTURE.match(clause)
    if listed is None:
        if _PRONOUN.match(clause):
            return []
        text = f"{clause[:1].upper()}{clause[1:]}."
        return [Claim(text, polar_question(clause))] if len(clause.split()) > 2 else []
    nouns = next(group for group in listed.groups() if group)
    things = (noun.strip(" ,") for noun in _NEXT_NOUN.split(nouns))
    return [claim for thing in things if not _PARTITIVE.match(thing) for claim in _noun_claims(thing)]


def _noun_claims(noun: str) -> list[Claim]:
    """What a noun phrase says: "two cups on the table" -> there are two cups; the cups are on the table."""
    placed = _PLACE_LAST.match(noun)
    thing = placed["noun"] if placed else noun
    if not thing:
        return []
    first, *rest = thing.split()
    counted = first.lower() in _COUNTS
    bare_plural = not re.fullmatch(_DETERMINER, first, re.IGNORECASE) and _PLURAL.fullmatch([first, *rest][-1])
    verb = "are" if counted or first.lower() == "some" or bare_plural else "is"
    claims = [
        Claim(
            f"There {verb} {thing}.",
            f"{verb.capitalize()} there {thing} in the image?",
            "count" if counted else "existence",
        )
    ]
    if placed and rest and not _IN_THE_IMAGE.fullmatch(placed["place"]):
        named = " ".join(rest if re.fullmatch(_DETERMINER, first, re.IGNORECASE) else [first, *rest])
        claims.append(
            Claim(
                f"The {named} {verb} {placed['place']}.",
                f"{verb.capitalize()} the {named} {placed['place']}?",
                "location",
            )
        )
    return claims


def _lower_first(words: Sequence[str]) -> list[str]:
    """Lower-case a sentence's first word if it is an article or the like; a name keeps its capital."""
    first, *rest = words
    common = re.fullmatch(
        rf"{_DETERMINER}|the|this|that|these|those|there|it|they|he|she|his|her|its|their|no|all|both|each|every|most|in|"
        r"on|at|near|behind|next|under|above|to",
        first,
        re.IGNORECASE,
    )
    return [first.lower() if common else first, *rest]
