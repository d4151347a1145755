"""The published settings of the three methods, as data; every constant names its source.

    ddpo-paper            dense DPO as the RLHF-V paper describes it
    ddpo-release          dense DPO as the repository's command has been since February 2024
    dpo                   plain DPO on sums
    rlaifv                online feedback of RLAIF-V with its DPO
    fact-rlhf-reference   LLaVA-RLHF's released PPO, padding effects and all
    fact-rlhf-masked      the same constants with padding masked out

Sources: "[1]" RLHF-V, arXiv:2312.00849 (paper); "[1c]" its training command and code; "[2]" RLAIF-V,
arXiv:2405.17220 (paper); "[2c]" its code and scripts; "[3]" LLaVA-RLHF, arXiv:2309.14525 (paper); "[3c]" its code and
scripts; "[4]" DPO, arXiv:2305.18290; "[own]" a decision of this project, with its reason.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from aligners.changed import CORRECTED_DIFF, REFERENCE_DIFF
from aligners.settings import DpoSettings, FactRlhfSettings, RlaifSettings
from aligners.settings import RewardSettings as RewardSettings
from evalkit.errors import UsageError

T = TypeVar("T")

DDPO_PAPER = DpoSettings(
    name="ddpo-paper",
    gamma=5.0,
    beta=0.5,
    average=True,
    diff=CORRECTED_DIFF,
    nll_weight=0.0,
    learning_rate=5e-7,
    lora_learning_rate=1e-5,
    warmup_ratio=0.10,
    weight_decay=0.0,
    batch_size=32,
    epochs=7,
    max_length=2048,
)

DDPO_RELEASE = replace(
    DDPO_PAPER,
    name="ddpo-release",
    gamma=1.1,
    beta=0.1,
    average=False,
    diff=REFERENCE_DIFF,
    warmup_ratio=0.03,
    batch_size=8,
    epochs=3.0,
)

DPO = replace(
    DDPO_PAPER,
    name="dpo",
    gamma=1.0,
    beta=0.1,
    average=False,
    epochs=1,
)

RLAIFV = RlaifSettings(
    name="rlaifv",
    iterations=4,
    prompts_per_round=4000,
    candidates=10,
    temperature=0.7,
    top_p=1.0,
    max_new_tokens=512,
    min_gap=1.0,
    pairs_per_image=2,
    tie_confirms=False,
    confirmed_weight=0.0,
    repeated_weight=0.0,
    soft_labels=False,
    balance_lengths=True,
    gamma=1.0,
    beta=0.1,
    average=False,
    diff=CORRECTED_DIFF,
    nll_weight=0.0,
    learning_rate=5e-7,
    lora_learning_rate=1e-5,
    warmup_ratio=0.05,
    weight_decay=0.01,
    batch_size=8,
    epochs=4,
    max_length=2048,
)

FACT_RLHF_REFERENCE = FactRlhfSettings(
    name="fact-rlhf-reference",
    masked=False,
    cut_at_question_mark=True,
    end_penalty=-8.0,
    relative=True,
    length_weight=-10.0,
    correct_weight=2.0,
    bias=0.0,
    kl_estimator="k1-clamped",
    kl_coefficient=0.1,
    reward_scale=10.0,
    gamma=1.0,
    lam=1.0,
    clip=0.2,
    value_clip=0.2,
    value_weight=0.1,
    response_limit=896,
    query_limit=128,
    temperature=1.0,
    rollout_size=512,
    step_size=256,
    inner_epochs=2,
    epochs=4,
    learning_rate=3e-5,
    warmup_rollouts=5,
    max_grad_norm=1.0,
    reward_learning_rate=2e-5,
    reward_epochs=1,
    reward_batch_size=32,
    reward_max_grad_norm=0.3,
    centre_weight=1e-3,
    supervised_learning_rate=1e-4,
    supervised_epochs=1.0,
    lora_rank=64,
    lora_alpha=16,
    lora_dropout=0.0,
)

FACT_RLHF_MASKED = replace(
    FACT_RLHF_REFERENCE,
    name="fact-rlhf-masked",
    masked=True,
    cut_at_question_mark=False,
    kl_estimator="k3",
    reward_scale=1.0,
)

DPO_PRESETS = {preset.name: preset for preset in (DDPO_PAPER, DDPO_RELEASE, DPO)}
RLAIF_PRESETS = {preset.name: preset for preset in (RLAIFV,)}
FACT_RLHF_PRESETS = {preset.name: preset for preset in (FACT_RLHF_REFERENCE, FACT_RLHF_MASKED)}


def find_preset(presets: Mapping[str, T], name: str) -> T:
    """Look up a preset in one of the tables above.

    Raises:
        UsageError: if there is none of this name.
    """
    if name not in presets:
        raise UsageError(f"unknown preset {name!r}; known: {', '.join(presets)}")
    return presets[name]


# --- where every constant comes from -------------------------------------------------------------------------------

_DDPO_PAPER = {
    "gamma": "[1] implementation details",
    "beta": "[1] implementation details",
    "average": "[1] dense score: 1/N with N the weight mass",
    "diff": "[own] the paper weights corrected segments; the released diff misses deletions (see aligners.changed)",
    "nll_weight": "[1] the objective has no likelihood term",
    "learning_rate": "[1] implementation details, full fine-tuning",
    "lora_learning_rate": "[own] the ratio to full training of RLAIF-V's LoRA script (1e-5, r 64, alpha 16)",
    "warmup_ratio": "[1] implementation details",
    "weight_decay": "[1c] training script",
    "batch_size": "[1] implementation details",
    "epochs": "[1] implementation details",
    "max_length": "[1c] training script",
}
_FACT_RLHF_REFERENCE = {
    "masked": "[3c] PPO trainer: plain means over 896 columns, reward in the last column",
    "cut_at_question_mark": "[3c] truncation after both question-mark ids",
    "end_penalty": "[3c] RL script and trainer",
    "relative": "[3c] RL trainer",
    "length_weight": "[3c] RL script and trainer; also [3]",
    "correct_weight": "[3c] RL script and trainer; also [3]",
    "bias": "[3c] RL trainer",
    "kl_estimator": "[3c] PPO trainer: k1 clamped at 0",
    "kl_coefficient": "[3c] RL script, fixed",
    "reward_scale": "[3c] PPO trainer: rewards x 10 when not whitened",
    "gamma": "[3c] RL trainer",
    "lam": "[3c] RL trainer",
    "clip": "[3c] RL trainer: cliprange",
    "value_clip": "[3c] RL trainer: cliprange_value",
    "value_weight": "[3c] RL trainer: vf_coef",
    "response_limit": "[3c] RL script: response_len",
    "query_limit": "[3c] RL script: query_len",
    "temperature": "[3c] RL script; top-p 1",
    "rollout_size": "[3c] RL script",
    "step_size": "[3c] RL script",
    "inner_epochs": "[3c] RL script: noptepochs",
    "epochs": "[3c] RL script: 562 rollouts over 72k prompts",
    "learning_rate": "[3c] RL script, LoRA",
    "warmup_rollouts": "[3c] RL script: 5 warm-up steps, stepped once per rollout",
    "max_grad_norm": "[3c] RL script",
    "reward_learning_rate": "[3c] reward-model script, constant after 3 % warm-up",
    "reward_epochs": "[3c] reward-model script",
    "reward_batch_size": "[3c] reward-model script: 4 x 8 devices",
    "reward_max_grad_norm": "[3c] reward-model code, default of its training arguments",
    "supervised_learning_rate": "[3c] policy initialisation: LoRA",
    "supervised_epochs": "[3c] policy initialisation: one epoch",
    "centre_weight": "[3c] reward-model loss",
    "lora_rank": "[3c] scripts",
    "lora_alpha": "[3c] scripts",
    "lora_dropout": "[3c] scripts",
}
# name of a preset -> field -> source
SOURCES: Mapping[str, Mapping[str, str]] = {
    "ddpo-paper": _DDPO_PAPER,
    "ddpo-release": {
        **_DDPO_PAPER,
        "gamma": "[1c] README command since February 2024",
        "beta": "[1c] README command since February 2024",
        "average": "[1c] README command: dpo_use_average False",
        "diff": "[1c] diff of the training code; here on response tokens, before padding",
        "nll_weight": "[1c] SFT_weight, environment variable, 0 by default",
        "learning_rate": "[1c] training script, full fine-tuning",
        "warmup_ratio": "[1c] training script",
        "batch_size": "[1c] README command: 1 x 1 x 8 devices",
        "epochs": "[1c] 2160 steps x 8 / 5733 pairs",
    },
    "dpo": {
        **_DDPO_PAPER,
        "gamma": "[4] eq. 7: every token once",
        "beta": "[4] default of its experiments",
        "average": "[4] eq. 7: log-probability of the whole response",
        "diff": "[own] without effect while gamma is 1",
        "nll_weight": "[4] eq. 7 has no likelihood term",
        "learning_rate": "[own] as ddpo-paper, so that the two differ in the loss alone",
        "warmup_ratio": "[own] as ddpo-paper",
        "batch_size": "[own] as ddpo-paper",
        "epochs": "[own] 1: with unknown data, fewer passes drift less",
    },
    "rlaifv": {
        "iterations": "[2] implementation details",
        "prompts_per_round": "[2] implementation details: about 4k instructions",
        "candidates": "[2] implementation details and [2c] repeat = 10",
        "temperature": "[2c] generation script",
        "top_p": "[2c] generation script: not overridden",
        "top_k": "[own] none; in the release top_k is not overridden, so that transformers' 50 was in force",
        "max_new_tokens": "[2c] generation script",
        "min_gap": "[2c] pair construction: diff = 1",
        "pairs_per_image": "[2c] pair construction: sample_num = 2 per image id",
        "tie_confirms": "[2c] pair construction: strict yes > no (the paper: refuted if no > yes)",
        "confirmed_weight": "[2c] a score counts refuted claims alone; above 0, saying less stops paying",
        "repeated_weight": "[2c] responses with more claims than distinct questions are left out of the pairs",
        "soft_labels": "[2c] a claim counts 0 or 1; soft counts make pairs of what the labeler is sure of",
        "balance_lengths": "[2c] length filter of the pipeline",
        "gamma": "[2c] training script: token weighting off",
        "beta": "[2c] training script",
        "average": "[2c] training script: dpo_use_average False",
        "diff": "[own] without effect while gamma is 1",
        "nll_weight": "[2c] SFT_weight, environment variable, 0 by default",
        "learning_rate": "[2c] training script, full fine-tuning",
        "lora_learning_rate": "[2c] LoRA script (r 64, alpha 16)",
        "warmup_ratio": "[2c] training script",
        "weight_decay": "[2c] training script",
        "batch_size": "[2c] training script: 1 x 8 devices",
        "epochs": "[2c] training script: 2672 steps = 4 epochs of 5342 pairs",
        "max_length": "[2c] training script",
    },
    "fact-rlhf-reference": _FACT_RLHF_REFERENCE,
    "fact-rlhf-masked": {
        **_FACT_RLHF_REFERENCE,
        "masked": "[own] padding must not dilute the gradient, and a reward belongs to the end token",
        "cut_at_question_mark": "[own] asking back is not a failure to end",
        "kl_estimator": "[own] never negative like the clamp, but unbiased",
        "reward_scale": "[own] a factor of 10 against a value clip of 0.2 leaves the value model behind",
    },
}
