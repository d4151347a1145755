from dataclasses import replace
from itertools import islice
from random import Random

import pytest

from aligners.miniature.recipes.corrections import CorrectionRecipe, Described, build_corrections, choose_pairs
from evalkit.errors import DataError, TrainingError
from evalkit.miniature.captions import claims, correct, fluent, is_true, noisy_caption, split_sentences, true_caption
from evalkit.miniature.neighbours import holds, neighbour_statements
from evalkit.miniature.scenes import scenes_of
from evalkit.schema import Response

SCENES = list(islice(scenes_of("train", 0), 60))


class Scripted:
    """An engine that says what it is told to, in the order of the scenes."""

    name = "scripted"

    def __init__(self, seed=0):
        rng = Random(seed)
        self.texts = [noisy_caption(scene, rng) for scene in SCENES]
        self.calls = 0

    def describe(self):
        return {"content": "abcd"}

    def generate(self, prompts, sampling):
        self.calls += 1
        for prompt in reversed(prompts):
            failed = int(prompt.id) == 5
            yield Response(
                prompt.id, None if failed else self.texts[int(prompt.id)], failure="broken" if failed else None
            )


def responses_of(write, temperature=0.0):
    rng = Random(1)
    return [Described(index, "Describe.", write(scene, rng), temperature) for index, scene in enumerate(SCENES)]


def scene_of(pair):
    return SCENES[int(pair.image.split("/")[-1].split(".")[0])]


def test_chosen_is_true_and_rejected_is_what_the_base_said_or_says_less():
    recipe = CorrectionRecipe(max_pairs=50, omission_share=0.4)
    pairs = choose_pairs(SCENES, responses_of(noisy_caption), 0, recipe)
    kinds = [pair.meta["kind"] for pair in pairs]
    assert {"correction", "omission"} == set(kinds)
    for pair in pairs:
        scene = scene_of(pair)
        assert all(is_true(claim, scene) for claim in claims(pair.chosen))
        assert fluent(pair.chosen)
        if pair.meta["kind"] == "correction":
            assert correct(pair.rejected, scene, counts=False) == pair.chosen
        else:
            assert len(claims(pair.rejected)) == len(claims(pair.chosen)) - 1
            assert {claim.noun for claim in claims(pair.rejected)} < {claim.noun for claim in claims(pair.chosen)}
            assert fluent(pair.rejected)


@pytest.mark.parametrize(("limit", "share"), [(20, 0.5), (1000, 0.35), (10, 0.0)])
def test_the_number_of_pairs_and_the_share_of_omissions_are_kept(limit, share):
    recipe = CorrectionRecipe(max_pairs=limit, omission_share=share)
    pairs = choose_pairs(SCENES, responses_of(noisy_caption), 0, recipe)
    omissions = sum(pair.meta["kind"] == "omission" for pair in pairs)
    assert 0 < len(pairs) <= limit
    assert omissions / len(pairs) == pytest.approx(share, abs=0.06)
    assert len({pair.id for pair in pairs}) == len(pairs)


def test_a_base_without_errors_gives_no_corrections():
    with pytest.raises(TrainingError, match="has an error"):
        choose_pairs(SCENES, responses_of(true_caption), 0, CorrectionRecipe())


def misplaced(scene, rng):
    """A true caption in which every second thing or so is next to the first thing mentioned, wherever that stands."""
    sentences = split_sentences(true_caption(scene, rng))
    first = claims(sentences[0])[0].noun
    return " ".join([sentences[0], *(f"{one[:-1]} next to the {first}." for one in sentences[1:])])


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_wrong_neighbours_are_corrected_unless_the_recipe_leaves_them(share):
    responses = responses_of(misplaced)
    for pair in choose_pairs(SCENES, responses, 0, CorrectionRecipe(max_pairs=40, omission_share=share)):
        assert all(holds(one, scene_of(pair)) for one in neighbour_statements(pair.chosen))
    left = CorrectionRecipe(max_pairs=40, omission_share=share, neighbours=False)
    with pytest.raises(TrainingError, match="has an error"):
        choose_pairs(SCENES, responses, 0, left)
    noisy = [replace(one, text=f"{one.text} There is a kite.") for one in responses]
    wrong = {
        pair.meta["kind"]
        for pair in choose_pairs(SCENES, noisy, 0, left)
        for one in neighbour_statements(pair.chosen)
        if not holds(one, scene_of(pair))
    }
    assert wrong == ({"correction", "omission"} if share else {"correction"})


def test_the_same_seed_chooses_the_same_pairs():
    recipe = CorrectionRecipe(max_pairs=20)
    responses = responses_of(noisy_caption)
    assert choose_pairs(SCENES, responses, 3, recipe) == choose_pairs(SCENES, responses, 3, recipe)
    assert choose_pairs(SCENES, responses, 3, recipe) != choose_pairs(SCENES, responses, 4, recipe)


def test_pairs_are_written_with_their_images_and_read_back(tmp_path):
    engine, recipe = Scripted(), CorrectionRecipe(scenes=len(SCENES), max_pairs=40)
    pairs = build_corrections(engine, tmp_path, 0, recipe)
    assert engine.calls == len(recipe.temperatures)
    assert all(pair.images[0].open().size == (224, 224) for pair in pairs)
    assert not any("00005" in pair.image for pair in pairs)  # its generation failed
    assert build_corrections(engine, tmp_path, 0, recipe) == pairs
    assert engine.calls == len(recipe.temperatures)
    with pytest.raises(DataError, match="another recipe"):
        build_corrections(engine, tmp_path, 1, recipe)
