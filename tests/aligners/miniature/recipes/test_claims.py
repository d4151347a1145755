"""Claims of a miniature description come from the world's lexicon."""

from itertools import islice
from random import Random

import pytest

from aligners.feedback.candidates import Candidate
from aligners.miniature.recipes.claims import Oracle, existence_claims, lexicon_splitter, scene_claims
from evalkit.miniature.captions import noisy_caption, true_caption
from evalkit.miniature.questions import ask_existence
from evalkit.miniature.scenes import Scene, Thing, scenes_of


@pytest.mark.parametrize(
    ("text", "questions"),
    [
        ("", []),
        ("Nothing to see.", []),
        ("There is a dog. There are two dogs.", ["Is there a dog in the image?"] * 2),
        (
            "The image shows a street with an apple and two red cups.",
            ["Is there an apple in the image?", "Is there a cup in the image?"],
        ),
    ],
)
def test_a_claim_for_every_mention(text: str, questions: list[str]) -> None:
    assert [claim.question for claim in existence_claims(text)] == questions


def test_questions_are_those_the_base_was_taught() -> None:
    scene = next(scenes_of("train", 3))
    taught = {ask_existence(scene, noun).text for noun in scene.nouns}
    assert {claim.question for claim in existence_claims(true_caption(scene, Random(0)))} == taught


def test_the_oracle_counts_false_and_true_claims() -> None:
    scenes = list(islice(scenes_of("train", 3), 50))
    oracle = Oracle({str(i): scene for i, scene in enumerate(scenes)})
    rng = Random(0)
    for i, scene in enumerate(scenes):
        true = Candidate("a", "p", str(i), "", true_caption(scene, rng), 0)
        assert oracle(true) == (0, len(scene.nouns))
    noisy = [Candidate("a", "p", str(i), "", noisy_caption(scene, rng), 0) for i, scene in enumerate(scenes)]
    assert sum(oracle(one)[0] for one in noisy) > 10


def test_the_splitter_names_itself_in_the_manifest() -> None:
    assert lexicon_splitter().describe() == {"splitter": "miniature lexicon"}


def test_a_stated_neighbour_is_a_claim_and_no_second_mention() -> None:
    text = "The image shows a kitchen with a clock. There is a cup next to the clock."
    assert [(claim.kind, claim.question) for claim in scene_claims(text)] == [
        ("existence", "Is there a clock in the image?"),
        ("existence", "Is there a cup in the image?"),
        ("location", "Is the cup next to the clock in this image?"),
    ]
    near = Scene("kitchen", (Thing("clock", None, 0, 0, 0), Thing("cup", "red", 1, 0, 0)))
    far = Scene("kitchen", (Thing("clock", None, 0, 0, 0), Thing("cup", "red", 8, 0, 0)))
    candidates = [Candidate("a", "p", name, "", text, 0) for name in ("near", "far")]
    assert list(map(Oracle({"near": near, "far": far}), candidates)) == [(0, 3), (1, 2)]
