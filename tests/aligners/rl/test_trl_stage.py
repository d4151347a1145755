"""The RL stage on TRL's trainers: the same on two processes and after a kill, and what it refuses to begin with."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rlhf_world import write_rlhf_world
from safetensors.torch import load_file
from tiny_models import build_tiny, save_tiny, torchvision_problem

from aligners.fact_rlhf.files import read_rollout_prompts
from aligners.fact_rlhf.settings import fact_rlhf_settings
from aligners.rl import trl_stage
from aligners.rl.loop import prompts_of_rollout
from aligners.rl.trl_trainer import checked_generation, journal_line, prompt_rows
from aligners.training.checkpoint import read_card
from aligners.training.run_folder import LOG, read_log
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import TrainingError, UsageError

pytest.importorskip("trl")
ROOT = Path(__file__).parents[3]
FAMILIES = ["llava", pytest.param("qwen2_5_vl", marks=pytest.mark.skipif(bool(torchvision_problem()), reason="Qwen"))]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_rlhf_world(tmp_path_factory.mktemp("world"))


def run(family, world, out, rl, *, processes=0, die_at=0, fixed=False, settings=()):
    """A run of online_here.py, with torchrun if `processes` says so; returns the exit status."""
    start = out.parent / family
    if not start.exists():
        save_tiny(family, start)
    script = [str(ROOT / "tests/aligners/rl/online_here.py"), str(start), str(world), str(out), str(die_at)]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes else []
    command = [sys.executable, *launcher, *script, "yes" if fixed else "no", f"rl={rl}", *settings]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert die_at or done.returncode == 0, done.stderr[-3000:]
    return done.returncode


def outcome(out):
    """(journal without its clock, trained weights)."""
    [weights] = out.glob("*model.safetensors")
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_log(out / LOG)], load_file(weights)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("rl", "settings"), [("rloo", ("lora=true",)), ("grpo", ("lora=false",))])
def test_the_same_rollouts_give_two_processes_the_rewards_gradients_and_steps_of_one(
    world, tmp_path, family, rl, settings
):
    for processes in (1, 2):
        out = tmp_path / str(processes)
        if processes == 2:
            shutil.copytree(tmp_path / "1" / "reward", out / "reward")
        run(family, world, out, rl, processes=processes, fixed=True, settings=settings)
    one, two = outcome(tmp_path / "1"), outcome(tmp_path / "2")
    assert len(one[0]) == 3
    for ours, theirs in zip(two[0], one[0], strict=True):
        for name in ("entropy", "token_kl") if rl == "grpo" else ("entropy",):
            assert ours.pop(name) == pytest.approx(theirs.pop(name), rel=0.2)  # TRL's means over unlike micro-batches
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    gradients = [torch.load(tmp_path / n / "gradients.pt") for n in ("1", "2")]
    assert len(gradients[0]) == 6  # two passes over each rollout
    for ours, theirs in zip(*gradients, strict=True):
        assert set(ours) == set(theirs)
        assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in ours)
        assert max(gradient.abs().max() for gradient in ours.values()) > 1e-3
    assert all(torch.allclose(two[1][name], one[1][name], atol=1e-5) for name in one[1])


@pytest.mark.parametrize(("rl", "settings"), [("rloo", ("lora=true",)), ("grpo", ("lora=false",))])
def test_a_killed_run_goes_on_as_if_it_had_not_been(world, tmp_path, rl, settings):
    run("llava", world, tmp_path / "whole", rl, settings=(*settings, "keep_checkpoints=2"))
    assert {path.name for path in (tmp_path / "whole" / "checkpoints").iterdir()} == {"rollout-1", "rollout-2"}
    assert run("llava", world, tmp_path / "killed", rl, die_at=2, settings=settings) == -9
    assert [line["step"] for line in read_log(tmp_path / "killed" / LOG)] == [1, 2]
    run("llava", world, tmp_path / "killed", rl, settings=settings)
    whole, killed = outcome(tmp_path / "whole"), outcome(tmp_path / "killed")
    assert killed[0] == whole[0]
    assert all(torch.equal(killed[1][name], whole[1][name]) for name in whole[1])
    card = read_card(tmp_path / "killed")
    assert (card.method, card.preset, card.seeds[rl]) == ("fact-rlhf", "fact-rlhf-masked", 0)
    assert card.settings["rl"] == rl
    assert card.software["trl"]
    assert not (tmp_path / "killed" / "training" / "steps").exists()


def test_a_killed_run_goes_on_with_another_number_of_processes(world, tmp_path):
    settings = ("lora=true",)
    run("llava", world, tmp_path / "whole", "rloo", fixed=True, settings=settings)
    shutil.copytree(tmp_path / "whole" / "reward", tmp_path / "killed" / "reward")
    assert run("llava", world, tmp_path / "killed", "rloo", die_at=3, fixed=True, settings=settings) == -9
    run("llava", world, tmp_path / "killed", "rloo", processes=2, fixed=True, settings=settings)
    whole, killed = outcome(tmp_path / "whole"), outcome(tmp_path / "killed")
    for ours, theirs in zip(killed[0], whole[0], strict=True):
        assert ours.pop("entropy") == pytest.approx(theirs.pop("entropy"), rel=0.2)
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-5)
    assert all(torch.allclose(killed[1][name], whole[1][name], atol=1e-6) for name in whole[1])


def test_another_seed_rolls_out_on_other_prompts_in_the_order_of_ppo(world):
    prompts = read_rollout_prompts(world / "prompts.json", world / "images")
    orders = []
    for seed in (0, 1):
        settings = fact_rlhf_settings("fact-rlhf-masked", rl="rloo", rollout_size=4, step_size=4, seed=seed)
        rows = prompt_rows(prompts, settings, 3)
        orders.append([prompts[row["row"]].id for row in rows])
        assert orders[-1] == [p.id for n in range(3) for p in prompts_of_rollout(prompts, n, 2, seed)]
        assert rows[0]["image"].size == (40, 32)
    assert orders[0] != orders[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "fact-rlhf-reference"}, "masked=True"),
        ({"cut_at_question_mark": True}, "cut_at_question_mark=False"),
        ({"reward_scale": 10.0}, "reward_scale=1.0"),
        ({"advantage": "gae"}, "advantage=rloo"),
        ({"kl_estimator": "k3"}, "kl_estimator=k1"),
        ({"rollout_size": 512, "step_size": 100}, "multiple of step_size"),
        ({"samples_per_prompt": 1}, "samples_per_prompt to 2 or more"),
        ({"rl": "dpo"}, "rl is 'ppo' or 'rloo' or 'grpo'"),
        ({"max_length": 2048}, "image tokens would be lost"),
        ({"keep_end": True}, "image tokens would be lost"),
    ],
)
def test_what_trl_cannot_do_is_refused_by_name(changes, message):
    preset = changes.pop("preset", "fact-rlhf-masked")
    with pytest.raises(UsageError, match=message):
        fact_rlhf_settings(preset, **{"rl": "rloo"} | changes)


def test_vllm_samples_for_trl_alone():
    with pytest.raises(UsageError, match="set rl to rloo or grpo"):
        fact_rlhf_settings("fact-rlhf-masked", vllm=True)


def test_each_trainer_samples_as_many_responses_as_trl_by_itself():
    from trl import GRPOConfig, RLOOConfig

    for rl, config in (("rloo", RLOOConfig), ("grpo", GRPOConfig)):
        settings = fact_rlhf_settings("fact-rlhf-masked", rl=rl)
        assert settings.samples_per_prompt == config.__dataclass_fields__["num_generations"].default
        assert settings.steps_per_rollout == 4
    assert fact_rlhf_settings("fact-rlhf-masked", rl="grpo", samples_per_prompt=4).samples_per_prompt == 4


@pytest.mark.parametrize(
    ("version", "said"), [(None, "need TRL 1.16"), ("1.15.2", "not 1.15.2"), ("1.17.0", "not 1.17.0")]
)
def test_without_the_right_trl_the_install_line_is_said(monkeypatch, version, said):
    monkeypatch.setattr(trl_stage, "library_version", lambda name: version)
    with pytest.raises(UsageError, match=said) as raised:
        trl_stage.require_trl()
    assert "pip install 'hallu-evalkit[rl]'" in str(raised.value)


def test_a_vllm_that_expands_image_tokens_again_is_refused():
    def generate(prompts, **keywords):
        return [ids + [7] * keywords["more"] for ids in prompts], [[1]] * len(prompts), None, None

    checked = checked_generation(generate)
    assert checked(prompts=[[1, 2], [3]], more=0)[1] == [[1], [1]]
    with pytest.raises(TrainingError, match="prompt of 5 tokens where 2 were sent"):
        checked(prompts=[[1, 2]], more=3)


def test_prompts_that_trl_reads_otherwise_are_refused(world):
    _, processor = build_tiny("llava")
    encoder = PromptEncoder(processor)
    [prompt] = read_rollout_prompts(world / "prompts.json", world / "images")[:1]

    def tokenize(messages):
        found = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
        return found["input_ids"], None, None

    trl_stage._check_prompt(SimpleNamespace(_tokenize_prompts=tokenize), encoder, prompt)
    other = PromptEncoder(processor, processor.chat_template.replace("ASSISTANT:", "ANSWER:"))
    with pytest.raises(TrainingError, match="TRL reads prompt 'p0' as"):
        trl_stage._check_prompt(SimpleNamespace(_tokenize_prompts=tokenize), other, prompt)


def test_a_reference_that_is_not_the_start_is_refused():
    model, other = build_tiny("llava")[0], build_tiny("llava", 1)[0]

    def trainer(reference):
        return SimpleNamespace(
            model=model, ref_model=reference, is_fsdp_enabled=False, is_deepspeed_enabled=False,
            accelerator=SimpleNamespace(unwrap_model=lambda one: one),
        )  # fmt: skip

    trl_stage._check_reference(trainer(model))
    trl_stage._check_reference(trainer(None))
    with pytest.raises(TrainingError, match="is not the start model"):
        trl_stage._check_reference(trainer(other))


def test_a_journal_line_has_the_words_of_ppo_and_the_parts_of_the_reward():
    settings = replace(
        fact_rlhf_settings("fact-rlhf-masked", rl="grpo"),
        rollout_size=8,
        step_size=8,
        learning_rate=1.0,
        warmup_rollouts=1,
    )
    logs = {
        "loss": 0.5, "reward": 2.0, "reward_std": 1.0, "kl": 0.25, "completions/mean_length": 7.0, "entropy": 1.5,
        "completions/clipped_ratio": 0.25, "grad_norm": 3.0, "model_score": 1.5, "learning_rate": 9.0, "epoch": 0.1,
        "rewards/total/mean": 2.0, "num_tokens": 12, "step_time": 0.1, "clip_ratio/region_mean": 0.0,
    }  # fmt: skip
    line = journal_line(logs, 2, SimpleNamespace(settings=settings, total=3))
    assert line == {
        "step": 2, "loss": 0.5, "reward": 2.0, "reward_spread": 1.0, "token_kl": 0.25, "tokens": 7.0, "entropy": 1.5,
        "clip_fraction": 0.0, "grad_norm": 3.0, "model_score": 1.5, "ended": 0.75, "learning_rate": 1.0, "responses": 8,
        "failed_prompts": 0, "optimizer_steps": 2.0,
    }  # fmt: skip
