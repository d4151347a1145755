"""What every method shares: folders, logs, killed runs, freezing, dividing the batch."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from preference_data import make_pairs, write_images
from rlhf_world import write_rlhf_world
from safetensors.torch import load_file, save_file
from tiny_models import FAMILIES, build_tiny, save_tiny

from aligners.ddpo import dpo_settings, train_dpo
from aligners.fact_rlhf import supervised
from aligners.fact_rlhf.files import read_comparisons
from aligners.fact_rlhf.settings import fact_rlhf_settings, reward_model_settings
from aligners.preference.pairs import write_pairs
from aligners.reward_model import fit as reward_model
from aligners.training.policy import make_trainable, wants_lora
from aligners.training.run_folder import TrainingLog, claim_folder, last_complete_step, read_log
from aligners.training.settings import TrainingSettings
from aligners.training.trainer import training_arguments
from evalkit.errors import TrainingError, UsageError

ROOT = Path(__file__).resolve().parents[3]


def train_here(*arguments: object, processes: int = 0) -> subprocess.CompletedProcess[str]:
    """One training in a process of its own, or in several that torchrun starts; see train_here.py."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes else []
    script = str(ROOT / "tests" / "aligners" / "train_here.py")
    command = [sys.executable, *launcher, script, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize(
    ("settings", "weights"),
    [((), "model.safetensors"), (("lora=true", "lora_rank=4", "lora_dropout=0.2"), "adapter_model.safetensors")],
    ids=["full", "adapter"],
)
def test_a_killed_training_continues_and_ends_like_an_uninterrupted_one(settings, weights, tmp_path):
    start, pairs = save_tiny("llava", tmp_path / "model"), tmp_path / "images" / "pairs.jsonl"
    write_pairs(pairs, make_pairs(tmp_path / "images"))
    whole = train_here(start, pairs, tmp_path / "whole", 0, *settings)
    assert whole.returncode == 0, whole.stderr[-2000:]
    killed = train_here(start, pairs, tmp_path / "killed", 3, *settings)
    assert killed.returncode == -signal.SIGKILL
    assert last_complete_step(tmp_path / "killed")[0] == 2
    torn = tmp_path / "killed" / "training" / "steps" / "checkpoint-3"
    torn.mkdir()
    (torn / weights).write_bytes(b"torn")
    resumed = train_here(start, pairs, tmp_path / "killed", 0, *settings)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    lines = [read_log(tmp_path / name / "training.jsonl") for name in ("whole", "killed")]
    assert [line["step"] for line in lines[1]] == [1, 2, 3, 4]
    assert [line["loss"] for line in lines[0]] == pytest.approx([line["loss"] for line in lines[1]], abs=1e-6)
    first, second = (load_file(tmp_path / name / weights) for name in ("whole", "killed"))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    assert not (tmp_path / "killed" / "training" / "steps").exists()


@pytest.mark.parametrize(
    ("before", "after", "settings", "weights"),
    [
        (1, 2, (), "model.safetensors"),
        (2, 1, ("lora=true", "lora_rank=4"), "adapter_model.safetensors"),
    ],
    ids=["one, then two", "two, then one"],
)
def test_a_killed_training_continues_on_another_number_of_processes(before, after, settings, weights, tmp_path):
    start, pairs = save_tiny("llava", tmp_path / "model"), tmp_path / "images" / "pairs.jsonl"
    write_pairs(pairs, make_pairs(tmp_path / "images"))
    whole = train_here(start, pairs, tmp_path / "whole", 0, *settings)
    assert whole.returncode == 0, whole.stderr[-2000:]
    assert train_here(start, pairs, tmp_path / "killed", 3, *settings, processes=before).returncode != 0
    assert last_complete_step(tmp_path / "killed")[0] == 2
    resumed = train_here(start, pairs, tmp_path / "killed", 0, *settings, processes=after)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    lines = [read_log(tmp_path / name / "training.jsonl") for name in ("whole", "killed")]
    assert [line["step"] for line in lines[1]] == [1, 2, 3, 4]
    assert [line["loss"] for line in lines[1]] == pytest.approx([line["loss"] for line in lines[0]], abs=1e-5)
    first, second = (load_file(tmp_path / name / weights) for name in ("whole", "killed"))
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


def test_a_training_checkpoint_that_lacks_trained_weights_is_refused(tmp_path):
    """Frozen weights may be absent, a reward model keeps none; with a trained one gone the start's would go on."""
    start, pairs = save_tiny("llava", tmp_path / "model"), make_pairs(tmp_path / "images")
    changes = {"learning_rate": 1e-3, "batch_size": 4, "max_steps": 4, "lora": False, "save_steps": 1}
    settings = dpo_settings("dpo", **changes)

    def stop(what, done, total):
        if what == "training" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dpo(start, pairs, tmp_path / "out", settings, progress=stop)
    step, folder = last_complete_step(tmp_path / "out")
    assert step == 2
    weights = load_file(folder / "model.safetensors")
    frozen, trained = (next(name for name in weights if part in name) for part in ("vision_tower", "down_proj"))
    kept = {name: value for name, value in weights.items() if name not in (frozen, trained)}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(TrainingError, match=f"does not fit the model: 1 weights, e.g. .*{trained[-20:]}"):
        train_dpo(start, pairs, tmp_path / "out", settings)


def test_a_torn_training_checkpoint_is_not_continued(tmp_path):
    steps = tmp_path / "training" / "steps"
    for step in (2, 10):
        (steps / f"checkpoint-{step}").mkdir(parents=True)
        (steps / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    (steps / "checkpoint-12").mkdir()
    assert last_complete_step(tmp_path) == (10, steps / "checkpoint-10")
    assert last_complete_step(tmp_path / "elsewhere") is None


def test_lines_after_the_resumed_step_are_dropped_and_seconds_go_on(tmp_path):
    path = tmp_path / "training.jsonl"
    lines = [{"step": step, "loss": 1.0 / step, "seconds": 10.0 * step} for step in (1, 2, 3)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "lo')
    journal = TrainingLog(path, resumed_step=2)
    journal.write({"step": 3, "loss": 0.25})
    found = read_log(path)
    assert [line["step"] for line in found] == [1, 2, 3]
    assert found[2]["seconds"] >= 20.0
    assert journal.losses() == (1.0, 0.5, 0.25)


def test_a_damaged_log_is_named(tmp_path):
    (tmp_path / "training.jsonl").write_text('{"step": 1\n{"step": 2}\n')
    with pytest.raises(TrainingError, match=r"training\.jsonl:1"):
        read_log(tmp_path / "training.jsonl")


def test_a_folder_belongs_to_one_run(tmp_path):
    claim_folder(tmp_path, {"beta": 0.1, "epochs": 1})
    claim_folder(tmp_path, {"beta": 0.1, "epochs": 1})
    with pytest.raises(TrainingError, match=rf"{tmp_path} belongs to a training run that differs in beta; use"):
        claim_folder(tmp_path, {"beta": 0.2, "epochs": 1})


def test_how_a_step_is_cut_up_may_change_when_a_run_continues(tmp_path):
    claim_folder(tmp_path, {"beta": 0.1, "micro_batch_size": None, "training": {"workers": 0, "seed": 1}})
    claim_folder(tmp_path, {"beta": 0.1, "micro_batch_size": 1, "training": {"workers": 4, "seed": 1}})
    with pytest.raises(TrainingError, match="differs in training"):
        claim_folder(tmp_path, {"beta": 0.1, "micro_batch_size": 1, "training": {"workers": 4, "seed": 2}})


def test_the_older_form_of_a_folders_settings_is_read(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "settings.json").write_text('{"beta": 0.1, "epochs": 1}')
    claim_folder(tmp_path, {"beta": 0.1, "epochs": 1})
    with pytest.raises(TrainingError, match="differs in epochs"):
        claim_folder(tmp_path, {"beta": 0.1, "epochs": 2})


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize(
    ("choice", "trained"),
    [
        ({"lora": False}, {"language", "projector"}),
        ({"lora": False, "train_projector": False}, {"language"}),
        ({"lora": False, "train_vision": True}, {"language", "projector", "vision"}),
        ({"lora": True, "lora_rank": 2}, {"adapter"}),
    ],
)
def test_what_is_trained(family, choice, trained):
    model = make_trainable(build_tiny(family)[0], TrainingSettings(learning_rate=1e-3, **choice))

    def part(name: str) -> str:
        if "lora_" in name:
            return "adapter"
        if any(word in name for word in ("vision_tower", "vision_model")):
            return "vision"
        return "language" if any(word in name for word in ("language_model", "text_model", "lm_head")) else "projector"

    found = {part(name) for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert found == trained
    adapted = [name for name, _ in model.named_parameters() if "lora_" in name]
    assert not any("vision" in name or "lm_head" in name for name in adapted)


def test_lora_is_the_default_of_large_models_only(monkeypatch):
    model, _ = build_tiny("llava")
    settings = TrainingSettings(learning_rate=1e-3)
    assert not wants_lora(model, settings)
    monkeypatch.setattr("aligners.training.policy.LARGE_MODEL", 1000)
    assert wants_lora(model, settings)


@pytest.mark.parametrize(
    ("batch", "micro", "expected"), [(8, None, (8, 1)), (8, 2, (2, 4)), (1, None, (1, 1)), (6, 3, (3, 2))]
)
def test_the_batch_is_divided_into_micro_batches(batch, micro, expected, tmp_path):
    settings = TrainingSettings(learning_rate=1e-3, batch_size=batch, micro_batch_size=micro)
    arguments = training_arguments(settings, tmp_path, 100)
    assert (arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps) == expected


def test_a_batch_that_cannot_be_divided_is_refused(tmp_path):
    settings = TrainingSettings(learning_rate=1e-3, batch_size=8, micro_batch_size=3)
    with pytest.raises(UsageError, match="batch size 8"):
        training_arguments(settings, tmp_path, 100)


def test_workers_that_are_spawned_prepare_the_same_batches(tmp_path):
    """Not every system forks: macOS and Python 3.14 pickle what prepares a batch, and a closure cannot be pickled."""
    start, pairs = save_tiny("llava", tmp_path / "model"), make_pairs(tmp_path / "images")
    changes = {"learning_rate": 1e-3, "batch_size": 4, "max_steps": 2, "lora": False}
    method = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        for workers in (0, 1):
            train_dpo(start, pairs, tmp_path / str(workers), dpo_settings("dpo", **changes, workers=workers))
    finally:
        multiprocessing.set_start_method(method, force=True)
    alone, spawned = (read_log(tmp_path / str(workers) / "training.jsonl") for workers in (0, 1))
    assert [line["loss"] for line in spawned] == [line["loss"] for line in alone]


def begin_supervised(start, folder):
    write_images(folder / "images", 1)
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A cat."}]
    (folder / "answers.json").write_text(json.dumps([{"id": "1", "image": "0.png", "conversations": turns}]))
    settings = TrainingSettings(learning_rate=1e-3, lora=False)
    supervised.supervised_start(
        start, folder / "answers.json", folder / "out", settings, image_folder=folder / "images"
    )


def begin_reward_model(start, folder):
    world = write_rlhf_world(folder / "world")
    settings = reward_model_settings(fact_rlhf_settings("fact-rlhf-masked", held_out=1))
    comparisons = read_comparisons(world / "comparisons.json", world / "images")
    reward_model.train_reward_model(start, comparisons, folder / "out", settings, facts=None)


@pytest.mark.parametrize("begin", [begin_supervised, begin_reward_model])
def test_what_prepares_a_batch_can_be_pickled(begin, tmp_path, monkeypatch):
    prepared = []

    def fit(model, rows, collate, *rest, **named):
        prepared.extend(repr(one(rows[:1])) for one in (collate, pickle.loads(pickle.dumps(collate))))
        raise KeyboardInterrupt

    monkeypatch.setattr(supervised, "fit", fit)
    monkeypatch.setattr(reward_model, "fit", fit)
    start = save_tiny("llava", tmp_path / "model")
    with pytest.raises(KeyboardInterrupt):
        begin(start, tmp_path)
    here, there = prepared
    assert "tensor" in here
    assert here == there
