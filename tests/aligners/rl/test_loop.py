"""The PPO loop: models, experience, updates, saved state."""

from dataclasses import replace

import pytest
import torch
from rlhf_world import write_rlhf_world
from tiny_models import FAMILIES, build_tiny

from aligners.fact_rlhf.files import read_rollout_prompts
from aligners.fact_rlhf.inputs import fact_rlhf_reward
from aligners.presets import FACT_RLHF_MASKED, FACT_RLHF_REFERENCE
from aligners.reward_model.facts import AnswerKind
from aligners.rl.experience import experience_of
from aligners.rl.loop import prompts_of_rollout, train_ppo
from aligners.rl.models import build_models
from aligners.rl.rollouts import RolloutSettings, rollout_batches, sample_rollouts
from aligners.settings import ppo_json
from aligners.training.response_logps import end_token
from aligners.training.run_folder import LOG, read_log
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import TrainingError, UsageError

SMALL = {"response_limit": 8, "rollout_size": 4, "step_size": 2, "learning_rate": 1e-3, "warmup_rollouts": 0}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_rlhf_world(tmp_path_factory.mktemp("world"), images=3)


def settings(preset=FACT_RLHF_MASKED, *, lora=False, changes=None, **options):
    small = SMALL | {"lora": lora, "lora_rank": 4, "lora_dropout": 0.0}
    options = {"max_rollouts": 2, "micro_batch_size": 2, "samples_per_prompt": 2} | options
    return replace(preset, **(small | options | (changes or {})))


def mean_id(rollouts):
    """A stand-in for the reward model: any function of the rollouts."""
    return rollouts.cut.ids.float().mean(-1) / 100


def run(world, out, chosen, family="llava", scorer=mean_id, stop_after=None, keep=None):
    policy, processor = build_tiny(family)
    critic, _ = build_tiny(family, seed=1)
    encoder = PromptEncoder(processor)

    def progress(_, done, total):
        if done == stop_after:
            raise KeyboardInterrupt

    prompts = read_rollout_prompts(world / "prompts.json", world / "images")
    return train_ppo(
        policy,
        processor,
        critic.requires_grad_(False),
        prompts,
        fact_rlhf_reward(scorer, chosen, encoder.pad_id),
        out,
        chosen,
        end_id=end_token(encoder, policy),
        identity=ppo_json(chosen),
        keep=keep,
        progress=progress,
    )


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lora", [False, True])
def test_every_family_takes_two_rollouts(world, tmp_path, family, lora):
    start = weights(build_tiny(family)[0])
    policy = run(world, tmp_path, settings(lora=lora), family)
    log = read_log(tmp_path / LOG)
    assert [line["step"] for line in log] == [1, 2]
    assert {"reward", "kl", "tokens", "entropy", "policy_loss", "value_loss", "clip_fraction"} <= set(log[0])
    assert log[0]["kl"] == pytest.approx(0.0, abs=1e-4)  # policy and reference are still one
    trained = [name for name, p in policy.named_parameters() if p.requires_grad]
    if lora:
        assert all("lora_" in name for name in trained)
        assert any(p.abs().sum() > 0 for name, p in policy.named_parameters() if "lora_B" in name)
    else:
        after = weights(policy)
        assert any(not torch.equal(start[name], after[name]) for name in trained)
        assert all(torch.equal(start[name], after[name]) for name in start if "vision_" in name)


@pytest.mark.parametrize(
    "options",
    [
        {"advantage": "rloo"},
        {"value_backbone": "shared"},
        {"preset": FACT_RLHF_REFERENCE, "samples_per_prompt": 1},
        {"preset": FACT_RLHF_REFERENCE, "advantage": "rloo"},
    ],
)
def test_options_train_with_finite_numbers(world, tmp_path, options):
    run(world, tmp_path, settings(**options))
    for line in read_log(tmp_path / LOG):
        assert all(torch.isfinite(torch.tensor(value)) for value in line.values())
        assert ("value_loss" in line) == (options.get("advantage") != "rloo")


def test_a_killed_run_goes_on_where_its_state_was_saved(world, tmp_path):
    chosen = settings(max_rollouts=4, save_rollouts=1)
    whole = weights(run(world, tmp_path / "whole", chosen))
    with pytest.raises(KeyboardInterrupt):
        run(world, tmp_path / "killed", chosen, stop_after=3)
    assert (tmp_path / "killed/training/state.pt").is_file()
    again = weights(run(world, tmp_path / "killed", chosen))
    assert all(torch.allclose(whole[name], again[name], atol=1e-6) for name in whole)
    steps = [[line["step"] for line in read_log(tmp_path / name / LOG)] for name in ("whole", "killed")]
    assert steps == [[1, 2, 3, 4]] * 2
    rewards = [[line["reward"] for line in read_log(tmp_path / name / LOG)] for name in ("whole", "killed")]
    assert rewards[0] == pytest.approx(rewards[1], abs=1e-5)


def test_policies_along_the_way_are_kept_evenly(world, tmp_path):
    kept = {}
    chosen = settings(max_rollouts=4, keep_checkpoints=1)
    last = run(world, tmp_path / "run", chosen, keep=lambda number, policy: kept.update({number: weights(policy)}))
    assert list(kept) == [2]
    assert any(not torch.equal(value, kept[2][name]) for name, value in weights(last).items())


def test_a_folder_of_other_settings_is_refused(world, tmp_path):
    run(world, tmp_path, settings(max_rollouts=1))
    with pytest.raises(TrainingError, match="differs in"):
        run(world, tmp_path, settings(max_rollouts=1, changes={"kl_coefficient": 0.5}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_rewards_that_are_not_finite_stop_the_run(world, tmp_path, value):
    with pytest.raises(TrainingError, match="not finite"):
        run(world, tmp_path, settings(), scorer=lambda rollouts: torch.full((len(rollouts.texts),), value))


def test_the_policy_learns_what_is_rewarded(world, tmp_path):
    """Tokens with odd ids are rewarded, and become more frequent."""
    chosen = settings(
        advantage="rloo",
        samples_per_prompt=8,
        max_rollouts=8,
        micro_batch_size=16,
        changes={"rollout_size": 48, "step_size": 48, "learning_rate": 1e-2, "kl_coefficient": 0.0},
    )
    odd = torch.tensor([float(i % 2) for i in range(400)])

    def odd_tokens(rollouts):
        values = odd[rollouts.cut.ids] * rollouts.cut.mask
        return values.sum(-1) / rollouts.cut.mask.sum(-1)

    chosen = replace(chosen, end_penalty=0.0, length_weight=0.0)
    run(world, tmp_path, chosen, scorer=odd_tokens)
    log = read_log(tmp_path / LOG)
    assert log[-1]["model_score"] > log[0]["model_score"] + 0.1


def test_value_and_reference_share_frozen_weights_and_the_value_starts_at_zero(world):
    policy, _ = build_tiny("llava")
    critic, _ = build_tiny("llava", seed=1)
    models, reference = build_models(policy, critic.requires_grad_(False), settings(lora=True))
    frozen = {id(p) for p in models.policy.parameters() if not p.requires_grad}
    assert frozen <= {id(p) for p in reference.parameters()}
    assert {id(p) for p in critic.parameters()} <= {id(p) for p in models.critic.parameters()}
    assert not any(p.requires_grad for p in [*reference.parameters(), *critic.parameters()])
    assert not models.head.weight.any()


def test_full_training_leaves_reward_model_and_reference_alone(world, tmp_path):
    policy, _ = build_tiny("llava")
    critic, _ = build_tiny("llava", seed=1)
    models, reference = build_models(policy, critic.requires_grad_(False), settings())
    trained = {id(p) for p in models.parameters() if p.requires_grad}
    assert trained
    assert not trained & {id(p) for p in [*reference.parameters(), *critic.parameters()]}


@pytest.mark.parametrize(("kind", "earned"), [(AnswerKind.GENERAL, 0.0), (AnswerKind.NO, 1.0), (AnswerKind.YES, -1.0)])
def test_the_parts_of_the_reward_reach_the_experience(world, kind, earned):
    policy, processor = build_tiny("llava")
    chosen = settings(advantage="rloo", score_yes=True)
    models, reference = build_models(policy, None, chosen)
    encoder = PromptEncoder(processor)
    prompts = [replace(prompt, kind=kind) for prompt in read_rollout_prompts(world / "prompts.json", world / "images")]
    sampling = RolloutSettings(samples=2, temperature=1.0, limit=8, end_id=2)
    rollouts = sample_rollouts(policy, processor, prompts, sampling, 0)
    rollouts = replace(rollouts, texts=("No, there is none.",) * len(rollouts.texts))
    batches = rollout_batches(rollouts, encoder, 4)
    found = experience_of(
        rollouts,
        batches,
        models,
        reference,
        fact_rlhf_reward(lambda r: torch.ones(len(r.texts)), chosen, encoder.pad_id),
        chosen,
    )
    assert found.log["correct_reward"] == pytest.approx(chosen.correct_weight * earned / 2)
    ended = found.log["ended"]
    assert found.log["model_score"] == pytest.approx(1 - 8 * (1 - ended), abs=1e-4)
    assert found.log["length_reward"] == pytest.approx(-10 * found.log["tokens"] / 8, abs=1e-4)


def test_prompts_come_in_seeded_shuffles_of_all():
    names = [str(i) for i in range(5)]
    stream = [name for number in range(5) for name in prompts_of_rollout(names, number, 3, seed=0)]
    assert [sorted(stream[i : i + 5]) for i in (0, 5, 10)] == [names] * 3
    assert stream != [name for number in range(5) for name in prompts_of_rollout(names, number, 3, seed=1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"advantage": "ppo"}, "advantage"),
        ({"advantage": "rloo", "samples_per_prompt": 1}, "samples_per_prompt"),
        ({"samples_per_prompt": 3}, "multiple"),
        ({"value_backbone": "none"}, "value_backbone"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        settings(**options)


def test_no_prompts_is_an_error(world, tmp_path):
    policy, processor = build_tiny("llava")
    with pytest.raises(TrainingError, match="no prompts"):
        train_ppo(
            policy, processor, None, [], mean_id, tmp_path, settings(),
            end_id=2, identity={},
        )  # fmt: skip
