"""Held-out pairs during training: numbers on the log, the best step, an early stop, and checkpoints that stay."""

from dataclasses import replace

import pytest
import torch
from preference_data import make_pairs, write_images
from safetensors.torch import load_file
from tiny_models import save_tiny

from aligners.ddpo import dpo_settings, train_dpo
from aligners.training.checkpoint import read_card
from aligners.training.evaluation import HeldOut, Watch, split_rows
from aligners.training.run_folder import LOG, read_log
from evalkit.engines.model.loading import load_checkpoint
from evalkit.errors import TrainingError, UsageError

QUICK = {"learning_rate": 1e-3, "batch_size": 4, "max_steps": 4, "lora": False, "save_steps": 2, "held_out": 3}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    pairs = [replace(pair, image=f"{i % 8}.png") for i, pair in enumerate(make_pairs(folder / "images", 16))]
    write_images(folder / "images", 8)
    return save_tiny("llava", folder / "model"), pairs, folder / "images"


def trained(world, out, **settings):
    return train_dpo(world[0], world[1], out, dpo_settings("dpo", **QUICK | settings))


def test_whole_images_are_held_out_and_the_seed_draws_them():
    rows, groups = list(range(20)), [str(i // 2) for i in range(20)]
    training, held = split_rows(rows, groups, 4, seed=0)
    assert len(held) == 4
    assert sorted(training + held) == rows
    assert {groups[i] for i in held}.isdisjoint(groups[i] for i in training)
    assert split_rows(rows, groups, 4, seed=1)[1] != held
    assert split_rows(rows, groups, 0, seed=0) == (rows, [])
    with pytest.raises(TrainingError, match="none of 3 rows can be held out"):
        split_rows([1, 2, 3], ["a", "a", "a"], 2, seed=0)


def watch(losses, tmp_path, **held_out):
    values = iter(losses)

    def loss(model, batch):
        return torch.tensor(next(values)), {"accuracy": torch.ones(1)}

    class Batch(list):
        def to(self, device):
            return self

    settings = HeldOut(rows=[1], batch_size=1, steps=1, **held_out)
    return Watch(settings, Batch, loss, tmp_path, [])


@pytest.mark.parametrize(
    ("losses", "stops_after"),
    [([3, 2, 1, 0.5], None), ([3, 2, 2.5, 2.4], 4), ([3, 3, 3], 3), ([1, 2, 0.9, 1, 1], 5)],
)
def test_training_stops_when_the_held_out_loss_no_longer_falls(losses, stops_after, tmp_path):
    watching, model = watch(losses, tmp_path, patience=2), torch.nn.Linear(1, 1)
    for count in range(1, len(losses) + 1):
        watching.measure(model, model, torch.device("cpu"), True)
        assert (watching.reason_to_stop() is not None) == (count == stops_after)


def test_the_weights_of_the_best_step_come_back(tmp_path):
    model = torch.nn.Linear(1, 1)
    watching = watch([3.0, 1.0, 2.0], tmp_path, select="best")
    for value in (10.0, 20.0, 30.0):
        torch.nn.init.constant_(model.weight, value)
        watching.measure(model, model, torch.device("cpu"), True)
    watching.restore_best(model)
    assert model.weight.item() == 20.0


def test_held_out_pairs_are_measured_and_the_best_step_is_saved(world, tmp_path):
    trained(world, tmp_path, select="best", eval_steps=1, keep_checkpoints=2, learning_rate=3e-3)
    log = read_log(tmp_path / LOG)
    losses = [line["held_out_loss"] for line in log]
    assert len(losses) == 4
    assert {"held_out_accuracy", "held_out_margin"} <= log[0].keys()
    assert read_card(tmp_path).selection == "2 held-out pairs"
    best = 1 + losses.index(min(losses))
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-2", "step-4"]
    ends = {step: load_checkpoint(tmp_path / "checkpoints" / f"step-{step}").model.state_dict() for step in (2, 4)}
    found = load_checkpoint(tmp_path).model.state_dict()
    same = [step for step, weights in ends.items() if all(torch.equal(weights[n], found[n]) for n in found)]
    assert same == ([best] if best in ends else [])
    assert not (tmp_path / "training" / "best.safetensors").exists()


def test_an_early_stop_is_recorded(world, tmp_path):
    result = trained(world, tmp_path, patience=1, eval_steps=1, learning_rate=1e-9, max_steps=4)
    log = read_log(tmp_path / LOG)
    stopped = [line["stopped"] for line in log if "stopped" in line]
    assert result.steps == len(log)
    assert (result.steps < 4) == bool(stopped)


def test_selection_needs_something_to_go_by():
    with pytest.raises(UsageError, match="set held_out"):
        dpo_settings("dpo", select="best")


def test_a_run_that_holds_nothing_out_ends_as_it_always_did(world, tmp_path):
    plain = trained(world, tmp_path / "a", held_out=0)
    watched = trained(world, tmp_path / "b", held_out=0, keep_checkpoints=1)
    first, second = (load_file(done.checkpoint / "model.safetensors") for done in (plain, watched))
    assert all(torch.equal(first[name], second[name]) for name in first)
