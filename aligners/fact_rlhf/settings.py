"""Settings of fact-augmented RLHF: a preset with some changed, and what each stage reads of them."""

from typing import Any

from aligners.presets import FACT_RLHF_PRESETS, find_preset
from aligners.reward_model.fit import RewardModelSettings
from aligners.settings import TRL_KL, FactRlhfSettings, changed
from aligners.training.settings import ModelSettings, TrainingSettings

TRL_SAMPLES = {"rloo": 2, "grpo": 8}  # responses to a prompt, as RLOOConfig and GRPOConfig of TRL 1.16 have them


def fact_rlhf_settings(preset: str | FactRlhfSettings = "fact-rlhf-masked", **overrides: Any) -> FactRlhfSettings:
    """Settings of a preset with some changed, e.g. fact_rlhf_settings("fact-rlhf-masked", advantage="rloo").

    With rl="rloo" or "grpo" the settings that TRL's trainer fixes follow, and as many responses a prompt as it samples
    by itself.

    Raises:
        UsageError: if there is no such preset or setting.
    """
    base = find_preset(FACT_RLHF_PRESETS, preset) if isinstance(preset, str) else preset
    rl = overrides.get("rl", base.rl)
    if rl in TRL_SAMPLES and base.rl == "ppo":
        overrides = {"advantage": rl, "kl_estimator": TRL_KL[rl], "samples_per_prompt": TRL_SAMPLES[rl]} | overrides
    return changed(base, overrides)


def reward_model_settings(settings: FactRlhfSettings) -> RewardModelSettings:
    """The reward model's stage."""
    return RewardModelSettings(
        **_shared(settings) | {"max_grad_norm": settings.reward_max_grad_norm},
        learning_rate=settings.reward_learning_rate,
        epochs=settings.reward_epochs,
        batch_size=settings.reward_batch_size,
        centre_weight=settings.centre_weight,
        held_out=settings.held_out,
        missing_facts=settings.missing_facts,
        bad_images=settings.bad_images,
    )


def supervised_settings(settings: FactRlhfSettings) -> TrainingSettings:
    """The supervised start's stage; it ends in whole weights."""
    return TrainingSettings(
        **_shared(settings) | {"merge_adapter": True, "max_grad_norm": 1.0},
        learning_rate=settings.supervised_learning_rate,
        epochs=settings.supervised_epochs,
        batch_size=settings.reward_batch_size,
    )


def _shared(settings: FactRlhfSettings) -> dict[str, Any]:
    """What is trained and held, the same in every stage."""
    shared = {name: getattr(settings, name) for name in ModelSettings.__dataclass_fields__}
    if settings.micro_batch_size is not None:
        shared["micro_batch_size"] = min(settings.micro_batch_size, settings.reward_batch_size)
    return shared
