"""Weights in shards from the start (FSDP 2), on two CPU processes: what a process holds, and the run of one process."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import FullyShardedDataParallelPlugin
from preference_data import make_pairs, write_images
from safetensors.torch import load_file
from tiny_models import FAMILIES, build_tiny, save_tiny

from aligners.ddpo import align_ddpo
from aligners.fact_rlhf.supervised import supervised_start
from aligners.preference.pairs import write_pairs
from aligners.preference.reference_logps import _own_chunks
from aligners.training.processes.sharding import constructed, loads_in_shards, skeleton_of
from aligners.training.run_folder import check_shards, keep_steps, last_complete_step, read_log
from aligners.training.settings import TrainingSettings
from evalkit.engines.model.loading import load_checkpoint
from evalkit.errors import TrainingError

TESTS = Path(__file__).resolve().parents[1]
SETTINGS = {"learning_rate": 1e-3, "batch_size": 4, "epochs": 1, "lora": False, "lora_dropout": 0.0}
ADAPTER = {"lora": True, "lora_rank": 1}
BEST = {"select": "best", "held_out": 2, "eval_steps": 1, "batch_size": 2}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
LINE = ("loss", "chosen_reward", "rejected_reward", "margin", "log_ratio")


def started(*words, precision="no"):
    """A script of the tests in two processes; they are ended if they wait for each other for ever."""
    sharding = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}
    wrapping = {"FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP", "FSDP_RESHARD_AFTER_FORWARD": "true"}
    path = os.pathsep.join(map(str, (TESTS.parents[1], TESTS.parent)))
    rest = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "ACCELERATE_MIXED_PRECISION": precision}
    environment = os.environ | sharding | wrapping | rest
    command = [sys.executable, *TORCHRUN, *map(str, words)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        try:
            _, said = running.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGTERM)  # torchrun ends its workers
            raise
    return subprocess.CompletedProcess(command, running.returncode, stderr=said)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(checkpoint folder, file of pairs)"""
    folder = tmp_path_factory.mktemp("sharding")
    write_images(folder / "images", 6)
    pairs = [replace(pair, image=f"{number % 6}.png") for number, pair in enumerate(make_pairs(folder / "images", 12))]
    others = [replace(p, chosen=p.rejected, rejected=p.chosen) if p.image == "4.png" else p for p in pairs]
    write_pairs(
        folder / "images" / "pairs.jsonl", others
    )  # what training learns is wrong there: the best step is early
    asked = [[{"from": "human", "value": p.prompt}, {"from": "gpt", "value": p.chosen}] for p in pairs]
    answers = [{"image": p.image, "conversations": turns} for p, turns in zip(pairs, asked, strict=True)]
    (folder / "images" / "answers.json").write_text(json.dumps(answers))
    return save_tiny("llava", folder / "model"), folder / "images" / "pairs.jsonl"


@pytest.fixture(scope="module")
def runs(world, tmp_path_factory):
    """(folder of the sharded runs, what each of the two processes noted)"""
    out = tmp_path_factory.mktemp("runs")
    done = started(TESTS / "shard_here.py", *world, out)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, [json.loads((out / f"process-{rank}.json").read_text()) for rank in (0, 1)]


def agree(sharded, whole, weights, numbers=LINE):
    """Lines of the log and saved weights are those of one process that held the whole model."""
    lines = [read_log(folder / "training.jsonl") for folder in (sharded, whole)]
    assert len(lines[0]) == len(lines[1]) > 1
    for name in numbers:
        assert [line[name] for line in lines[0]] == pytest.approx([line[name] for line in lines[1]], abs=1e-5), name
    first, second = (load_file(folder / weights) for folder in (sharded, whole))
    assert set(first) == set(second)
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


@pytest.mark.parametrize(
    ("run", "changes", "weights"),
    [
        ("full", {}, "model.safetensors"),
        ("adapter", ADAPTER, "adapter_model.safetensors"),
        ("best", BEST, "model.safetensors"),
    ],
)
def test_a_sharded_run_is_that_of_one_process(run, changes, weights, runs, world, tmp_path):
    model, pairs = world
    align_ddpo(str(model), pairs, tmp_path, "ddpo-paper", SETTINGS | changes)
    agree(runs[0] / run, tmp_path, weights)
    cards = [json.loads((folder / "card.json").read_text()) for folder in (runs[0] / run, tmp_path)]
    assert cards[0]["parent_hash"] == cards[1]["parent_hash"]


def test_a_sharded_supervised_start_is_that_of_one_process(runs, world, tmp_path):
    model, pairs = world
    settings = TrainingSettings(**SETTINGS)
    supervised_start(model, pairs.with_name("answers.json"), tmp_path, settings, image_folder=pairs.parent)
    agree(runs[0] / "supervised", tmp_path, "model.safetensors", ("loss",))


def test_only_the_first_process_ever_holds_the_whole_model(runs):
    first, second = (process["held"] for process in runs[1])
    slack = second["whole"] // 100  # buffers, uneven parts
    assert first["before"] >= first["whole"]
    assert second["before"] < slack
    assert second["during"] <= second["whole"] // 2 + second["largest"] + slack
    assert second["whole"] // 2 - slack <= second["after"] <= second["whole"] // 2 + slack
    assert first["after"] <= first["whole"] // 2 + slack  # its copy is given up


def test_a_sharded_run_that_changes_no_weight_is_an_error_in_every_process(runs):
    for process in runs[1]:
        assert list(process["errors"]) == ["unchanged", "unchanged in memory"]
        for error in process["errors"].values():
            assert "3 steps changed no weight: the learning rate 1e-30" in error


def test_the_best_of_the_sharded_steps_was_not_the_last(runs):
    losses = [line["held_out_loss"] for line in read_log(runs[0] / "best" / "training.jsonl")]
    assert min(losses) < losses[-1]


@pytest.mark.parametrize(("run", "weights"), [("half", "model"), ("half adapter", "adapter_model")])
def test_weights_that_were_sharded_are_saved_in_the_type_that_was_asked_for(run, weights, runs):
    assert {t.dtype for t in load_file(runs[0] / run / f"{weights}.safetensors").values()} == {torch.bfloat16}
    assert load_checkpoint(runs[0] / run, device="cpu").model.dtype is (
        torch.bfloat16 if run == "half" else torch.float32
    )


@pytest.mark.parametrize(
    ("settings", "weights"),
    [((), "model.safetensors"), (("lora=true", "lora_rank=1"), "adapter_model.safetensors")],
    ids=["full", "adapter"],
)
def test_a_sharded_run_that_was_killed_continues_and_ends_like_one_process(settings, weights, world, tmp_path):
    script = TESTS / "train_here.py"
    killed = started(script, *world, tmp_path / "sharded", 3, *settings)
    assert "SIGKILL" in killed.stderr or killed.returncode in (1, -signal.SIGKILL)
    assert last_complete_step(tmp_path / "sharded")[0] == 2
    changes = {"epochs": 2, "save_steps": 2} | (ADAPTER if settings else {})
    with pytest.raises(TrainingError, match=r"checkpoint-2 was written with FSDP: continue with it, or remove it"):
        align_ddpo(str(world[0]), world[1], tmp_path / "sharded", "ddpo-paper", SETTINGS | changes)
    resumed = started(script, *world, tmp_path / "sharded", 0, *settings)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    align_ddpo(str(world[0]), world[1], tmp_path / "whole", "ddpo-paper", SETTINGS | changes)
    agree(tmp_path / "sharded", tmp_path / "whole", weights)


def test_in_bfloat16_a_sharded_policy_begins_on_its_reference_and_is_measured_in_float32(world, tmp_path):
    settings = ("bf16=true", "epochs=1")
    done = started(TESTS / "train_here.py", *world, tmp_path / "sharded", 0, *settings, precision="bf16")
    assert done.returncode == 0, done.stderr[-3000:]
    align_ddpo(str(world[0]), world[1], tmp_path / "whole", "ddpo-paper", SETTINGS | {"bf16": True, "save_steps": 2})
    sharded, whole = (read_log(tmp_path / name / "training.jsonl") for name in ("sharded", "whole"))
    assert sharded[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert [line["loss"] for line in sharded] == pytest.approx([line["loss"] for line in whole], rel=0.03)
    assert [line["grad_norm"] for line in sharded] == pytest.approx([line["grad_norm"] for line in whole], rel=0.03)


def test_weights_buffers_ties_and_logits_in_shards_are_those_of_the_whole_model(tmp_path):
    done = started(TESTS / "compare_here.py", tmp_path / "equal.json")
    assert done.returncode == 0, done.stderr[-3000:]
    equal = json.loads((tmp_path / "equal.json").read_text())
    assert set(equal) == {"qwen2_5_vl", "qwen2_5_vl, tied", "llava, identity"}
    assert [(name, what) for name, checks in equal.items() for what, same in checks.items() if not same] == []


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_skeleton_has_every_name_type_and_tie_and_no_storage(family):
    model, _ = build_tiny(family)
    skeleton = constructed(skeleton_of(model))

    def form(one):
        named = [*one.named_parameters(remove_duplicate=False), *one.named_buffers(remove_duplicate=False)]
        first = {}
        return [(name, t.shape, t.dtype, t.requires_grad, first.setdefault(id(t), name)) for name, t in named]

    assert form(skeleton) == form(model)
    assert all(tensor.is_meta for tensor in (*skeleton.parameters(), *skeleton.buffers()))
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert skeleton.generation_config == model.generation_config


@pytest.mark.parametrize(
    ("options", "expected"), [({}, True), ({"cpu_offload": True}, False), ({"activation_checkpointing": True}, False)]
)
def test_what_accelerate_does_to_layers_first_leaves_loading_whole(options, expected):
    assert loads_in_shards(FullyShardedDataParallelPlugin(fsdp_version=2, **options)) is expected


def test_a_checkpoint_that_was_written_whole_is_not_continued_in_shards(tmp_path):
    check_shards(tmp_path, sharded=False)
    with pytest.raises(TrainingError, match="was written without FSDP: continue without, or remove it"):
        check_shards(tmp_path, sharded=True)


def test_a_kept_checkpoint_of_a_sharded_run_holds_one_copy_of_the_model(tmp_path):
    step = tmp_path / "training" / "steps" / "checkpoint-2"
    step.mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "pytorch_model_fsdp.bin", "optimizer.bin", "scheduler.pt"):
        (step / name).write_text("x")
    keep_steps(tmp_path, 1)
    assert {file.name for file in (tmp_path / "checkpoints" / "step-2").iterdir()} == {
        "model.safetensors",
        "config.json",
    }


@pytest.mark.parametrize(("chunks", "count"), [(5, 2), (1, 4), (4, 2), (7, 3)])
def test_every_process_reads_as_many_batches_of_a_sharded_reference(chunks, count, monkeypatch):
    every = [[i] for i in range(chunks)]
    monkeypatch.setattr("aligners.preference.reference_logps.process_count", lambda: count)
    read = []
    for rank in range(count):
        monkeypatch.setattr("aligners.preference.reference_logps.process_rank", lambda rank=rank: rank)
        read.append(_own_chunks(every, in_step=True))
    assert len({len(own) for own in read}) == 1
    assert {chunk[0] for own in read for chunk in own} == set(range(chunks))
