"""Captions: what they say, how they are read back, corrected and divided into claims."""

from itertools import islice
from random import Random

import pytest

from evalkit.miniature.captions import (
    claims,
    complete,
    correct,
    fluent,
    human_captions,
    is_true,
    leave_out,
    noisy_caption,
    objects_only,
    omissible,
    true_caption,
)
from evalkit.miniature.lexicon import NOUNS, SYNONYMS_OF, find_nouns, plural, synonyms_text, with_article
from evalkit.miniature.neighbours import holds, neighbour_statements
from evalkit.miniature.scenes import Scene, Thing, scenes_of

SCENES = list(islice(scenes_of("train", 1), 300))
KITCHEN = Scene(
    "kitchen",
    (
        Thing("apple", None, 0, 0, 0),
        Thing("cup", "red", 1, 0, 0),
        Thing("cup", "red", 2, 0, 0),
        Thing("bowl", None, 3, 0, 0),
    ),
)


@pytest.mark.parametrize(
    ("text", "is_fluent"),
    [
        ("The image shows a kitchen with an apple and two red cups. There is a bowl.", True),
        ("This is a picture of a living room with a cat, a red book and a tv.", True),
        ("The image shows a park with a dog. In the background, there are two red kites.", True),
        ("", False),
        (".", False),
        ("There is a bowl.", False),
        ("The image shows a kitchen with a apple.", False),
        ("The image shows a kitchen with an apple. There are a bowl.", False),
        ("The image shows a kitchen with an apple. There is a bowl. There is a bowl.", True),
        ("The image shows a kitchen with an apple." + " There is a bowl." * 3, False),
        ("The image shows a kitchen with an apple. There is a", False),
        ("The image shows a kitchen with an apple. The image shows a park with a dog.", False),
        ("The image shows a kitchen with two apple.", False),
        ("The image shows a kitchen with an apple. There are two red cups next to the apple.", True),
        ("The image shows a kitchen with an apple next to the bowl.", False),
        ("The image shows a kitchen with an apple. There is a bowl next to an apple.", False),
    ],
)
def test_fluent(text, is_fluent):
    assert fluent(text) is is_fluent


@pytest.mark.parametrize(
    ("caption", "corrected"),
    [
        (
            "The image shows a kitchen with an apple and a dining table. There are two red cups.",
            "The image shows a kitchen with an apple. There are two red cups.",
        ),
        (
            "The image shows a kitchen with an apple. In the background, there is a dining table.",
            "The image shows a kitchen with an apple.",
        ),
        ("The image shows a park with a blue cup.", "The image shows a kitchen with two red cups."),
        (
            "This is a picture of a kitchen with a chair. There is a bowl. There is an apple.",
            "This is a picture of a kitchen with a bowl. There is an apple.",
        ),
        ("The image shows a kitchen with a bowl. You can also see a bowl.", "The image shows a kitchen with a bowl."),
        ("The image shows a kitchen with a bowl. Nonsense here.", "The image shows a kitchen with a bowl."),
        ("", "The image shows a kitchen with an apple."),
    ],
)
def test_correct_removes_what_is_untrue_and_adds_nothing(caption, corrected):
    assert correct(caption, KITCHEN) == corrected


# apple - cup - cup
# bowl
@pytest.mark.parametrize(
    ("caption", "corrected"),
    [
        (
            "The image shows a kitchen with an apple. There is a bowl next to the apple.",
            "The image shows a kitchen with an apple. There is a bowl next to the apple.",
        ),
        (
            "The image shows a kitchen with two red cups. There is a bowl next to the cup.",
            "The image shows a kitchen with two red cups. There is a bowl.",
        ),
        (
            "The image shows a kitchen with an apple and two red cups. You can also see a bowl next to the cup.",
            "The image shows a kitchen with an apple and two red cups. You can also see a bowl next to the apple.",
        ),
        (
            "The image shows a kitchen with an apple. There is a dog. There are two red cups next to the dog.",
            "The image shows a kitchen with an apple. There are two red cups next to the apple.",
        ),
        (
            "The image shows a kitchen with an apple. There is a dog next to the apple. There is a bowl.",
            "The image shows a kitchen with an apple. There is a bowl.",
        ),
        (  # what it names is there, but has not been mentioned
            "The image shows a kitchen with two red cups. There is a bowl next to the apple.",
            "The image shows a kitchen with two red cups. There is a bowl.",
        ),
    ],
)
def test_wrong_neighbours_are_set_right_or_go(caption, corrected):
    assert correct(caption, KITCHEN) == corrected
    assert correct(corrected, KITCHEN) == corrected


def test_neighbours_can_be_left_as_they_were_said():
    caption = "The image shows a kitchen with two red cups and a dog. There is a bowl next to the cup."
    left = "The image shows a kitchen with two red cups. There is a bowl next to the cup."
    assert correct(caption, KITCHEN, neighbours=False) == left
    gone = "The image shows a kitchen with two red cups and a dog. There is a bowl next to the dog."
    assert "dog" not in correct(gone, KITCHEN, neighbours=False)


def test_a_mention_that_is_left_out_is_nobodys_neighbour_either():
    caption = "The image shows a kitchen with an apple and two red cups. There is a bowl next to the apple."
    assert leave_out(caption, "apple") == "The image shows a kitchen with two red cups. There is a bowl."
    assert omissible(caption) == ["apple", "cup", "bowl"]
    assert objects_only(caption) == "The image shows a kitchen with an apple and two red cups. There is a bowl."


def test_stated_neighbours_are_true_of_what_is_there_and_as_common_of_what_is_not():
    stated: dict[bool, list[int]] = {True: [], False: []}
    for number, scene in enumerate(SCENES):
        true, noisy = (write(scene, Random(number), 1.0) for write in (true_caption, noisy_caption))
        assert fluent(true)
        assert fluent(noisy)
        assert correct(true, scene) == true
        assert all(holds(one, scene) for one in neighbour_statements(true))
        for one in neighbour_statements(noisy):
            assert holds(one, scene) or one.noun not in scene.nouns
        said = {one.noun for one in neighbour_statements(noisy)}
        rest = noisy.partition(". ")[2]  # the first sentence states none
        for claim in claims(objects_only(rest)):
            stated[claim.noun in scene.nouns].append(claim.noun in said)
    there, absent = (sum(stated[kind]) / len(stated[kind]) for kind in (True, False))
    assert there > 0.4
    assert abs(there - absent) < 0.12


def test_captions_without_neighbours_are_what_they_were():
    assert [noisy_caption(scene, Random(0)) for scene in SCENES[:2]] == [
        "The image shows a park with a bench and two bicycles. You can also see a bird. There are two blue cars. There "
        "is a blue chair. You can also see two people. There is a traffic light.",
        "This is a picture of a park with two benches and a bicycle. You can also see a bird. There is a dog. There is "
        "a red kite. You can also see a sports ball.",
    ]


def test_complete_adds_what_is_missing():
    assert complete("The image shows a kitchen with a bowl and a chair.", KITCHEN) == (
        "The image shows a kitchen with a bowl. There is an apple. There are two red cups."
    )


def test_true_captions_name_exactly_the_scene():
    for number, scene in enumerate(SCENES):
        caption = true_caption(scene, Random(number))
        assert fluent(caption)
        assert {claim.noun for claim in claims(caption)} == scene.nouns
        assert correct(caption, scene) == caption


def test_noisy_captions_are_fluent_and_correct_to_true_ones():
    hallucinated = 0
    for number, scene in enumerate(SCENES):
        caption = noisy_caption(scene, Random(number))
        corrected = correct(caption, scene)
        false = [claim.noun for claim in claims(caption) if not is_true(claim, scene)]
        assert set(false) <= set(scene.absent_expected)
        assert fluent(caption)
        assert fluent(corrected)
        assert all(is_true(claim, scene) for claim in claims(corrected))
        assert correct(corrected, scene) == corrected
        hallucinated += bool(false)
    assert 0.35 < hallucinated / len(SCENES) < 0.60


def test_human_captions_are_true():
    for scene in SCENES[:50]:
        captions = human_captions(scene, Random(0))
        assert len(captions) == 5
        assert all(is_true(claim, scene) for caption in captions for claim in claims(caption))


def test_a_claim_carries_span_and_question():
    text = "The image shows a kitchen with two cups. There is a cup."
    (claim,) = claims(text)
    assert text[claim.start : claim.end] == "cups"
    assert claim.question == "Is there a cup in the image?"
    assert claim.statement == "There is a cup in the image."


@pytest.mark.parametrize(
    ("text", "nouns"),
    [
        ("Two people and a DOG.", ["person", "dog"]),
        ("a dining table, tables", ["dining table", "dining table"]),
        ("a carpet and a scarf", []),
        ("two book\u017f and a k\u0131te", []),
        ("sofas near a potted plant", ["couch", "potted plant"]),
        ("", []),
    ],
)
def test_find_nouns(text, nouns):
    assert [mention.noun for mention in find_nouns(text)] == nouns


@pytest.mark.parametrize("noun", NOUNS)
def test_every_form_of_a_noun_is_found(noun):
    for form in (noun, plural(noun), *SYNONYMS_OF.get(noun, ())):
        assert [mention.noun for mention in find_nouns(f"You can see {form} here.")] == [noun]


@pytest.mark.parametrize(
    ("words", "phrase"), [("apple", "an apple"), ("red apple", "a red apple"), ("umbrella", "an umbrella")]
)
def test_with_article(words, phrase):
    assert with_article(words) == phrase


def test_synonyms_table_has_one_line_a_noun_and_no_word_twice():
    lines = [line.split(", ") for line in synonyms_text().splitlines()]
    words = [word for line in lines for word in line]
    assert [line[0] for line in lines] == list(NOUNS)
    assert len(set(words)) == len(words)
