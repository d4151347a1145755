"""The settings of each method: one flat class a method. A preset (`aligners.presets`) is an instance of it.

    DpoSettings        dense and plain DPO
    RlaifSettings      online feedback, and the DPO that trains each iteration
    FactRlhfSettings   supervised start, reward model and PPO of fact-augmented RLHF

`changed` makes a new instance with some settings changed, as a command line or a dict gives them.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeVar

from aligners.changed import DiffSettings
from aligners.training.settings import ModelSettings, TrainingSettings, check_kinds, check_range
from evalkit.errors import UsageError

S = TypeVar("S", bound=ModelSettings)
KlEstimator = Literal["k1", "k1-clamped", "k3"]
TRL_KL: Mapping[str, KlEstimator] = {"rloo": "k1", "grpo": "k3"}  # what TRL's trainers charge
Skip = Literal["error", "skip"]


def changed(base: S, overrides: Mapping[str, Any]) -> S:
    """Settings with some of them changed.

    A learning rate that is asked for holds for an adapter too, unless one is given for adapters.

    Raises:
        UsageError: if there is no such setting (all are listed), or a value is of another kind.
    """
    known = {field.name for field in fields(base)} - {"name"}
    if cutting := sorted({"max_length", "keep_end"} & set(overrides) - known):
        raise UsageError(
            f"{', '.join(cutting)}: prompts with images are never cut, their image tokens would be lost; "
            "query_limit leaves long ones out"
        )
    if unknown := sorted(set(overrides) - known):
        raise UsageError(f"unknown settings {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    values = dict(overrides)
    if "learning_rate" in values and "lora_learning_rate" in known:
        values.setdefault("lora_learning_rate", None)
    return replace(base, **values)


# --- DPO ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DpoSettings(TrainingSettings):
    """Settings of (dense) DPO, besides those of training.

    name            of the published settings they began with
    gamma           weight of a changed token; 1 is plain DPO
    beta            inverse temperature of the implicit reward
    average         divide sequence log-probabilities by their weight mass
    diff            how changed tokens are found
    nll_weight      weight of the chosen response's negative log-likelihood
    max_length      tokens of prompt + response
    chat_template   Jinja text that replaces the checkpoint's own
    bad_images      "error" or "skip": pairs whose image does not open
    held_out        pairs kept for measuring during training (whole images), at most a fifth of all
    eval_steps      steps between two measurements; None: a quarter of the run
    select          "best": end with the weights of the lowest held-out loss; "last": with those of the last step
    patience        measurements in a row without a lower held-out loss, after which training stops; None: never
    keep_checkpoints   training checkpoints that stay below `checkpoints/`
    label_confidence   weigh both orders of a pair by the probability that its label is right (meta.confidence): cDPO
    """

    name: str
    gamma: float
    beta: float
    average: bool
    diff: DiffSettings
    nll_weight: float
    max_length: int
    chat_template: str | None = None
    bad_images: Skip = "error"
    held_out: int = 0
    eval_steps: int | None = None
    select: Literal["last", "best"] = "last"
    patience: int | None = None
    keep_checkpoints: int = 0
    label_confidence: bool = False

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        check_range(self, "gamma", "beta", "max_length", "eval_steps", "patience")
        check_range(self, "held_out", "keep_checkpoints", inclusive=True)
        if not self.held_out and (self.select == "best" or self.patience is not None):
            raise UsageError("select=best and patience go by held-out pairs: set held_out to a number of them")


def dpo_json(settings: DpoSettings) -> dict[str, Any]:
    """Settings of DPO as JSON, as they stand on cards and in a run's folder."""
    whole = {field.name: getattr(settings, field.name) for field in fields(DpoSettings)}
    whole["preset"] = whole.pop("name")
    whole["diff"] = asdict(whole["diff"])
    del whole["bad_images"]  # says what is left out, not what is done with the rest
    return without_unset(whole)


# --- online feedback ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RlaifSettings(DpoSettings):
    """Settings of online feedback, besides those of the DPO that trains each iteration.

    iterations           rounds of sampling, labelling, training; each starts from the last one's checkpoint
    prompts_per_round    instructions sampled in one round
    candidates           responses per prompt
    temperature, top_p, top_k   of the candidates (top_k 0: no limit); max_new_tokens: their limit
    min_gap              score difference (refuted claims) a pair needs
    pairs_per_image      pairs drawn per image
    tie_confirms         a claim with p_yes = p_no counts as confirmed
    confirmed_weight     what a confirmed claim adds to a score (a refuted one takes 1 away)
    repeated_weight      what a claim made again takes away; 0: a response that repeats a claim makes no pair
    soft_labels          count a claim by the labeler's probabilities instead of as confirmed or refuted
    balance_lengths      drop pairs with a much shorter chosen response
    """

    iterations: int
    prompts_per_round: int
    candidates: int
    temperature: float
    top_p: float
    max_new_tokens: int
    min_gap: float
    pairs_per_image: int
    tie_confirms: bool
    confirmed_weight: float
    repeated_weight: float
    soft_labels: bool
    balance_lengths: bool
    top_k: int = 0

    def __post_init__(self) -> None:
        DpoSettings.__post_init__(self)
        check_range(self, "top_k", inclusive=True)
        check_range(self, "iterations", "prompts_per_round", "temperature", "max_new_tokens", "pairs_per_image")
        check_range(self, "candidates", low=2, inclusive=True)


def feedback_json(settings: RlaifSettings) -> dict[str, Any]:
    """Settings of online feedback as JSON, without those of its DPO."""
    own = {field.name for field in fields(RlaifSettings)} - {field.name for field in fields(DpoSettings)}
    return without_unset({name: getattr(settings, name) for name in ("name", *sorted(own))})


# --- fact-augmented RLHF ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RewardSettings:
    """Weights of the parts of a response's reward.

    end_penalty     added (or put, see below) where the end token is missing; reward units
    relative        True: the penalty is added to the score; False: it replaces the score
    length_weight   times the share of the response limit used; negative shortens
    correct_weight  times the symbolic bonus
    bias            added to every response
    """

    end_penalty: float = -8.0
    relative: bool = True
    length_weight: float = -10.0
    correct_weight: float = 2.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        check_kinds(self)


@dataclass(frozen=True, kw_only=True)
class FactRlhfSettings(ModelSettings, RewardSettings):
    """Settings of the three stages; what is trained and held holds for all of them.

    masked                 leave padding out of means, whitening and rewards (see aligners.rl.ppo)
    cut_at_question_mark   end responses at a question mark (which then earn the end penalty)
    kl_estimator           per-token KL; kl_coefficient: its price
    reward_scale           multiplies shaped rewards
    gamma, lam             discount and trace decay of GAE
    clip, value_clip       of the two losses; value_weight: weight of the value loss
    response_limit         new tokens; query_limit: prompt tokens, longer prompts are left out
    temperature            of rollouts
    rollout_size           responses per rollout; step_size: per optimiser step; inner_epochs: passes over a rollout
    epochs                 passes over the prompts; max_rollouts: stop after so many
    learning_rate          of policy and value, cosine over rollouts after `warmup_rollouts`
    value_learning_rate    None: the policy's
    advantage              of `aligners.rl.advantages`: "gae", or one that needs no value model
    samples_per_prompt     responses to each prompt of a rollout; at least 2 without a value model
    value_backbone         "own": a copy of the reward model's backbone; "shared": the policy's hidden states
    score_yes              judge "Yes" truths like "No" ones, see `aligners.rl.rewards.symbolic_bonus`
    generation_batch       sequences decoded at once
    save_rollouts          rollouts between saved states: a kill loses at most so many
    keep_checkpoints       policies along the way, evenly spaced, that stay below `checkpoints/`
    use_facts              False: plain RLHF, the reward model goes without
    rl                     "ppo": this project's loop; "rloo", "grpo": TRL's trainers (see aligners.rl.trl_stage), which
                           train on several processes
    vllm                   let vLLM inside TRL's trainer sample the responses
    reward_learning_rate, reward_epochs, reward_batch_size, reward_max_grad_norm, centre_weight    of the reward model
    held_out               comparisons kept for measuring it (whole images), at most a fifth of all
    missing_facts, bad_images   "error" or "skip": comparisons and prompts without facts or with an unreadable image
    supervised_learning_rate, supervised_epochs    of the supervised start
    """

    name: str
    masked: bool
    cut_at_question_mark: bool
    kl_estimator: KlEstimator
    kl_coefficient: float
    reward_scale: float
    gamma: float
    lam: float
    clip: float
    value_clip: float
    value_weight: float
    response_limit: int
    query_limit: int
    temperature: float
    rollout_size: int
    step_size: int
    inner_epochs: int
    epochs: float
    learning_rate: float
    warmup_rollouts: int
    reward_learning_rate: float
    reward_epochs: float
    reward_batch_size: int
    reward_max_grad_norm: float
    centre_weight: float
    supervised_learning_rate: float
    supervised_epochs: float
    advantage: Literal["gae", "rloo", "grpo"] = "gae"
    samples_per_prompt: int = 1
    value_backbone: Literal["own", "shared"] = "own"
    value_learning_rate: float | None = None
    score_yes: bool = False
    max_rollouts: int | None = None
    generation_batch: int = 64
    save_rollouts: int = 10
    keep_checkpoints: int = 0
    use_facts: bool = True
    held_out: int = 500
    missing_facts: Skip = "error"
    bad_images: Skip = "error"
    rl: Literal["ppo", "rloo", "grpo"] = "ppo"
    vllm: bool = False

    def __post_init__(self) -> None:
        ModelSettings.__post_init__(self)
        check_range(self, "response_limit", "query_limit", "temperature", "rollout_size", "step_size", "inner_epochs")
        check_range(self, "epochs", "learning_rate", "reward_learning_rate", "reward_epochs", "reward_batch_size")
        check_range(self, "samples_per_prompt", "max_rollouts", "generation_batch", "save_rollouts")
        check_range(self, "supervised_learning_rate", "supervised_epochs")
        check_range(self, "held_out", "keep_checkpoints", inclusive=True)
        if self.advantage != "gae" and self.samples_per_prompt < 2:
            raise UsageError(
                f"advantage {self.advantage!r} compares responses to one prompt: set samples_per_prompt to 2 or more"
            )
        if self.rollout_size % self.samples_per_prompt:
            raise UsageError(
                f"rollout_size {self.rollout_size} is not a multiple of samples_per_prompt {self.samples_per_prompt}"
            )
        if self.rl != "ppo":
            self._check_trl()
        elif self.vllm:
            raise UsageError("vllm samples for TRL's trainers alone: set rl to rloo or grpo")

    def _check_trl(self) -> None:
        """Raise UsageError for what TRL's trainers cannot do."""
        fixed: dict[str, Any] = {"masked": True, "cut_at_question_mark": False, "reward_scale": 1.0}
        fixed |= {"advantage": self.rl, "kl_estimator": TRL_KL[self.rl]}
        for name, value in fixed.items():
            if getattr(self, name) != value:
                raise UsageError(f"rl={self.rl} trains with {name}={value}, not {getattr(self, name)!r}")
        if self.rollout_size % self.step_size:
            raise UsageError(f"rollout_size {self.rollout_size} is not a multiple of step_size {self.step_size}")

    @property
    def steps_per_rollout(self) -> int:
        """Optimiser steps on each rollout."""
        return max(1, self.rollout_size // self.step_size) * self.inner_epochs

    @property
    def prompts_per_rollout(self) -> int:
        """Prompts whose responses make a rollout."""
        return self.rollout_size // self.samples_per_prompt

    @property
    def responses_at_once(self) -> int:
        """Responses of a rollout in one forward pass."""
        return self.micro_batch_size or min(8, self.step_size)

    def rollouts(self, n_prompts: int) -> int:
        """Rollouts of a whole run: at least one."""
        whole = max(1, math.floor(self.epochs * n_prompts / self.prompts_per_rollout))
        return min(whole, self.max_rollouts) if self.max_rollouts else whole


_OF_OTHER_STAGES = {
    *("held_out", "missing_facts", "bad_images", "supervised_learning_rate", "supervised_epochs"),
    *("reward_max_grad_norm", "use_facts", "save_steps", "log_steps", "workers", "weight_decay"),
}
_OF_TRAINING = ("lora", "merge_adapter", "train_vision", "train_projector", "bf16", "gradient_checkpointing")


def ppo_json(settings: FactRlhfSettings) -> dict[str, Any]:
    """Settings of the PPO stage as JSON, as they stand on cards and in a run's folder."""
    parts = {field.name for field in fields(RewardSettings)}
    flat: dict[str, Any] = {"reward": {name: getattr(settings, name) for name in sorted(parts)}}
    for field in fields(settings):
        if field.name not in parts | _OF_OTHER_STAGES:
            key = f"training_{field.name}" if field.name in _OF_TRAINING else field.name
            flat[key] = getattr(settings, field.name)
    flat["micro_batch_size"] = settings.responses_at_once
    plain: dict[str, Any] = json.loads(json.dumps(without_unset(flat)))
    return plain


def without_unset(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that came later are left out while they are not used: an older folder still is this run's."""
    return {name: value for name, value in whole.items() if name not in _CAME_LATER or value != _CAME_LATER[name]}


_CAME_LATER = {
    "lora_learning_rate": None,
    "save_dtype": None,
    "held_out": 0,
    "eval_steps": None,
    "select": "last",
    "patience": None,
    "keep_checkpoints": 0,
    "label_confidence": False,
    "top_k": 0,
    "attention": None,
    "max_pixels": None,
    "quantize": None,
    "rl": "ppo",
    "vllm": False,
}
