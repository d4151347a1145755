"""GRPO with a reward read off the truth: what the truth earns, and a checkpoint that is not made twice."""

import json
from itertools import islice
from random import Random

import pytest

from aligners.miniature.model import build_model, build_processor
from aligners.miniature.recipes import grpo
from aligners.rewards.chair import chair_reward
from aligners.rewards.reward import Sampled
from aligners.training.checkpoint import save_checkpoint
from aligners.training.run_folder import LOG, read_log
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import TrainingError
from evalkit.miniature.captions import true_caption
from evalkit.miniature.scenes import scenes_of

TRAINING = {"response_limit": 8, "rollout_size": 16, "step_size": 16, "max_rollouts": 2, "warmup_rollouts": 1}


def test_the_truth_earns_all_there_is_and_every_gap_costs(tmp_path):
    reward = chair_reward(grpo.miniature_finder(tmp_path), grpo.WEIGHTS)
    for number, scene in enumerate(islice(scenes_of("train", 5), 20)):
        counts = {group.noun: group.count for group in scene.groups}
        row = {"objects": sorted(counts), "counts": counts}
        true = true_caption(scene, Random(number))
        texts = [true, "", f"{true} There is a {scene.absent_expected[0]}." if scene.absent_expected else "A scene."]
        whole, silent, false = reward([Sampled("Describe.", text, None, row) for text in texts])
        assert whole.total == pytest.approx(grpo.WEIGHTS.covered)
        assert (whole.parts["hallucinated"], whole.parts["wrong_counts"]) == (0, 0)
        assert silent.total == 0.0
        assert false.total < whole.total


def test_the_recipe_ends_in_a_checkpoint_and_does_not_start_again(tmp_path, monkeypatch):
    pytest.importorskip("trl")
    monkeypatch.setattr(grpo, "SCENES", 3)
    processor = build_processor()
    save_checkpoint(build_model(processor.tokenizer, 0), processor, tmp_path / "base")
    card = grpo.align_miniature_grpo(tmp_path / "base", tmp_path / "out", 5, keep_checkpoints=1, **TRAINING)
    assert (card.method, card.seeds, card.cost["rollouts"]) == ("grpo", {"grpo": 5}, 2)
    assert card.settings["weights"]["covered"] == grpo.WEIGHTS.covered
    lines = read_log(tmp_path / "out" / LOG)
    assert {"hallucinated", "covered", "wrong_counts", "words"} <= set(lines[0])
    for folder in (tmp_path / "out", tmp_path / "out/checkpoints/rollout-1"):
        assert TransformersEngine(folder).model is not None
    written = (tmp_path / "out/model.safetensors").stat().st_mtime_ns
    grpo.align_miniature_grpo(tmp_path / "base", tmp_path / "out", 5, keep_checkpoints=1, **TRAINING)
    assert (tmp_path / "out/model.safetensors").stat().st_mtime_ns == written
    assert len(json.loads((tmp_path / "out/data/references.json").read_text())) == 3
    with pytest.raises(TrainingError, match="another training run"):
        grpo.align_miniature_grpo(
            tmp_path / "base", tmp_path / "out", 5, weights=grpo.ChairWeights(covered=0.0), **TRAINING
        )
