"""What a response earns in fact-augmented RLHF (LLaVA-RLHF, Sun et al. 2023, arXiv:2309.14525).

    reward = reward model's score
           + penalty if the response has no end token
           + length_weight * (tokens / response limit) * the prompt's multiplier
           + correct_weight * symbolic bonus + bias

The KL charge belongs to tokens, not to the response: see `aligners.ppo.shape_rewards`.
"""

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor, nn

from aligners.ppo import last_positions
from aligners.settings import check_kinds


class AnswerKind(IntEnum):
    """The `caption_type` of LLaVA-RLHF's prompt file: what a correct answer looks like."""

    GENERAL = 1
    A = 2
    B = 3
    C = 4
    D = 5
    NO = 6
    YES = 7


def symbolic_bonus(kind: AnswerKind, response: str, *, score_yes: bool = False) -> float:
    """Rule-checked correctness of a response to a question with a known short answer.

    Multiple choice: 1 if the response starts with "X." or contains "correct option is X.", else 0. Truth "No": 0.5 if
    it starts with "No", -0.5 if it starts with "Yes", else 0. Case matters; general prompts earn 0.

    Args:
        kind: truth of the prompt.
        response: text; surrounding space is ignored.
        score_yes: judge truth "Yes" the mirrored way; the released code gives 0 there, so saying "No" can only win.
    """
    text = response.strip()
    if kind in (AnswerKind.A, AnswerKind.B, AnswerKind.C, AnswerKind.D):
        return float(text.startswith(f"{kind.name}.") or f"correct option is {kind.name}." in text)
    if kind is AnswerKind.NO or (kind is AnswerKind.YES and score_yes):
        says = 0.5 * text.startswith("Yes") - 0.5 * text.startswith("No")
        return says if kind is AnswerKind.YES else -says
    return 0.0


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


@dataclass(frozen=True, slots=True)
class ResponseRewards:
    """Parts of the reward, each (B,), kept apart for the log; `total` is what PPO gets."""

    score: Tensor
    length: Tensor
    correct: Tensor
    total: Tensor


def response_rewards(
    model_scores: Tensor,
    has_end: Tensor,
    length_share: Tensor,
    bonus: Tensor,
    settings: RewardSettings,
) -> ResponseRewards:
    """Put the parts of a response's reward together.

    Args:
        model_scores: of the reward model, (B,).
        has_end: bool (B,).
        length_share: response tokens / response limit * the prompt's multiplier, fraction, (B,).
        bonus: of `symbolic_bonus`, (B,).
        settings: the weights.
    """
    score = end_penalised(model_scores, has_end, settings)
    length = settings.length_weight * length_share
    correct = settings.correct_weight * bonus
    return ResponseRewards(score, length, correct, score + length + correct + settings.bias)


def end_penalised(model_scores: Tensor, has_end: Tensor, settings: RewardSettings) -> Tensor:
    """The reward model's score where the response ended by itself, else with (or replaced by) the penalty, (B,)."""
    punished = model_scores + settings.end_penalty if settings.relative else settings.end_penalty
    return model_scores.where(has_end.bool(), punished)


def length_share(lengths: Tensor, response_limit: int, multiplier: Tensor | float = 1.0) -> Tensor:
    """Share of the response limit that was used, times the prompt's `length_bonus` multiplier, (B,)."""
    return lengths / response_limit * multiplier


def reward_head(hidden_size: int) -> nn.Linear:
    """Scalar head of a reward model: linear, bias starts at zero."""
    head = nn.Linear(hidden_size, 1)
    nn.init.zeros_(head.bias)
    return head


def value_head(hidden_size: int) -> nn.Linear:
    """Scalar head of a value model: starts at zero, so the first advantages are the plain returns."""
    head = reward_head(hidden_size)
    nn.init.zeros_(head.weight)
    return head


def read_rewards(hidden: Tensor, attention_mask: Tensor, head: nn.Module) -> Tensor:
    """Reward of each row: the head on the last attended token, left or right padded alike.

    Args:
        hidden: last hidden states, (B, T, D).
        attention_mask: 1 on real tokens, (B, T).
        head: D -> 1.
    Returns:
        (B,), at least float32.
    """
    last = last_positions(attention_mask.bool())
    states = hidden[torch.arange(len(hidden), device=hidden.device), last]
    rewards: Tensor = head(states).squeeze(-1)
    return rewards if rewards.dtype is torch.float64 else rewards.float()
