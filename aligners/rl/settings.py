"""Settings of PPO: a preset of `aligners.presets` and what it leaves open."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Literal

from aligners.presets import FactRlhfPreset
from aligners.training.settings import TrainingSettings, check_kinds, check_range
from evalkit.errors import UsageError
from evalkit.schema import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoSettings:
    """A preset and what it leaves open.

    training             LoRA or full, what is frozen (its learning rate, batch size and epochs are not used)
    advantage            "gae" or "rloo"
    samples_per_prompt   responses to each prompt of a rollout; at least 2 for rloo
    value_backbone       "own": a copy of the reward model's backbone; "shared": the policy's hidden states
    value_learning_rate  None: the policy's
    score_yes            judge "Yes" truths like "No" ones, see `aligners.rl.rewards.symbolic_bonus`
    max_rollouts         stop after so many; None: the preset's passes over the prompts
    micro_batch_size     responses in one forward pass
    generation_batch     sequences decoded at once
    save_rollouts        rollouts between saved states: a kill loses at most so many
    seed                 of prompts, responses and order
    """

    preset: FactRlhfPreset
    training: TrainingSettings
    advantage: Literal["gae", "rloo"] = "gae"
    samples_per_prompt: int = 1
    value_backbone: Literal["own", "shared"] = "own"
    value_learning_rate: float | None = None
    score_yes: bool = False
    max_rollouts: int | None = None
    micro_batch_size: int = 8
    generation_batch: int = 64
    save_rollouts: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        check_kinds(self)
        check_range(self, "samples_per_prompt", "max_rollouts", "micro_batch_size", "generation_batch", "save_rollouts")
        if self.advantage == "rloo" and self.samples_per_prompt < 2:
            raise UsageError("advantage 'rloo' compares responses to one prompt: set samples_per_prompt to 2 or more")
        if self.preset.rollout_size % self.samples_per_prompt:
            raise UsageError(
                f"rollout_size {self.preset.rollout_size} is not a multiple of "
                f"samples_per_prompt {self.samples_per_prompt}"
            )

    def rollouts(self, n_prompts: int) -> int:
        """Rollouts of a whole run: at least one."""
        per_rollout = self.preset.rollout_size // self.samples_per_prompt
        whole = max(1, math.floor(self.preset.epochs * n_prompts / per_rollout))
        return min(whole, self.max_rollouts) if self.max_rollouts else whole


def settings_json(settings: PpoSettings) -> dict[str, Json]:
    """All settings, flat where they are simple, without the sources of constants."""
    flat = asdict(settings)
    preset = {name: value for name, value in flat.pop("preset").items() if name != "sources"}
    training = {f"training_{name}": value for name, value in flat.pop("training").items()}
    found: dict[str, Json] = json.loads(json.dumps({**preset, **training, **flat}))
    return found
