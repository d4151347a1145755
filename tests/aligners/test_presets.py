"""Presets: the published numbers, and a source for each."""

import dataclasses

import pytest

from aligners import commands
from aligners.changed import REFERENCE_DIFF
from aligners.presets import DPO_PRESETS, FACT_RLHF_PRESETS, RLAIF_PRESETS, RLAIFV_DPO, find_preset
from evalkit.errors import UsageError

EVERY = [*DPO_PRESETS.values(), RLAIFV_DPO, *RLAIF_PRESETS.values(), *FACT_RLHF_PRESETS.values()]


@pytest.mark.parametrize("preset", EVERY, ids=lambda p: f"{type(p).__name__}-{p.name}")
def test_every_constant_names_its_source(preset):
    constants = {f.name for f in dataclasses.fields(preset)} - {"name", "sources"}
    assert set(preset.sources) == constants
    assert all(preset.sources.values())


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
    assert preset.learning_rate == 5e-7


def test_the_release_preset_diffs_as_released():
    assert DPO_PRESETS["ddpo-release"].diff is REFERENCE_DIFF
    assert DPO_PRESETS["ddpo-paper"].diff.one_sided


def test_rlaifv_samples_ten_and_trains_plain_dpo_on_sums():
    preset = RLAIF_PRESETS["rlaifv"]
    assert (preset.candidates, preset.temperature, preset.iterations, preset.pairs_per_image) == (10, 0.7, 4, 2)
    assert (preset.dpo.gamma, preset.dpo.beta, preset.dpo.average, preset.dpo.batch_size) == (1.0, 0.1, False, 8)
    assert (preset.dpo.warmup_ratio, preset.dpo.weight_decay, preset.dpo.epochs) == (0.05, 0.01, 4)


def test_the_masked_preset_differs_from_the_reference_in_the_named_effects_only():
    reference, masked = (FACT_RLHF_PRESETS[f"fact-rlhf-{kind}"] for kind in ("reference", "masked"))
    different = {f.name for f in dataclasses.fields(reference) if getattr(reference, f.name) != getattr(masked, f.name)}
    assert different == {"name", "masked", "cut_at_question_mark", "kl_estimator", "reward_scale", "sources"}
    assert (reference.kl_coefficient, reference.clip, reference.value_weight, reference.reward_scale) == (
        0.1,
        0.2,
        0.1,
        10,
    )


def test_an_unknown_preset_is_named_with_the_known_ones():
    with pytest.raises(UsageError, match=r"'ddpo'.*ddpo-paper"):
        find_preset(DPO_PRESETS, "ddpo")


def test_the_help_names_every_preset():
    assert set(commands.DPO_PRESETS) == set(DPO_PRESETS)
    assert set(commands.RLAIF_PRESETS) == set(RLAIF_PRESETS)
    assert set(commands.FACT_RLHF_PRESETS) == set(FACT_RLHF_PRESETS)
