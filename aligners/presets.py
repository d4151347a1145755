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
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from aligners.changed import CORRECTED_DIFF, REFERENCE_DIFF, DiffSettings
from aligners.training.settings import check_kinds, check_range
from evalkit.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DpoPreset:
    """Settings of (dense) DPO.

    gamma           weight of a changed token; 1 is plain DPO
    beta            inverse temperature of the implicit reward
    average         divide sequence log-probabilities by their weight mass
    diff            how changed tokens are found
    nll_weight      weight of the chosen response's negative log-likelihood
    learning_rate   peak, cosine schedule after `warmup_ratio` of the steps; weight_decay: of AdamW
    batch_size      pairs per optimiser step, over all devices
    epochs          passes over the pairs
    max_length      tokens of prompt + response
    sources         field -> where its value comes from
    """

    name: str
    gamma: float
    beta: float
    average: bool
    diff: DiffSettings
    nll_weight: float
    learning_rate: float
    warmup_ratio: float
    weight_decay: float
    batch_size: int
    epochs: float
    max_length: int
    sources: Mapping[str, str] = field(repr=False)

    def __post_init__(self) -> None:
        check_kinds(self)
        check_range(self, "gamma", "beta", "max_length")


DDPO_PAPER = DpoPreset(
    name="ddpo-paper",
    gamma=5.0,
    beta=0.5,
    average=True,
    diff=CORRECTED_DIFF,
    nll_weight=0.0,
    learning_rate=5e-7,
    warmup_ratio=0.10,
    weight_decay=0.0,
    batch_size=32,
    epochs=7,
    max_length=2048,
    sources={
        "gamma": "[1] implementation details",
        "beta": "[1] implementation details",
        "average": "[1] dense score: 1/N with N the weight mass",
        "diff": "[own] the paper weights corrected segments; the released diff misses deletions (see aligners.changed)",
        "nll_weight": "[1] the objective has no likelihood term",
        "learning_rate": "[1] implementation details, full fine-tuning",
        "warmup_ratio": "[1] implementation details",
        "weight_decay": "[1c] training script",
        "batch_size": "[1] implementation details",
        "epochs": "[1] implementation details",
        "max_length": "[1c] training script",
    },
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
    sources={
        **DDPO_PAPER.sources,
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
)

DPO = replace(
    DDPO_PAPER,
    name="dpo",
    gamma=1.0,
    beta=0.1,
    average=False,
    epochs=1,
    sources={
        **DDPO_PAPER.sources,
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
)

RLAIFV_DPO = replace(
    DPO,
    name="rlaifv",
    learning_rate=5e-7,
    warmup_ratio=0.05,
    weight_decay=0.01,
    batch_size=8,
    epochs=4,
    sources={
        "gamma": "[2c] training script: token weighting off",
        "beta": "[2c] training script",
        "average": "[2c] training script: dpo_use_average False",
        "diff": "[own] without effect while gamma is 1",
        "nll_weight": "[2c] SFT_weight, environment variable, 0 by default",
        "learning_rate": "[2c] training script, full fine-tuning; its LoRA script (r 64, alpha 16) has 1e-5",
        "warmup_ratio": "[2c] training script",
        "weight_decay": "[2c] training script",
        "batch_size": "[2c] training script: 1 x 8 devices",
        "epochs": "[2c] training script: 2672 steps = 4 epochs of 5342 pairs",
        "max_length": "[2c] training script",
    },
)


@dataclass(frozen=True, slots=True)
class RlaifPreset:
    """Settings of online feedback; `dpo` trains each iteration.

    iterations           rounds of sampling, labelling, training; each starts from the last one's checkpoint
    prompts_per_round    instructions sampled in one round
    candidates           responses per prompt
    temperature, top_p   of the candidates; max_new_tokens: their limit
    min_gap              score difference (refuted claims) a pair needs
    pairs_per_image      pairs drawn per image
    tie_confirms         a claim with p_yes = p_no counts as confirmed
    confirmed_weight     what a confirmed claim adds to a score (a refuted one takes 1 away)
    repeated_weight      what a claim made again takes away; 0: a response that repeats a claim makes no pair
    soft_labels          count a claim by the labeler's probabilities instead of as confirmed or refuted
    balance_lengths      drop pairs with a much shorter chosen response
    """

    name: str
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
    dpo: DpoPreset
    sources: Mapping[str, str] = field(repr=False)

    def __post_init__(self) -> None:
        check_kinds(self)
        check_range(self, "iterations", "prompts_per_round", "temperature", "max_new_tokens", "pairs_per_image")
        check_range(self, "candidates", low=2, inclusive=True)


RLAIFV = RlaifPreset(
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
    dpo=RLAIFV_DPO,
    sources={
        "iterations": "[2] implementation details",
        "prompts_per_round": "[2] implementation details: about 4k instructions",
        "candidates": "[2] implementation details and [2c] repeat = 10",
        "temperature": "[2c] generation script",
        "top_p": "[2c] generation script: not overridden",
        "max_new_tokens": "[2c] generation script",
        "min_gap": "[2c] pair construction: diff = 1",
        "pairs_per_image": "[2c] pair construction: sample_num = 2 per image id",
        "tie_confirms": "[2c] pair construction: strict yes > no (the paper: refuted if no > yes)",
        "confirmed_weight": "[2c] a score counts refuted claims alone; above 0, saying less stops paying",
        "repeated_weight": "[2c] responses with more claims than distinct questions are left out of the pairs",
        "soft_labels": "[2c] a claim counts 0 or 1; soft counts make pairs of what the labeler is sure of",
        "balance_lengths": "[2c] length filter of the pipeline",
        "dpo": "see its own sources",
    },
)


@dataclass(frozen=True, slots=True)
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


KlEstimator = Literal["k1", "k1-clamped", "k3"]


@dataclass(frozen=True, slots=True)
class FactRlhfPreset:
    """Settings of the reward model and of PPO.

    masked                 leave padding out of means, whitening and rewards (see aligners.rl.ppo)
    cut_at_question_mark   end responses at a question mark (which then earn the end penalty)
    reward                 weights of the parts of a response's reward
    kl_estimator           per-token KL; kl_coefficient: its price
    reward_scale           multiplies shaped rewards
    gamma, lam             discount and trace decay of GAE
    clip, value_clip       of the two losses; value_weight: weight of the value loss
    response_limit         new tokens; query_limit: prompt tokens, longer prompts are left out
    temperature            of rollouts
    rollout_size           responses per rollout; step_size: per optimiser step; inner_epochs: passes over a rollout
    epochs                 passes over the prompts
    learning_rate          of policy and value, cosine over rollouts after `warmup_rollouts`; max_grad_norm
    reward_learning_rate, reward_epochs, reward_batch_size, centre_weight    of the reward model
    lora_rank, lora_alpha, lora_dropout                                      of all adapters
    """

    name: str
    masked: bool
    cut_at_question_mark: bool
    reward: RewardSettings
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
    max_grad_norm: float
    reward_learning_rate: float
    reward_epochs: float
    reward_batch_size: int
    centre_weight: float
    lora_rank: int
    lora_alpha: int
    lora_dropout: float
    sources: Mapping[str, str] = field(repr=False)

    def __post_init__(self) -> None:
        check_kinds(self)
        check_range(self, "response_limit", "query_limit", "temperature", "rollout_size", "step_size", "inner_epochs")
        check_range(self, "epochs", "learning_rate", "reward_learning_rate", "reward_epochs", "reward_batch_size")


FACT_RLHF_REFERENCE = FactRlhfPreset(
    name="fact-rlhf-reference",
    masked=False,
    cut_at_question_mark=True,
    reward=RewardSettings(end_penalty=-8.0, relative=True, length_weight=-10.0, correct_weight=2.0, bias=0.0),
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
    centre_weight=1e-3,
    lora_rank=64,
    lora_alpha=16,
    lora_dropout=0.0,
    sources={
        "masked": "[3c] PPO trainer: plain means over 896 columns, reward in the last column",
        "cut_at_question_mark": "[3c] truncation after both question-mark ids",
        "reward": "[3c] RL script and trainer; length and correctness terms also [3]",
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
        "centre_weight": "[3c] reward-model loss",
        "lora_rank": "[3c] scripts",
        "lora_alpha": "[3c] scripts",
        "lora_dropout": "[3c] scripts",
    },
)

FACT_RLHF_MASKED = replace(
    FACT_RLHF_REFERENCE,
    name="fact-rlhf-masked",
    masked=True,
    cut_at_question_mark=False,
    kl_estimator="k3",
    reward_scale=1.0,
    sources={
        **FACT_RLHF_REFERENCE.sources,
        "masked": "[own] padding must not dilute the gradient, and a reward belongs to the end token",
        "cut_at_question_mark": "[own] asking back is not a failure to end",
        "kl_estimator": "[own] never negative like the clamp, but unbiased",
        "reward_scale": "[own] a factor of 10 against a value clip of 0.2 leaves the value model behind",
    },
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
