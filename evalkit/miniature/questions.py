"""Prompts and questions about a scene, with their true answers.

Existence ("Is there a dog in the image?") is what the tiny model learns well. Colour, count, action and neighbour
questions exist so that every official file format can be filled; the tiny model answers them little better than chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from evalkit.miniature.captions import LEADS, join_phrases, phrase
from evalkit.miniature.lexicon import ACTIONS_OF, COLOURS_OF, NOUNS, PLACES, expected_nouns, plural, with_article
from evalkit.miniature.scenes import Group, Scene

# The first three are what CHAIR, AMBER and MMHal-Bench ask; the rest stand in for Object HalBench's eight phrasings.
DESCRIBE_PROMPTS = (
    "Please describe this image in detail.",
    "Describe this image.",
    "Describe the image in detail.",
    "Describe the image.",
    "What is in this image? Please describe it in detail.",
    "Please give a detailed description of the image.",
    "What does this image show? Please describe it.",
    "Please tell me what is in the image in detail.",
)
DETAIL_PROMPTS = tuple(prompt for prompt in DESCRIBE_PROMPTS if "detail" in prompt)
LIST_PROMPT = "List the objects."
_COUNT_WORDS = {1: "one", 2: "two"}


@dataclass(frozen=True)
class Question:
    """A question about a scene and its true answer."""

    text: str
    answer: str


def existence_question(noun: str, image: str = "the image") -> str:
    """ "Is there a dog in the image?"; `image` is "the image" (POPE) or "this image" (AMBER)."""
    return f"Is there {with_article(noun)} in {image}?"


def ask_existence(scene: Scene, noun: str, image: str = "the image") -> Question:
    return Question(existence_question(noun, image), _yes_or_no(noun in scene.nouns))


def tempting_absent(scene: Scene) -> list[str]:
    """Absent nouns of the scene's place, the expected ones first."""
    return [noun for noun in PLACES[scene.place] if noun not in scene.nouns]


def absent_nouns(scene: Scene) -> list[str]:
    return [noun for noun in NOUNS if noun not in scene.nouns]


def list_question(scene: Scene) -> Question:
    return Question(LIST_PROMPT, ", ".join(sorted(scene.nouns)) + ".")


def facts_text(groups: Sequence[Group]) -> str:
    """True statements about an image in words, to stand before a question: "Facts: two dogs, a red kite."."""
    return "Facts: " + ", ".join(phrase(group) for group in groups) + "."


def ask_colour(scene: Scene, rng: Random) -> list[Question]:
    """A true and a false yes/no question about one coloured thing; empty if there is none."""
    coloured = [group for group in scene.groups if group.colour]
    if not coloured:
        return []
    group = rng.choice(coloured)
    other = rng.choice([colour for colour in COLOURS_OF[group.noun] if colour != group.colour])
    return [
        Question(f"Is the {group.noun} {colour} in this image?", _yes_or_no(colour == group.colour))
        for colour in (group.colour, other)
    ]


def ask_number(scene: Scene, rng: Random) -> list[Question]:
    """A true and a false yes/no question about how many there are of one thing."""
    group = rng.choice(scene.groups)
    return [
        Question(f"Are there two {plural(group.noun)} in this image?", _yes_or_no(group.count == 2)),
        Question(f"Is there only one {group.noun} in this image?", _yes_or_no(group.count == 1)),
    ]


def ask_action(scene: Scene, rng: Random) -> list[Question]:
    """A true and a false yes/no question about what an animal or person does; empty if there is none."""
    actors = [group.noun for group in scene.groups if group.noun in ACTIONS_OF]
    if not actors:
        return []
    noun = rng.choice(actors)
    true_action, false_action = ACTIONS_OF[noun]
    return [
        Question(f"Does the {noun} {true_action} in this image?", "Yes"),
        Question(f"Does the {noun} {false_action} in this image?", "No"),
    ]


def ask_neighbours(scene: Scene) -> list[Question]:
    """For every pair of kinds: does one stand in a cell beside, above or below the other?"""
    pairs = [(a, b) for a in scene.groups for b in scene.groups if a.noun < b.noun]
    return [
        Question(f"Is the {a.noun} next to the {b.noun} in this image?", _yes_or_no(are_neighbours(scene, a, b)))
        for a, b in pairs
    ]


def are_neighbours(scene: Scene, a: Group, b: Group) -> bool:
    return b.noun in scene.beside(a.noun)


def ask_open(kind: str, scene: Scene, rng: Random) -> Question:
    """One question of an MMHal-Bench type ("attribute", "adversarial", ...), answered in a sentence."""
    return _OPEN_QUESTIONS[kind](scene, rng)


def _attribute(scene: Scene, rng: Random) -> Question:
    coloured = [group for group in scene.groups if group.colour]
    if not coloured:
        return _counting(scene, rng)
    group = rng.choice(coloured)
    subject = f"The {group.noun} is" if group.count == 1 else f"The {plural(group.noun)} are"
    return Question(f"What colour is the {group.noun}?", f"{subject} {group.colour}.")


def _adversarial(scene: Scene, rng: Random) -> Question:
    expected_absent = [noun for noun in expected_nouns(scene.place) if noun not in scene.nouns]
    noun = rng.choice(expected_absent or tempting_absent(scene) or absent_nouns(scene))
    return Question(existence_question(noun, "the image"), "No")


def _comparison(scene: Scene, rng: Random) -> Question:
    a, b = rng.sample(scene.groups, 2) if len(scene.groups) > 1 else (scene.groups[0], scene.groups[0])
    return Question(f"Are there more {plural(a.noun)} than {plural(b.noun)}?", _yes_or_no(a.count > b.count))


def _counting(scene: Scene, rng: Random) -> Question:
    group = rng.choice(scene.groups)
    verb, name = ("is", group.noun) if group.count == 1 else ("are", plural(group.noun))
    return Question(f"How many {plural(group.noun)} are there?", f"There {verb} {_COUNT_WORDS[group.count]} {name}.")


def _relation(scene: Scene, rng: Random) -> Question:
    pairs = [(a, b) for a in scene.groups for b in scene.groups if a != b and are_neighbours(scene, a, b)]
    if not pairs:
        return _counting(scene, rng)
    a, _ = rng.choice(pairs)
    beside = [b for first, b in pairs if first == a]
    return Question(f"What is next to the {a.noun}?", f"There is {join_phrases([phrase(b) for b in beside])}.")


def _environment(scene: Scene, rng: Random) -> Question:
    return Question("Where was this picture taken?", f"This is {with_article(scene.place)}.")


def _holistic(scene: Scene, rng: Random) -> Question:
    everything = join_phrases([phrase(group) for group in scene.groups])
    return Question("Describe the image in detail.", f"{LEADS[0]} {with_article(scene.place)} with {everything}.")


def _other(scene: Scene, rng: Random) -> Question:
    return list_question(scene)


_OPEN_QUESTIONS = {
    "attribute": _attribute,
    "adversarial": _adversarial,
    "comparison": _comparison,
    "counting": _counting,
    "relation": _relation,
    "environment": _environment,
    "holistic": _holistic,
    "other": _other,
}
OPEN_KINDS = tuple(_OPEN_QUESTIONS)  # in MMHal-Bench's order: question i is of kind i mod 8


def _yes_or_no(truth: bool) -> str:
    return "Yes" if truth else "No"
