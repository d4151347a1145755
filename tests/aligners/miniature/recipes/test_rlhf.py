"""The miniature recipe: fair comparisons, files in the official format, the rating request."""

import json
from itertools import islice
from random import Random

import pytest

from aligners.fact_rlhf.files import read_comparisons, read_rollout_prompts
from aligners.fact_rlhf.recipe import fact_rlhf_settings
from aligners.miniature.model import build_model, build_processor
from aligners.miniature.recipes.rlhf import (
    SETTINGS,
    Recipe,
    align_miniature_fact_rlhf,
    count_mentions,
    edits,
    facts_before_question,
    preferences,
    write_data,
)
from aligners.reward_model.facts import load_facts
from aligners.training.checkpoint import save_checkpoint
from evalkit.engines.transformers import TransformersEngine
from evalkit.miniature.captions import fluent, noisy_caption, true_caption
from evalkit.miniature.scenes import Scene, Thing, scenes_of
from evalkit.schema import Turn

SMALL = Recipe(comparison_scenes=4, samples=3, prompt_scenes=3)
TRAINING = {"response_limit": 8, "rollout_size": 4, "step_size": 4, "max_rollouts": 1, "reward_epochs": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A miniature model before any training: it says nothing sensible, but has the right form."""
    folder = tmp_path_factory.mktemp("base")
    processor = build_processor()
    save_checkpoint(build_model(processor.tokenizer, 0), processor, folder)
    return folder


@pytest.fixture
def spoken(monkeypatch):
    """Samples of a base that describes as badly as the training captions."""
    import aligners.miniature.recipes.rlhf as recipe

    def say(base, prompts, n, seed, progress=None):
        scenes = islice(scenes_of("train", 7_000_000 + seed), len(prompts))
        rng = Random(seed)
        return [[noisy_caption(scene, rng) for _ in range(n)] for scene in scenes]

    monkeypatch.setattr(recipe, "sample_base", say)


def test_preferred_responses_have_more_true_nouns_less_faults():
    rng = Random(3)
    scenes = list(islice(scenes_of("train", 1), 60))
    samples = [[noisy_caption(scene, rng) for _ in range(4)] for scene in scenes]
    lengths = []
    for number, preferred, other in preferences(scenes, samples):
        (faults, true), (other_faults, other_true) = (
            count_mentions(text, scenes[number]) for text in (preferred, other)
        )
        assert true - faults > other_true - other_faults
        lengths.append(faults + true - other_faults - other_true)
    assert min(lengths) < 0 < max(lengths)


def test_an_edit_removes_one_kind_of_mention_and_length_says_nothing():
    rng = Random(4)
    scenes = list(islice(scenes_of("train", 2), 80))
    samples = [[noisy_caption(scene, rng)] for scene in scenes]
    pairs = edits(scenes, samples, rng)
    shorter = 0
    for number, preferred, other in pairs:
        assert count_mentions(preferred, scenes[number])[0] == 0
        assert fluent(preferred)
        assert fluent(other)
        shorter += len(preferred) < len(other)
    assert pairs
    assert shorter / len(pairs) == pytest.approx(0.5, abs=0.05)
    assert not edits(scenes, [[true_caption(scene, rng)] for scene in scenes], rng)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("The image shows a kitchen with a cup and a dog.", (1, 1)),
        ("There is a cup. There is a cup.", (1, 1)),
        ("There is a bowl.", (0, 1)),
        ("There is a bowl. There is a cup next to the bowl.", (0, 2)),
        ("There is a bowl. There is a dog next to the bowl. There is a cup.", (2, 2)),
        ("", (0, 0)),
    ],
)
def test_hallucinated_and_repeated_mentions_and_wrong_neighbours_are_faults(text, counts):
    scene = Scene("kitchen", (Thing("cup", "red", 0, 0, 0), Thing("bowl", None, 1, 0, 0)))
    assert count_mentions(text, scene) == counts


def test_the_data_is_written_in_the_official_format(base, spoken, tmp_path):
    write_data(base, tmp_path, 5, SMALL)
    comparisons = read_comparisons(tmp_path / "comparisons.json", tmp_path / "images")
    prompts = read_rollout_prompts(tmp_path / "prompts.json", tmp_path / "images")
    facts = load_facts(tmp_path / "facts.json")
    assert len(prompts) == 3
    assert comparisons
    scenes = list(islice(scenes_of("train", 7_000_005), 7))
    for row in [*comparisons, *prompts]:
        assert row.image.path.is_file()
        assert len(facts[row.image.name]) == len(scenes[int(row.image.name[6:12])].nouns)
    for row in comparisons:
        scene = scenes[int(row.image.name[6:12])]
        preferred, other = (row.responses[k] for k in (row.preference, 1 - row.preference))
        (faults, true), (other_faults, other_true) = (count_mentions(text, scene) for text in (preferred, other))
        assert true - faults > other_true - other_faults


def test_the_rating_request_puts_facts_where_the_base_learned_them():
    turns = [Turn("user", "Describe the image.")]
    assert facts_before_question(turns, "A dog.", ["two dogs", "a red kite"]) == [
        Turn("user", "Facts: two dogs, a red kite. Describe the image."),
        Turn("assistant", "A dog."),
    ]
    assert facts_before_question(turns, "A dog.", None)[0].text == "Describe the image."


def test_the_tuned_settings_are_known_to_the_pipeline():
    assert fact_rlhf_settings("fact-rlhf-masked", **SETTINGS).masked


def test_the_recipe_ends_in_a_checkpoint_and_does_not_start_again(base, spoken, tmp_path):
    seen = []
    result = align_miniature_fact_rlhf(
        base, tmp_path / "out", 5, lambda stage, *_: seen.append(stage), recipe=SMALL, **TRAINING
    )
    assert {"reward model", "ppo"} <= set(seen)
    assert TransformersEngine(tmp_path / "out").model is not None
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert (card["method"], card["seeds"]["ppo"]) == ("fact-rlhf", 5)
    again = align_miniature_fact_rlhf(base, tmp_path / "out", 5, recipe=SMALL, **TRAINING)
    assert again.reward_model == result.reward_model
