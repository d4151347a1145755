"""Captions of a scene, true or with planted noise; a small grammar that reads them back, corrects and divides them.

    The image shows a kitchen with an apple and two red cups. There is a bowl. You can also see a clock.

Things are mentioned in alphabetical order. Noise: an expected noun that is absent is mentioned anyway, at its place in
the alphabet and worded like a true one, and now and then a true thing is left out. How a mention is worded says nothing
about its truth: only the noun and the place make it likelier to be false, and only the image tells. The noise of the
first expected noun has a probability above one half, so that greedy decoding of a trained model shows it.

Captions can state neighbours too ("There is a bowl next to the apple."): what stands in a cell beside, above or below.
The demo's captions do not, see `aligners.miniature.base.NEIGHBOURS`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

from evalkit.miniature.lexicon import COLOURS, COLOURS_OF, NOUNS, PLACES, find_nouns, plural, with_article
from evalkit.miniature.scenes import GRID, P_PAIR, Group, Scene

LEADS = ("The image shows", "This is a picture of")
_PLAIN, _ALSO, _BACKGROUND = "There", "You can also see", "In the background, there"

NEXT_TO = "next to the"

_P_MENTION_ABSENT = (0.8, 0.25, 0.1)  # of the first, second, third expected noun of the place
_MAX_ABSENT_MENTIONS = 2
_P_OMIT = 0.08
_LEAD_SIZES = (1, 2, 2, 3)  # groups in the first sentence; 1 and 3 as well, so that a corrected lead is an ordinary one
_OPENINGS = (_PLAIN, _PLAIN, _ALSO, _BACKGROUND)
_P_HUMAN_OMITS = 0.25


@dataclass(frozen=True)
class Sentence:
    """One sentence of a caption: how it opens, the place it names (the first sentence alone), what it mentions.

    Any other sentence may say what its thing is next to: `beside`, a noun.
    """

    opening: str
    groups: tuple[Group, ...]
    place: str | None = None
    beside: str | None = None

    def __str__(self) -> str:
        phrases = join_phrases([phrase(group) for group in self.groups])
        if self.place is not None:
            return f"{self.opening} {with_article(self.place)} with {phrases}."
        if self.beside is not None:
            phrases += f" {NEXT_TO} {self.beside}"
        if self.opening == _ALSO:
            return f"{self.opening} {phrases}."
        return f"{self.opening} {'are' if self.groups[0].count > 1 else 'is'} {phrases}."


@dataclass(frozen=True)
class Claim:
    """One checkable statement of a caption: that a noun is in the image. The span is the noun's first mention."""

    start: int
    end: int
    noun: str

    @property
    def statement(self) -> str:
        return f"There is {with_article(self.noun)} in the image."

    @property
    def question(self) -> str:
        return f"Is there {with_article(self.noun)} in the image?"


def phrase(group: Group) -> str:
    """ "a red cup", "two dogs"."""
    colour = f"{group.colour} " if group.colour else ""
    return f"two {colour}{plural(group.noun)}" if group.count == 2 else with_article(colour + group.noun)


def join_phrases(phrases: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return ", ".join(phrases[:-1]) + " and " + phrases[-1] if len(phrases) > 1 else phrases[0]


def true_caption(scene: Scene, rng: Random, neighbours: float = 0.0) -> str:
    """A caption that mentions everything in the scene and nothing else.

    Args:
        neighbours: the probability that a thing with an earlier mention beside it is said to be next to it.
    """
    return write(_compose(scene, list(scene.groups), [], rng, neighbours))


def noisy_caption(scene: Scene, rng: Random, neighbours: float = 0.0) -> str:
    """A caption as a careless person writes it: absent expected nouns mentioned, true things now and then left out."""
    present = [group for group in scene.groups if rng.random() > _P_OMIT] or [scene.groups[0]]
    return write(_compose(scene, present, _absent_mentions(scene, rng), rng, neighbours))


def human_captions(scene: Scene, rng: Random, n: int = 5, neighbours: float = 0.0) -> list[str]:
    """Independent true captions; like people, each leaves some things out."""
    captions = []
    for _ in range(n):
        seen = [group for group in scene.groups if rng.random() > _P_HUMAN_OMITS] or [scene.groups[0]]
        captions.append(write(_compose(scene, seen, [], rng, neighbours)))
    return captions


def _absent_mentions(scene: Scene, rng: Random) -> list[Group]:
    probability = dict(zip(PLACES[scene.place], _P_MENTION_ABSENT, strict=False))
    nouns = [noun for noun in scene.absent_expected if rng.random() < probability[noun]]
    return [
        Group(
            noun,
            rng.choice(COLOURS_OF[noun]) if noun in COLOURS_OF else None,
            2 if rng.random() < P_PAIR else 1,
        )
        for noun in nouns[:_MAX_ABSENT_MENTIONS]
    ]


def _compose(
    scene: Scene, present: list[Group], absent: list[Group], rng: Random, neighbours: float = 0.0
) -> list[Sentence]:
    """Sentences that mention all groups in alphabetical order; wording and order are drawn without regard to truth.

    An absent thing stands in an imagined cell, so that it is said to be next to something as often as a true one.
    """
    groups = sorted([*present, *absent], key=lambda group: group.noun)
    size = rng.choice(_LEAD_SIZES)
    lead = Sentence(rng.choice(LEADS), tuple(groups[:size]), scene.place)
    rest = [Sentence(rng.choice(_OPENINGS), (group,)) for group in groups[size:]]
    if neighbours:
        for number, group in enumerate(groups[size:]):
            near = scene.around([rng.randrange(GRID * GRID)]) if group in absent else scene.beside(group.noun)
            before = [one.noun for one in groups[: size + number] if one.noun in near]
            if before and rng.random() < neighbours:
                rest[number] = replace(rest[number], beside=rng.choice(before))
    return [lead, *rest]


def write(sentences: Iterable[Sentence]) -> str:
    """The text of a caption."""
    return " ".join(map(str, sentences))


def read_sentence(text: str) -> Sentence | None:
    """Parse one sentence; None if it is not one this grammar writes."""
    match = _sentence_pattern().fullmatch(text)
    if match is None:
        return None
    groups = tuple(_read_phrase(part) for part in re.split(r", | and ", match["phrases"]))
    opening = match["lead"] or match["also"] or match["there"]
    sentence = Sentence(opening, groups, match["place"], match["beside"])
    return sentence if str(sentence) == text else None  # "a apple" and "There is two dogs" don't survive the round trip


def split_sentences(text: str) -> list[str]:
    """Sentences of a caption, each with its full stop."""
    return [part.strip() for part in re.findall(r"[^.]+\.?", text) if part.strip()]


def fluent(text: str) -> bool:
    """Whether a text is a caption of this grammar: a first sentence naming a place, then others, none three times.

    A sentence said twice is clumsy, not broken; a loop is.
    """
    parts = split_sentences(text.strip())
    sentences = [read_sentence(part) for part in parts]
    if not sentences or any(sentence is None for sentence in sentences) or any(parts.count(part) > 2 for part in parts):
        return False
    names_place = [sentence is not None and sentence.place is not None for sentence in sentences]
    return names_place[0] and not any(names_place[1:])


def correct(caption: str, scene: Scene, counts: bool = True, neighbours: bool = True) -> str:
    """The caption with its errors removed, as an annotator who sees the scene would: nothing true is added.

    Mentions of absent nouns go, wrong colours, counts and places are set right, repeated mentions go, and so do
    sentences that cannot be read. If the first sentence loses all its mentions, the next true thing moves into it.
    Where a thing is not next to what it is said to be, the first earlier mention that it is next to takes its place, or
    nothing does.

    Args:
        counts: without, numbers stay as they were said.
        neighbours: without, so do neighbours, unless a mention goes.
    """
    truth = {group.noun: group for group in scene.groups}
    seen: set[str] = set()
    sentences: list[Sentence] = []
    for sentence in filter(None, map(read_sentence, split_sentences(caption))):
        kept = []
        for group in sentence.groups:
            if group.noun in truth and group.noun not in seen:
                seen.add(group.noun)
                true = truth[group.noun]
                kept.append(true if counts else replace(true, count=group.count))
        if kept or sentence.place is not None:
            sentences.append(replace(sentence, groups=tuple(kept)))
    return write(_neighbours_set_right(_repair_lead(sentences, scene), scene, neighbours))


def _neighbours_set_right(sentences: Sequence[Sentence], scene: Scene, all_of_them: bool) -> Iterator[Sentence]:
    """`beside` names an earlier mention, and one that is a neighbour if wrong ones go too."""
    before: list[str] = []
    for sentence in sentences:
        if sentence.beside is not None:
            near = scene.beside(sentence.groups[0].noun)
            right = sentence.beside in before and (sentence.beside in near or not all_of_them)
            other = next((noun for noun in before if noun in near), None)
            sentence = sentence if right else replace(sentence, beside=other)
        before += [group.noun for group in sentence.groups]
        yield sentence


def complete(caption: str, scene: Scene) -> str:
    """The corrected caption, with a plain sentence for every thing it left out, before the next one in the alphabet."""
    sentences = list(filter(None, map(read_sentence, split_sentences(correct(caption, scene)))))
    mentioned = {group.noun for sentence in sentences for group in sentence.groups}
    for group in scene.groups:
        if group.noun not in mentioned:
            place = next(
                (i for i, one in enumerate(sentences) if i and one.groups[0].noun > group.noun), len(sentences)
            )
            sentences.insert(place, Sentence(_PLAIN, (group,)))
    return write(sentences)


def omissible(caption: str) -> list[str]:
    """Nouns whose mention can be left out of a caption without emptying its first sentence."""
    lead, *rest = ([claim.noun for claim in claims(sentence)] for sentence in split_sentences(objects_only(caption)))
    return [noun for nouns in ([lead] if len(lead) > 1 else []) + rest for noun in nouns]


def leave_out(caption: str, noun: str) -> str:
    """The caption without its mention of a noun, nor of what is next to it; a sentence without another mention goes."""
    sentences = []
    for sentence in filter(None, map(read_sentence, split_sentences(caption))):
        groups = tuple(group for group in sentence.groups if group.noun != noun)
        if groups:
            beside = None if sentence.beside == noun else sentence.beside
            sentences.append(replace(sentence, groups=groups, beside=beside))
    return write(sentences)


def objects_only(caption: str) -> str:
    """The caption without what it says of neighbours: every thing is then named where it is mentioned, and not again.

    >>> objects_only("There is a bowl next to the apple. There is a cup.")
    'There is a bowl. There is a cup.'
    """
    return _neighbour_pattern().sub("", caption)


def _repair_lead(sentences: list[Sentence], scene: Scene) -> list[Sentence]:
    lead = next((sentence for sentence in sentences if sentence.place is not None), None)
    rest = [sentence for sentence in sentences if sentence.place is None]
    groups = lead.groups if lead else ()
    if not groups:
        groups = rest.pop(0).groups if rest else scene.groups[:1]
    return [Sentence(lead.opening if lead else LEADS[0], groups, scene.place), *rest]


def claims(caption: str) -> list[Claim]:
    """The object claims of any text, one for each noun, in order of first mention."""
    first: dict[str, Claim] = {}
    for mention in find_nouns(caption):
        first.setdefault(mention.noun, Claim(mention.start, mention.end, mention.noun))
    return list(first.values())


def is_true(claim: Claim, scene: Scene) -> bool:
    """Whether a claim holds for a scene."""
    return claim.noun in scene.nouns


def _read_phrase(text: str) -> Group:
    words = text.split(" ")
    count, words = (2 if words[0] == "two" else 1), words[1:]
    colour = words.pop(0) if words[0] in COLOURS else None
    name = " ".join(words)
    noun = next(noun for noun in NOUNS if name == (plural(noun) if count == 2 else noun))
    return Group(noun, colour, count)


@cache
def _neighbour_pattern() -> re.Pattern[str]:
    return re.compile(f" {NEXT_TO} (?:{'|'.join(sorted(map(re.escape, NOUNS), key=len, reverse=True))})\\b")


@cache
def _sentence_pattern() -> re.Pattern[str]:
    def choice(words: Iterable[str]) -> str:
        return "(?:" + "|".join(re.escape(word) for word in sorted(words, key=lambda word: (-len(word), word))) + ")"

    one = f"an? (?:{choice(COLOURS)} )?{choice(NOUNS)}"
    two = f"two (?:{choice(COLOURS)} )?{choice(map(plural, NOUNS))}"
    thing = f"(?:{one}|{two})"
    phrases = f"(?P<phrases>{thing}(?:, {thing})*(?: and {thing})?)"
    lead = f"(?P<lead>{choice(LEADS)}) an? (?P<place>{choice(PLACES)}) with"
    there = f"(?P<there>{choice((_PLAIN, _BACKGROUND))}) (?:is|are)"
    beside = f"(?: {NEXT_TO} (?P<beside>{choice(NOUNS)}))?"
    return re.compile(f"(?:{lead}|(?P<also>{_ALSO})|{there}) {phrases}{beside}\\.")
