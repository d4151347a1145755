"""Settings of fact-augmented RLHF's three stages, from one preset and what is changed of it."""

from dataclasses import dataclass, fields, replace
from typing import Any

from aligners.presets import FACT_RLHF_PRESETS, FactRlhfPreset, RewardSettings, find_preset
from aligners.reward_model.fit import RewardModelSettings
from aligners.rl.settings import PpoSettings
from aligners.training.settings import TrainingSettings, check_kinds
from evalkit.errors import UsageError

_PPO_OPTIONS = tuple(
    field.name for field in fields(PpoSettings) if field.name not in ("preset", "training", "seed", "micro_batch_size")
)
_TRAINING_OPTIONS = tuple(
    name
    for name in (field.name for field in fields(TrainingSettings))
    if name not in ("learning_rate", "epochs", "max_steps", "batch_size", "warmup_ratio", "max_grad_norm")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactRlhfSettings:
    """Settings of the three stages; see `fact_rlhf_settings`.

    ppo                    the preset and the options of PPO
    reward                 of the reward model
    supervised             of the supervised start
    use_facts              False: plain RLHF, the reward model goes without
    """

    ppo: PpoSettings
    reward: RewardModelSettings
    supervised: TrainingSettings
    use_facts: bool = True

    def __post_init__(self) -> None:
        check_kinds(self)


def fact_rlhf_settings(preset: str | FactRlhfPreset = "fact-rlhf-masked", **overrides: Any) -> FactRlhfSettings:
    """Settings of a preset with some changed, e.g. fact_rlhf_settings("fact-rlhf-masked", advantage="rloo").

    Overrides are fields of the preset, of RewardSettings (end_penalty, length_weight ...), of PpoSettings, of
    RewardModelSettings (held_out, missing_facts ...), of TrainingSettings (lora, micro_batch_size, seed ...; they hold
    for every stage), and use_facts, supervised_learning_rate, supervised_epochs.

    Raises:
        UsageError: if there is no such preset or setting.
    """
    base = find_preset(FACT_RLHF_PRESETS, preset) if isinstance(preset, str) else preset
    own = {field.name for field in fields(FactRlhfPreset)} - {"name", "sources", "reward"}
    parts = {field.name for field in fields(RewardSettings)}
    rating = {"held_out", "missing_facts", "bad_images"}
    rest = {"use_facts", "supervised_learning_rate", "supervised_epochs"}
    known = own | parts | rating | rest | set(_PPO_OPTIONS) | set(_TRAINING_OPTIONS)
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise UsageError(f"unknown settings {', '.join(unknown)}; known: {', '.join(sorted(known))}")

    def given(names: Any) -> dict[str, Any]:
        return {name: value for name, value in overrides.items() if name in names}

    base = replace(base, reward=replace(base.reward, **given(parts)), **given(own))
    lora = {name: getattr(base, name) for name in ("lora_rank", "lora_alpha", "lora_dropout")}
    shared = {**lora, **given(_TRAINING_OPTIONS)}
    micro = shared.get("micro_batch_size") or min(8, base.step_size)
    if "micro_batch_size" in shared:
        shared["micro_batch_size"] = min(micro, base.reward_batch_size)
    reward_training = TrainingSettings(
        learning_rate=base.reward_learning_rate,
        epochs=base.reward_epochs,
        batch_size=base.reward_batch_size,
        max_grad_norm=0.3,  # LLaVA-RLHF's reward-model code, default of its training arguments
        **shared,
    )
    supervised = TrainingSettings(
        learning_rate=overrides.get("supervised_learning_rate", 1e-4),  # its policy initialisation: LoRA, one epoch
        epochs=overrides.get("supervised_epochs", 1.0),
        batch_size=base.reward_batch_size,
        **{**shared, "merge_adapter": True},
    )
    ppo = PpoSettings(
        preset=base,
        training=TrainingSettings(learning_rate=base.learning_rate, **shared),
        seed=overrides.get("seed", 0),
        micro_batch_size=micro,
        **given(_PPO_OPTIONS),
    )
    return FactRlhfSettings(
        ppo=ppo,
        reward=RewardModelSettings(training=reward_training, centre_weight=base.centre_weight, **given(rating)),
        supervised=supervised,
        use_facts=overrides.get("use_facts", True),
    )
