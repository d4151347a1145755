"""The miniature recipe of online feedback; that it lowers hallucination is measured by `make results`."""

from dataclasses import replace
from pathlib import Path

import pytest

from aligners.feedback.instructions import read_instructions
from aligners.miniature.model import build_model, build_processor
from aligners.miniature.recipes.claims import existence_claims
from aligners.miniature.recipes.rlaif import RECIPE, align_miniature_rlaif, single_pass, write_scenes
from aligners.rlaif import rlaif_settings
from aligners.training.checkpoint import save_checkpoint
from evalkit.errors import TrainingError
from evalkit.miniature.scenes import split_of


def test_prompts_are_about_training_scenes_and_written_once(tmp_path: Path) -> None:
    prompts, scenes = write_scenes(tmp_path, 6, seed=0)
    assert {split_of(scene) for scene in scenes.values()} == {"train"}
    assert [row.image for row in read_instructions(prompts)] == list(scenes)
    before = prompts.stat().st_mtime_ns
    assert write_scenes(tmp_path, 6, seed=0)[1] == scenes
    assert prompts.stat().st_mtime_ns == before


def test_another_seed_draws_other_scenes(tmp_path: Path) -> None:
    assert write_scenes(tmp_path / "a", 6, 0)[1] != write_scenes(tmp_path / "b", 6, 1)[1]


def test_a_single_pass_asks_as_many_prompts_in_one_round() -> None:
    single = single_pass(RECIPE)
    assert single.iterations == 1
    assert single.prompts_per_round == RECIPE.iterations * RECIPE.prompts_per_round
    same = {"name": RECIPE.name, "iterations": RECIPE.iterations, "prompts_per_round": RECIPE.prompts_per_round}
    assert replace(single, **same) == RECIPE


def test_the_recipe_is_settings_of_the_loop() -> None:
    settings = rlaif_settings(RECIPE, {"lora": False})
    assert settings == replace(RECIPE, lora=False)
    assert not settings.merge_adapter


def test_an_untrained_base_names_no_objects_and_the_counts_say_so(tmp_path: Path) -> None:
    processor = build_processor()
    save_checkpoint(build_model(processor.tokenizer, 0).eval(), processor, tmp_path / "base")
    recipe = replace(RECIPE, prompts_per_round=2, candidates=2, max_new_tokens=4)
    with pytest.raises(TrainingError, match="candidates 4, failures 0"):
        align_miniature_rlaif(tmp_path / "base", tmp_path / "out", recipe=recipe)
    assert existence_claims("") == []
