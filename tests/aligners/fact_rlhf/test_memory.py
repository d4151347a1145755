"""What the stages of fact-augmented RLHF do to fit into memory: activations computed again, fewer responses at once."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from tiny_models import build_tiny
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from aligners.fact_rlhf.files import read_rollout_prompts
from aligners.fact_rlhf.inputs import fact_rlhf_reward
from aligners.fact_rlhf.recipe import align_fact_rlhf
from aligners.presets import FACT_RLHF_MASKED
from aligners.rl import loop
from aligners.rl.loop import train_ppo
from aligners.rl.models import ActorCritic
from aligners.settings import ppo_json
from aligners.training.response_logps import end_token
from aligners.training.run_folder import LOG, read_log
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import TrainingError

SMALL = {
    "response_limit": 8,
    "rollout_size": 4,
    "step_size": 4,
    "max_rollouts": 1,
    "samples_per_prompt": 2,
    "reward_batch_size": 4,
    "lora_rank": 4,
    "held_out": 1,
}


@pytest.mark.parametrize(("rl", "lora"), [("ppo", False), ("ppo", True), ("rloo", True), ("grpo", False)])
def test_large_models_compute_activations_again_in_every_stage(tiny, world, tmp_path, monkeypatch, rl, lora):
    """PPO once ignored the setting, and the reward model broke on it."""
    if rl != "ppo":
        pytest.importorskip("trl")
    again: Counter[str] = Counter()
    stages: dict[str, bool] = {}
    forward = LlamaDecoderLayer.forward

    def counted(self, *arguments, **keywords):
        again["layers"] += torch._C._current_graph_task_id() != -1  # inside a backward pass
        return forward(self, *arguments, **keywords)

    def progress(what, done, total):
        stages[what.split(":")[0]] = again["layers"] > 0
        again.clear()

    monkeypatch.setattr(LlamaDecoderLayer, "forward", counted)

    def align(out):
        align_fact_rlhf(
            tiny, world / "comparisons.json", world / "prompts.json", world / "facts.json", out, "fact-rlhf-masked",
            SMALL | {"rl": rl, "lora": lora}, image_folder=world / "images",
            supervised=world / "conversations.json", progress=progress,
        )  # fmt: skip
        return dict(stages)

    names = {"supervised start", "reward model", rl}
    if rl == "ppo":
        assert align(tmp_path / "small") == dict.fromkeys(names, False)
    monkeypatch.setattr("aligners.training.policy.LARGE_MODEL", 1000)
    assert align(tmp_path / "large") == dict.fromkeys(names, True)


# --- PPO's responses at once --------------------------------------------------------------------------------------


def scarce(monkeypatch, limit, after=0):
    """Memory for `limit` responses in a pass with gradients, from the given pass on; returns the sizes tried."""
    tried = []
    forward = ActorCritic.forward

    def bounded(self, batch, *arguments, **keywords):
        if torch.is_grad_enabled():
            tried.append(len(batch.rows))
            if len(tried) > after and len(batch.rows) > limit:
                raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")
        return forward(self, batch, *arguments, **keywords)

    monkeypatch.setattr(ActorCritic, "forward", bounded)
    return tried


def run(world, out, **changes):
    """(policy's weights, log) of two rollouts of eight responses."""
    options = {"max_rollouts": 2, "rollout_size": 8, "step_size": 8, "learning_rate": 1e-3, "warmup_rollouts": 0}
    chosen = replace(FACT_RLHF_MASKED, **SMALL | options | {"lora": False} | changes)
    policy, processor = build_tiny("llava")
    critic, _ = build_tiny("llava", seed=1)
    encoder = PromptEncoder(processor)
    reward = fact_rlhf_reward(lambda rollouts: rollouts.cut.ids.float().mean(-1) / 100, chosen, encoder.pad_id)
    prompts = read_rollout_prompts(world / "prompts.json", world / "images")
    train_ppo(
        policy, processor, critic.requires_grad_(False), prompts, reward, out, chosen,
        end_id=end_token(encoder, policy), identity=ppo_json(chosen),
    )  # fmt: skip
    return policy.state_dict(), [{k: v for k, v in line.items() if k != "seconds"} for line in read_log(out / LOG)]


def test_responses_at_once_are_halved_until_they_fit_as_if_so_few_had_been_given(world, tmp_path, monkeypatch):
    tried = scarce(monkeypatch, 2)
    halved = run(world, tmp_path / "halved")
    assert tried[:3] == [8, 4, 2]
    assert set(tried[2:]) == {2}  # the second rollout begins with what fitted
    given = run(world, tmp_path / "given", micro_batch_size=2)
    assert halved[1] == given[1]
    assert all(torch.equal(halved[0][name], value) for name, value in given[0].items())


@pytest.mark.parametrize(
    ("given", "limit", "after", "remedy"),
    [
        (4, 2, 0, "set micro_batch_size below 4"),
        (None, 0, 0, "set gradient_checkpointing or lora"),
        (None, 2, 1, "set micro_batch_size below 8"),  # a step of the rollout was taken already
    ],
)
def test_memory_that_cannot_be_saved_names_the_remedy(world, tmp_path, monkeypatch, given, limit, after, remedy):
    scarce(monkeypatch, limit, after)
    with pytest.raises(TrainingError, match=f"out of memory with . responses at once: {remedy}"):
        run(world, tmp_path, micro_batch_size=given)


def test_other_errors_are_not_taken_for_a_lack_of_memory(world, tmp_path, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(loop, "experience_of", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(world, tmp_path)
