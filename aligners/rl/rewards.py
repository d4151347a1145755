"""What a response earns in fact-augmented RLHF (LLaVA-RLHF, Sun et al. 2023, arXiv:2309.14525).

    reward = reward model's number
           + penalty if the response has no end token
           + length_weight * (tokens / response limit) * the prompt's multiplier
           + correct_weight * symbolic bonus + bias

The KL charge belongs to tokens, not to the response: see `aligners.rl.ppo.shape_rewards`.
"""

from dataclasses import dataclass

from torch import Tensor

from aligners.reward_model.facts import AnswerKind
from aligners.settings import RewardSettings


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
class ResponseRewards:
    """Parts of the reward, each (B,), kept apart for the log; `total` is what PPO gets."""

    model: Tensor
    length: Tensor
    correct: Tensor
    total: Tensor


def response_rewards(
    model_rewards: Tensor,
    has_end: Tensor,
    length_share: Tensor,
    bonus: Tensor,
    settings: RewardSettings,
) -> ResponseRewards:
    """Put the parts of a response's reward together.

    Args:
        model_rewards: of the reward model, (B,).
        has_end: bool (B,).
        length_share: response tokens / response limit * the prompt's multiplier, fraction, (B,).
        bonus: of `symbolic_bonus`, (B,).
        settings: the weights.
    """
    model = end_penalised(model_rewards, has_end, settings)
    length = settings.length_weight * length_share
    correct = settings.correct_weight * bonus
    return ResponseRewards(model, length, correct, model + length + correct + settings.bias)


def end_penalised(model_rewards: Tensor, has_end: Tensor, settings: RewardSettings) -> Tensor:
    """The reward model's number where the response ended by itself, else with (or replaced by) the penalty, (B,)."""
    punished = model_rewards + settings.end_penalty if settings.relative else settings.end_penalty
    return model_rewards.where(has_end.bool(), punished)


def length_share(lengths: Tensor, response_limit: int, multiplier: Tensor | float = 1.0) -> Tensor:
    """Share of the response limit that was used, times the prompt's `length_bonus` multiplier, (B,)."""
    return lengths / response_limit * multiplier
