"""The pipeline of fact-augmented RLHF, from LLaVA-RLHF's files to a checkpoint."""

import hashlib
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from rlhf_world import asked
from tiny_models import build_tiny, save_tiny
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from aligners.fact_rlhf import recipe
from aligners.fact_rlhf.files import read_rollout_prompts
from aligners.fact_rlhf.inputs import reward_of_model, usable_prompts
from aligners.fact_rlhf.recipe import align_fact_rlhf
from aligners.fact_rlhf.settings import fact_rlhf_settings, reward_model_settings, supervised_settings
from aligners.fact_rlhf.supervised import read_answered, supervised_start
from aligners.reward_model.model import RatingEncoder, RewardModel
from aligners.rl.models import ActorCritic
from aligners.rl.rollouts import RolloutSettings, sample_rollouts
from aligners.training.checkpoint import read_card
from aligners.training.run_folder import LOG, read_log
from aligners.training.settings import TrainingSettings
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import DataError, TrainingError, UsageError
from evalkit.images import ImageFile
from evalkit.sampling import Sampling
from evalkit.schema import Prompt

SMALL = {
    "response_limit": 8,
    "rollout_size": 4,
    "step_size": 4,
    "max_rollouts": 2,
    "samples_per_prompt": 2,
    "micro_batch_size": 2,
    "reward_batch_size": 2,
    "reward_epochs": 1,
    "lora_rank": 4,
    "held_out": 1,
}


def align(tiny, world, out, preset="fact-rlhf-masked", facts="facts.json", supervised=None, **overrides):
    return align_fact_rlhf(
        tiny,
        world / "comparisons.json",
        world / "prompts.json",
        world / facts if facts else None,
        out,
        preset,
        SMALL | overrides,
        image_folder=world / "images",
        supervised=world / supervised if supervised else None,
    )


@pytest.mark.parametrize(
    ("preset", "options"),
    [
        ("fact-rlhf-masked", {"lora": False, "supervised": "conversations.json"}),
        ("fact-rlhf-masked", {"lora": True}),
        ("fact-rlhf-masked", {"lora": True, "merge_adapter": True, "advantage": "rloo"}),
        ("fact-rlhf-reference", {"lora": False}),
    ],
)
def test_the_pipeline_ends_in_a_checkpoint_that_the_engine_loads(tiny, world, tmp_path, preset, options):
    result = align(tiny, world, tmp_path / "out", preset, **options)
    assert result.rollouts == 2
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert (card["method"], card["preset"], card["parent"]) == ("fact-rlhf", preset, str(tiny))
    assert card["adapter"] is (options["lora"] and not options.get("merge_adapter", False))
    assert card["cost"]["rollouts"] == 2
    assert not (tmp_path / "out/training/state.pt").exists()
    engine = TransformersEngine(tmp_path / "out")
    prompt = Prompt("p", "Describe the image.", (ImageFile(world / "images", "000000000000.jpg"),))
    (response,) = engine.generate([prompt], Sampling(max_new_tokens=3))
    assert response.failure is None
    stages = json.loads((tmp_path / "out/stages.json").read_text())
    assert set(stages["stages"]) == {"reward", "ppo"}


FIGURES = ("reward", "kl", "value_loss", "grad_norm")  # of a rollout


@pytest.mark.parametrize("lora", [False, True])
def test_recomputed_activations_and_small_batches_give_the_same_losses(tiny, world, tmp_path, lora):
    plain = align(tiny, world, tmp_path / "plain", micro_batch_size=2, lora=lora)
    saving = align(tiny, world, tmp_path / "saving", micro_batch_size=1, gradient_checkpointing=True, lora=lora)
    for ours, theirs in zip(saving.log, plain.log, strict=True):
        for name in FIGURES:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-4), name
    assert reward_losses(tmp_path / "saving") == pytest.approx(reward_losses(tmp_path / "plain"), abs=1e-4)


def test_recomputing_in_bfloat16_is_as_near_to_full_precision_as_not_recomputing(tiny, world, tmp_path):
    changes = {"lora": True, "micro_batch_size": 2}
    exact = align(tiny, world, tmp_path / "exact", **changes)
    plain = align(tiny, world, tmp_path / "plain", **changes, bf16=True)
    changes |= {"micro_batch_size": 1, "gradient_checkpointing": True}
    saving = align(tiny, world, tmp_path / "saving", **changes, bf16=True)
    for name in FIGURES:  # of the same weights and texts; after the first update rounding parts the two
        assert saving.log[0][name] == pytest.approx(plain.log[0][name], rel=0.02, abs=0.002), name
    for ours, theirs, true in zip(saving.log, plain.log, exact.log, strict=True):
        for name in FIGURES:
            noise = max(0.002, 0.02 * abs(true[name]))
            assert abs(ours[name] - true[name]) <= abs(theirs[name] - true[name]) + noise, name
    assert reward_losses(tmp_path / "saving") == pytest.approx(reward_losses(tmp_path / "plain"), abs=0.002)


def reward_losses(folder):
    return [line["loss"] for line in read_log(folder / "reward" / LOG)]


def test_the_forward_passes_of_ppo_run_in_bfloat16_where_that_is_asked_for(tiny, world, tmp_path, monkeypatch):
    enabled = []
    inside = ActorCritic.forward

    def forward(self, *arguments, **keywords):
        enabled.append((torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()))
        return inside(self, *arguments, **keywords)

    monkeypatch.setattr(ActorCritic, "forward", forward)
    half = align(tiny, world, tmp_path / "half", lora=True, bf16=True)
    assert set(enabled) == {(True, False), (True, True)}  # sampling's experience, and the updates
    enabled.clear()
    whole = align(tiny, world, tmp_path / "whole", lora=True, bf16=False)
    assert {precision for precision, _ in enabled} == {False}
    assert half.log[0]["loss"] == pytest.approx(whole.log[0]["loss"], abs=0.05)


def test_facts_come_in_a_new_order_at_every_call(world):
    model, processor = build_tiny("llava")
    read = []

    class Spy(RatingEncoder):
        def prompt(self, rating):
            read.append(rating.facts)
            return super().prompt(rating)

    prompts = [replace(prompt, kind=1) for prompt in read_rollout_prompts(world / "prompts.json", world / "images")[:1]]
    facts = {prompt.image.name: [f"Fact {i}." for i in range(6)] for prompt in prompts}
    score = reward_of_model(RewardModel(model).eval(), Spy(PromptEncoder(processor)), facts)
    sampling = RolloutSettings(samples=1, temperature=1.0, limit=4, end_id=2)
    orders = []
    for seed in (1, 2, 1):
        read.clear()
        score(sample_rollouts(model, processor, prompts, sampling, seed))
        orders.append(set(read))  # a rating may be looked at more than once, always in the same order
    assert [len(order) for order in orders] == [1, 1, 1]
    assert {frozenset(facts) for order in orders for facts in order} == {frozenset(facts[prompts[0].image.name])}
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


@pytest.mark.parametrize(("family", "lora"), [("llava_next", True), ("idefics3", False), ("gemma3", True)])
def test_every_family_gets_a_reward_model_and_two_rollouts(world, tmp_path, family, lora):
    start = save_tiny(family, tmp_path / "start")
    result = align(start, world, tmp_path / "out", lora=lora)
    assert len(read_log(tmp_path / "out/reward" / LOG)) == 3
    assert [line["step"] for line in result.log] == [1, 2]
    assert TransformersEngine(tmp_path / "out").model is not None


def test_a_finished_run_is_returned_and_another_refused(tiny, world, tmp_path):
    first = align(tiny, world, tmp_path / "out")
    written = (tmp_path / "out/model.safetensors").stat().st_mtime_ns
    again = align(tiny, world, tmp_path / "out")
    assert (again.rollouts, again.reward_model) == (first.rollouts, first.reward_model)
    assert (tmp_path / "out/model.safetensors").stat().st_mtime_ns == written
    with pytest.raises(TrainingError, match="another"):
        align(tiny, world, tmp_path / "out", kl_coefficient=0.7)


@pytest.mark.parametrize("rl", ["ppo", "rloo"])
def test_every_stage_reports_to_a_tracker(tiny, world, tmp_path, monkeypatch, rl):
    if rl != "ppo":
        pytest.importorskip("trl")
    sent = []

    class Tracker(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **keywords):
            sent.append((state.global_step, set(logs)))

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", Tracker)
    files = (world / "comparisons.json", world / "prompts.json", world / "facts.json")
    align_fact_rlhf(
        tiny, *files, tmp_path, overrides=SMALL | {"rl": rl, "lora": False}, image_folder=world / "images",
        supervised=world / "conversations.json", report_to=["tensorboard"],
    )  # fmt: skip
    rollouts = [step for step, names in sent if {"reward", "model_score"} <= names]
    assert rollouts == ([1, 2] if rl == "ppo" else [2, 4])
    for stage in ("nll", "margin"):  # of the supervised start, of the reward model
        assert any(stage in names for _, names in sent)


def test_facts_must_be_there_unless_they_are_declined(tiny, world, tmp_path):
    with pytest.raises(UsageError, match="use_facts"):
        align(tiny, world, tmp_path / "a", facts=None)
    result = align(tiny, world, tmp_path / "b", facts=None, use_facts=False)
    assert json.loads((result.checkpoint / "card.json").read_text())["method"] == "rlhf"


def test_on_several_processes_ppo_waits_for_a_command_on_one(tiny, world, tmp_path, monkeypatch):
    several = SimpleNamespace(num_processes=2, is_main_process=True)
    monkeypatch.setattr(recipe, "PartialState", lambda: several)
    with pytest.raises(UsageError, match="the reward model is ready; PPO trains in one process"):
        align(tiny, world, tmp_path / "out", lora=True)
    monkeypatch.undo()
    result = align(tiny, world, tmp_path / "out", lora=True)
    assert result.rollouts == 2
    assert len(read_log(tmp_path / "out/reward" / LOG)) == 3


def test_only_the_reward_model_reads_facts(world):
    model, processor = build_tiny("llava")
    read = []

    class Spy(RatingEncoder):
        def encode(self, ratings):
            inputs = super().encode(ratings)
            read.extend(self.encoder.tokenizer.decode(row) for row in inputs["input_ids"])
            return inputs

    prompts = [replace(prompt, kind=1) for prompt in read_rollout_prompts(world / "prompts.json", world / "images")[:2]]
    sampling = RolloutSettings(samples=1, temperature=1.0, limit=4, end_id=2)
    rollouts = sample_rollouts(model, processor, prompts, sampling, 0)
    facts = {prompt.image.name: ["A striped wall."] for prompt in prompts}
    encoder = Spy(PromptEncoder(processor))
    reward_model = RewardModel(model).eval()
    torch.nn.init.normal_(reward_model.head.weight)
    with_facts = reward_of_model(reward_model, encoder, facts)(rollouts)
    assert len(read) == 2
    assert all("A striped wall." in text for text in read)
    without = reward_of_model(reward_model, encoder, None)(rollouts)
    assert not any("A striped wall." in text for text in read[2:])
    assert not torch.allclose(with_facts, without)
    assert all("striped" not in prompt.text for prompt in rollouts.prompts)


def test_prompts_without_facts_or_image_are_counted_or_refused(tiny, world):
    _, processor = build_tiny("llava")
    encoder = PromptEncoder(processor)
    prompts = read_rollout_prompts(world / "prompts.json", world / "images")
    bad = [
        replace(prompts[0], image=ImageFile(world / "images", "absent.jpg")),
        replace(prompts[0], text="word " * 300),
    ]
    facts = {prompts[0].image.name: ["A wall."], "absent.jpg": ["A wall."]}
    lenient = {"missing_facts": "skip", "bad_images": "skip"}
    kept, skipped = usable_prompts([prompts[0], *bad, prompts[1]], facts, encoder, 128, **lenient)
    assert [prompt.id for prompt in kept] == [prompts[0].id]
    assert skipped == {
        "prompts: image does not open": 1,
        "prompts: longer than 128 tokens": 1,
        "prompts: no facts for its image": 1,
    }
    for wrong in (bad[0], prompts[1]):
        with pytest.raises(DataError, match=wrong.id):
            usable_prompts([wrong], facts, encoder, 128)
    with pytest.raises(TrainingError, match="no prompt is left"):
        usable_prompts([bad[1]], facts, encoder, 128, **lenient)


def test_overrides_reach_their_stage_and_unknown_ones_are_refused():
    settings = fact_rlhf_settings(
        "fact-rlhf-reference", length_weight=0.0, gamma=0.9, advantage="rloo", samples_per_prompt=2, lora=True, seed=3
    )
    assert settings.length_weight == 0.0
    assert settings.gamma == 0.9
    assert settings.advantage == "rloo"
    stages = (reward_model_settings(settings), supervised_settings(settings))
    assert [stage.seed for stage in stages] == [settings.seed] * 2 == [3, 3]
    assert [stage.lora for stage in stages] == [True, True]
    assert [stage.lora_rank for stage in stages] == [64, 64]
    assert [stage.merge_adapter for stage in stages] == [False, True]
    with pytest.raises(UsageError, match="gama"):
        fact_rlhf_settings(gama=1.0)
    with pytest.raises(UsageError, match="unknown preset"):
        fact_rlhf_settings("fact-rlhf")


# --- supervised start -------------------------------------------------------------------------------------------------


def test_the_supervised_start_learns_its_answers(tiny, world, tmp_path):
    chosen = TrainingSettings(learning_rate=1e-2, batch_size=6, max_steps=5, merge_adapter=True)
    out = supervised_start(tiny, world / "conversations.json", tmp_path / "sft", chosen, image_folder=world / "images")
    log = read_log(out / LOG)
    assert log[-1]["nll"] < 0.7 * log[0]["nll"]
    said = [[row["image"], row["conversations"]] for row in json.loads((world / "conversations.json").read_text())]
    named = [[image, turns[0]["value"].replace("<image>", "").strip(), turns[1]["value"]] for image, turns in said]
    digest = hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]
    assert read_card(out).data == {"conversations": digest}
    assert TransformersEngine(out).model is not None
    written = (out / "model.safetensors").stat().st_mtime_ns
    supervised_start(tiny, world / "conversations.json", out, chosen, image_folder=world / "images")
    assert (out / "model.safetensors").stat().st_mtime_ns == written


def test_conversations_without_an_answer_are_refused(tmp_path):
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([asked("a", "x.jpg", "What?", "A dog."), asked("b", "x.jpg", "What?")]))
    with pytest.raises(DataError, match="row 1"):
        read_answered(path, tmp_path)
