"""Presets: the published numbers, and a source for each."""

import dataclasses
from pathlib import Path

import pytest

from aligners.changed import REFERENCE_DIFF
from aligners.presets import DPO_PRESETS, FACT_RLHF_PRESETS, RLAIF_PRESETS, SOURCES, find_preset
from aligners.settings import changed, dpo_json, feedback_json, ppo_json
from aligners.training.settings import ModelSettings
from evalkit.__main__ import main
from evalkit.errors import UsageError

EVERY = [*DPO_PRESETS.values(), *RLAIF_PRESETS.values(), *FACT_RLHF_PRESETS.values()]
MACHINE = {field.name for field in dataclasses.fields(ModelSettings)}  # what a paper does not say, but for some of it
OPTIONS = {
    *("name", "max_steps", "chat_template", "bad_images", "missing_facts", "held_out", "use_facts", "generation_batch"),
    *("save_rollouts", "max_rollouts", "samples_per_prompt", "advantage", "value_backbone", "value_learning_rate"),
    *("score_yes", "eval_steps", "select", "patience", "keep_checkpoints", "label_confidence", "rl", "vllm"),
}


@pytest.mark.parametrize("preset", EVERY, ids=lambda p: f"{type(p).__name__}-{p.name}")
def test_every_constant_names_its_source(preset):
    fields = {field.name for field in dataclasses.fields(preset)}
    assert fields - MACHINE - OPTIONS <= set(SOURCES[preset.name]) <= fields
    assert all(SOURCES[preset.name].values())


@pytest.mark.parametrize(
    ("name", "gamma", "beta", "average", "batch_size", "warmup_ratio"),
    [
        ("ddpo-paper", 5.0, 0.5, True, 32, 0.10),
        ("ddpo-release", 1.1, 0.1, False, 8, 0.03),
        ("dpo", 1.0, 0.1, False, 32, 0.10),
    ],
)
def test_dense_dpo_presets_hold_the_published_numbers(name, gamma, beta, average, batch_size, warmup_ratio):
    preset = find_preset(DPO_PRESETS, name)
    found = (preset.gamma, preset.beta, preset.average, preset.batch_size, preset.warmup_ratio)
    assert found == (gamma, beta, average, batch_size, warmup_ratio)
    assert (preset.learning_rate, preset.lora_learning_rate) == (5e-7, 1e-5)


def test_the_release_preset_diffs_as_released():
    assert DPO_PRESETS["ddpo-release"].diff is REFERENCE_DIFF
    assert DPO_PRESETS["ddpo-paper"].diff.one_sided


def test_what_the_release_had_in_force_without_naming_it_is_named():
    """Transformers added a top-k of 50 to the released script; here it is a setting, which older runs do not hold."""
    assert "50 was in force" in SOURCES["rlaifv"]["top_k"]
    assert "top-k of 50" in deviations()["online RLAIF"]
    rlaifv = RLAIF_PRESETS["rlaifv"]
    assert "top_k" not in feedback_json(rlaifv)
    assert feedback_json(changed(rlaifv, {"top_k": 50}))["top_k"] == 50


def deviations():
    """Method -> what differs here, of PAPERS.md."""
    text = (Path(__file__).parents[2] / "PAPERS.md").read_text(encoding="utf-8")
    table = text.split("## Alignment methods")[1].split("\n## ")[0]
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n") if line)
    assert header[-1] == "differs here"
    assert {len(row) for row in rows} == {len(header)}
    return {row[0]: row[-1] for row in rows}


def test_every_method_says_where_it_differs_from_its_paper():
    named = deviations()
    assert {"dense DPO", "DPO", "online RLAIF", "fact-augmented RLHF"} <= set(named)
    assert [method for method, said in named.items() if not said] == []
    for words, method in (
        ("LoRA above 1e9 parameters", "dense DPO"),
        ("without the Vicuna system sentence", "dense DPO"),
        ("the policy labels and rules split", "online RLAIF"),
        ("last step of each round", "online RLAIF"),
        ("cosine schedule", "fact-augmented RLHF"),
        ("RLOO", "fact-augmented RLHF"),
    ):
        assert words in named[method]


def test_rlaifv_samples_ten_and_trains_plain_dpo_on_sums():
    preset = RLAIF_PRESETS["rlaifv"]
    assert (preset.candidates, preset.temperature, preset.iterations, preset.pairs_per_image) == (10, 0.7, 4, 2)
    assert (preset.gamma, preset.beta, preset.average, preset.batch_size) == (1.0, 0.1, False, 8)
    assert (preset.warmup_ratio, preset.weight_decay, preset.epochs) == (0.05, 0.01, 4)


def test_the_masked_preset_differs_from_the_reference_in_the_named_effects_only():
    reference, masked = (FACT_RLHF_PRESETS[f"fact-rlhf-{kind}"] for kind in ("reference", "masked"))
    different = {f.name for f in dataclasses.fields(reference) if getattr(reference, f.name) != getattr(masked, f.name)}
    assert different == {"name", "masked", "cut_at_question_mark", "kl_estimator", "reward_scale"}
    assert (reference.kl_coefficient, reference.clip, reference.value_weight, reference.reward_scale) == (
        0.1,
        0.2,
        0.1,
        10,
    )


def test_an_unknown_preset_is_named_with_the_known_ones():
    with pytest.raises(UsageError, match=r"'ddpo'.*ddpo-paper"):
        find_preset(DPO_PRESETS, "ddpo")


@pytest.mark.parametrize(
    ("method", "presets"), [("ddpo", DPO_PRESETS), ("rlaif", RLAIF_PRESETS), ("fact-rlhf", FACT_RLHF_PRESETS)]
)
def test_the_help_names_every_preset(method, presets, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["align", method, "--help"])
    text = "".join(capsys.readouterr().out.split())  # a name may be folded at its hyphen
    assert all(name in text for name in presets)


def test_a_learning_rate_that_is_asked_for_holds_for_an_adapter_too():
    preset = DPO_PRESETS["ddpo-paper"]
    assert changed(preset, {"learning_rate": 1e-4}).lora_learning_rate is None
    assert changed(preset, {"learning_rate": 1e-4, "lora_learning_rate": 1e-3}).lora_learning_rate == 1e-3
    assert changed(preset, {"gamma": 2.0}).lora_learning_rate == 1e-5


def test_settings_stand_on_cards_under_the_names_they_always_had():
    rlaifv = RLAIF_PRESETS["rlaifv"]
    dpo = dpo_json(rlaifv)
    assert (dpo["preset"], dpo["beta"], dpo["learning_rate"], dpo["chat_template"]) == ("rlaifv", 0.1, 5e-7, None)
    assert "candidates" not in dpo
    assert {"name", "candidates", "min_gap"} <= set(feedback_json(rlaifv))
    assert "beta" not in feedback_json(rlaifv)
    ppo = ppo_json(FACT_RLHF_PRESETS["fact-rlhf-masked"])
    assert (ppo["name"], ppo["reward"]["length_weight"], ppo["training_lora"]) == ("fact-rlhf-masked", -10.0, None)
    assert (ppo["micro_batch_size"], ppo["reward_epochs"]) == (8, 1)


@pytest.mark.parametrize("preset", EVERY, ids=lambda p: p.name)
def test_settings_are_flat(preset):
    nested = {f.name for f in dataclasses.fields(preset) if dataclasses.is_dataclass(getattr(preset, f.name))}
    assert nested <= {"diff"}
