"""Defaults that learn and fit: rates, precision, memory; and a run that changed nothing is no success."""

import logging
import math
from types import SimpleNamespace

import pytest
import torch
from preference_data import make_pairs
from safetensors.torch import load_file
from tiny_models import build_tiny, save_tiny

from aligners.ddpo import dpo_settings, train_dpo
from aligners.training.checkpoint import identical_share, read_card, save_checkpoint
from aligners.training.policy import held_dtype
from aligners.training.response_logps import measuring
from aligners.training.run_folder import LOG, read_log
from aligners.training.settings import TrainingSettings
from aligners.training.trainer import fit, rate_share
from evalkit.errors import TrainingError

QUICK = {"learning_rate": 1e-3, "batch_size": 4, "max_steps": 2, "lora": False, "warmup_ratio": 0.0}
ADAPTER = {"lora": True, "lora_rank": 4, "lora_dropout": 0.0}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return save_tiny("llava", folder / "model"), make_pairs(folder / "images", 4), folder / "images"


def trained(world, out, start=None, preset="dpo", **settings):
    return train_dpo(start or world[0], world[1], out, dpo_settings(preset, **settings))


# --- rates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (2, 1), (10, 1), (10, 10), (100, 3)])
def test_no_step_goes_without_a_learning_rate(steps, warmup):
    shares = [rate_share(step, steps, warmup) for step in range(steps)]
    assert min(shares) > 0
    assert max(shares) <= 1
    assert 1.0 in shares or steps <= 2


def test_a_run_of_one_step_learns_although_the_preset_warms_up(world, tmp_path):
    trained(world, tmp_path, preset="ddpo-paper", lora=False, max_steps=1, learning_rate=1e-3)
    (line,) = read_log(tmp_path / LOG)
    assert line["learning_rate"] == 1e-3
    assert identical_share(tmp_path, world[0]) < 0.9


def test_a_large_model_gets_an_adapter_at_the_rate_of_adapters_and_that_is_said(world, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("aligners.training.policy.LARGE_MODEL", 1000)
    with caplog.at_level(logging.WARNING):
        trained(world, tmp_path / "by size", preset="ddpo-paper", max_steps=1, lora_rank=4)
    assert read_log(tmp_path / "by size" / LOG)[0]["learning_rate"] == 1e-5
    assert "an adapter is trained (rank 4, learning rate 1e-05)" in caplog.text
    trained(world, tmp_path / "all", preset="ddpo-paper", max_steps=1, lora=False)
    assert read_log(tmp_path / "all" / LOG)[0]["learning_rate"] == 5e-7
    trained(world, tmp_path / "asked", preset="ddpo-paper", max_steps=1, lora_rank=4, learning_rate=3e-4)
    assert read_log(tmp_path / "asked" / LOG)[0]["learning_rate"] == 3e-4


@pytest.mark.parametrize("choice", [{"lora": False}, ADAPTER], ids=["full", "adapter"])
def test_a_run_whose_weights_did_not_change_is_an_error(world, tmp_path, choice):
    with pytest.raises(TrainingError, match="2 steps changed no weight: the learning rate 1e-30"):
        trained(world, tmp_path, **(QUICK | choice | {"learning_rate": 1e-30}))
    assert read_card(tmp_path) is None


# --- precision ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "lora", "bf16", "held"),
    [
        (torch.float16, True, True, torch.bfloat16),
        (torch.float16, True, False, torch.float32),
        (torch.bfloat16, True, False, torch.bfloat16),
        (torch.float32, True, True, torch.bfloat16),
        (torch.float16, False, True, torch.float32),
    ],
)
def test_the_type_in_which_weights_are_held(stored, lora, bf16, held):
    assert held_dtype(stored, lora=lora, bf16=bf16) is held


def test_a_float16_checkpoint_trains_in_bfloat16_and_what_was_not_trained_stays_bit_by_bit(world, tmp_path):
    model, processor = build_tiny("llava")
    start = save_checkpoint(model.half(), processor, tmp_path / "half")
    trained(world, tmp_path / "out", start, **(QUICK | ADAPTER | {"bf16": True, "merge_adapter": True}))
    before, after = (load_file(folder / "model.safetensors") for folder in (start, tmp_path / "out"))
    assert {value.dtype for value in after.values()} == {torch.float16}
    vision = [name for name in before if "vision_tower" in name]
    assert vision
    assert all(torch.equal(before[name], after[name]) for name in vision)
    assert 0 < read_card(tmp_path / "out").cost["identical_weights"] < 1


def test_the_saved_type_can_be_chosen_and_the_share_of_weights_that_stayed_is_on_the_card(world, tmp_path):
    model, processor = build_tiny("llava")
    start = save_checkpoint(model.bfloat16(), processor, tmp_path / "start")
    coarse, fine = (
        trained(world, tmp_path / name, start, **(QUICK | {"learning_rate": 1e-7} | choice)).checkpoint
        for name, choice in (("coarse", {}), ("fine", {"save_dtype": "float32"}))
    )
    assert {v.dtype for v in load_file(fine / "model.safetensors").values()} == {torch.float32}
    shares = [read_card(folder).cost["identical_weights"] for folder in (coarse, fine)]
    assert shares[1] < 0.6 < 0.95 < shares[0]  # a step of 1e-7 rounds to nothing in bfloat16; vision stays anyway


# --- memory -------------------------------------------------------------------------------------------------------


def test_activations_are_recomputed_by_default_in_large_models_with_the_same_losses(world, tmp_path, monkeypatch):
    seen = []
    from transformers import LlavaForConditionalGeneration as Llava

    enable = Llava.gradient_checkpointing_enable
    monkeypatch.setattr(
        Llava, "gradient_checkpointing_enable", lambda self, *a, **k: (seen.append(1), enable(self, *a, **k))[1]
    )
    plain = trained(world, tmp_path / "plain", **QUICK)
    assert not seen
    monkeypatch.setattr("aligners.training.policy.LARGE_MODEL", 1000)
    again = trained(world, tmp_path / "again", **QUICK)
    assert seen
    assert again.losses == pytest.approx(plain.losses, abs=1e-6)


def rows_and_model(limit):
    """A model of one weight whose forward pass runs out of memory beyond `limit` rows."""
    model = torch.nn.Linear(1, 1, bias=False)
    model.config = SimpleNamespace()
    seen = []

    def collate(rows):
        return torch.tensor(rows)

    def loss(model, batch):
        seen.append(len(batch))
        if len(batch) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        values = (model(batch[:, None]) - 1).square().mean(1)
        return values.mean(), {"value": values.detach()}

    return model, [0.1 * i for i in range(8)], collate, loss, seen


@pytest.mark.parametrize(("limit", "micro"), [(8, 8), (5, 4), (1, 1)])
def test_the_micro_batch_is_halved_until_it_fits_with_the_same_result(limit, micro, tmp_path):
    settings = TrainingSettings(learning_rate=0.1, batch_size=8, epochs=3, warmup_ratio=0.0)

    def run(limit, out):
        torch.manual_seed(0)
        model, rows, collate, loss, seen = rows_and_model(limit)
        done = fit(model, rows, collate, loss, settings, out, identity={})
        return seen, done, model.weight.item()

    seen, done, weight = run(limit, tmp_path / "a")
    assert seen[-1] == micro
    _, whole, expected = run(8, tmp_path / "b")
    assert done.steps == whole.steps == 3
    assert weight == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "limit", "remedy"), [(4, 2, "set micro_batch_size below 4"), (None, 0, "gradient_checkpointing or lora")]
)
def test_memory_that_cannot_be_saved_names_the_remedy(given, limit, remedy, tmp_path):
    model, rows, collate, loss, _ = rows_and_model(limit)
    settings = TrainingSettings(learning_rate=0.1, batch_size=8, micro_batch_size=given)
    with pytest.raises(TrainingError, match=f"out of memory with .*{remedy}"):
        fit(model, rows, collate, loss, settings, tmp_path, identity={})


def test_the_head_of_a_partitioned_model_is_not_measured(monkeypatch):
    """ZeRO-3 leaves a weight of shape (0,) on the module."""
    model, _ = build_tiny("llava")
    head = model.get_output_embeddings()
    partitioned = SimpleNamespace(weight=torch.zeros(0), forward=head.forward)
    monkeypatch.setattr(model, "get_output_embeddings", lambda: _Callable(partitioned))
    ids = torch.arange(10, 20)[None]
    with measuring(model):
        found = model(input_ids=ids, attention_mask=torch.ones_like(ids), logp_labels=ids)["token_logps"]
    assert len(found) == 9
    assert all(map(math.isfinite, found.tolist()))


class _Callable:
    def __init__(self, inner):
        self.weight, self._forward = inner.weight, inner.forward

    def __call__(self, states):
        return self._forward(states)
