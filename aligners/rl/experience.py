"""A rollout as the updates of PPO need it: log-probabilities, values, rewards, advantages (numbers: `aligners.rl.ppo`).

`gae` is the paper's advantage with a value model (LLaVA-RLHF, arXiv:2309.14525), `rloo` (arXiv:2402.14740) needs none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aligners.rl.models import ActorCritic
from aligners.rl.ppo import gae_advantages, mean_over, rloo_advantages, shape_rewards, token_kl
from aligners.rl.rewards import ResponseRewards, length_share, response_rewards, symbolic_bonus
from aligners.rl.rollouts import Rollouts, ScoringBatch, batch_logps, non_pad_lengths, widen
from aligners.rl.settings import PpoSettings
from evalkit.errors import TrainingError

# rollouts -> the reward model's score of each response, (B,)
Scorer = Callable[[Rollouts], Tensor]


@dataclass(frozen=True, slots=True)
class Experience:
    """All numbers of a rollout that the updates need; each (B, T), and the row of the log."""

    batches: list[ScoringBatch]
    old_logps: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor
    mask: Tensor | None  # None: padding counts, as in the released code
    log: dict[str, float]


def experience_of(
    rollouts: Rollouts,
    batches: list[ScoringBatch],
    models: ActorCritic,
    reference: Any,
    scorer: Scorer,
    settings: PpoSettings,
    pad_id: int,
) -> Experience:
    """Score a rollout and compute its advantages.

    Raises:
        TrainingError: if rewards or KL are not finite.
    """
    preset, cut = settings.preset, rollouts.cut
    width = cut.ids.shape[1]
    with torch.no_grad():
        found = [models(batch, preset.temperature, entropy=True) for batch in batches]
        logps = torch.cat([widen(part.logps, width) for part in found]).cpu()
        values = torch.cat([widen(part.values, width) for part in found]).cpu()
        entropy = torch.cat([widen(part.entropies, width) for part in found if part.entropies is not None]).cpu()
        reference_logps = torch.cat(
            [widen(batch_logps(reference, batch, preset.temperature), width) for batch in batches]
        ).cpu()
        kl = token_kl(logps, reference_logps, preset.kl_estimator)
        rewards = _rewards(rollouts, scorer, settings, pad_id)
    if not bool(torch.isfinite(rewards.total).all() & torch.isfinite(kl).all()):
        raise TrainingError("rewards or KL of a rollout are not finite; a lower learning rate usually helps")
    mask = cut.mask if preset.masked else None
    advantages, returns = _advantages(rewards.total, kl, values, cut.mask, settings)
    log = {
        "reward": rewards.total.mean().item(),
        "model_score": rewards.score.mean().item(),
        "length_reward": rewards.length.mean().item(),
        "correct_reward": rewards.correct.mean().item(),
        "kl": ((logps - reference_logps) * cut.mask).sum(-1).mean().item(),
        "token_kl": mean_over(kl, cut.mask).item(),
        "tokens": cut.mask.sum(-1).float().mean().item(),
        "ended": cut.has_end.float().mean().item(),
        "entropy": mean_over(entropy, cut.mask).item(),
        "value": mean_over(values, cut.mask).item(),
    }
    return Experience(batches, logps, values, advantages, returns, mask, log)


def _rewards(rollouts: Rollouts, scorer: Scorer, settings: PpoSettings, pad_id: int) -> ResponseRewards:
    """What each response earns: the reward model's score, its length, its answer, its end."""
    preset, cut = settings.preset, rollouts.cut
    lengths = cut.mask.sum(-1) if preset.masked else non_pad_lengths(cut.ids, pad_id)
    multipliers = torch.tensor([prompt.length_multiplier for prompt in rollouts.prompts])
    bonus = [
        symbolic_bonus(prompt.kind, text, score_yes=settings.score_yes)
        for prompt, text in zip(rollouts.prompts, rollouts.texts, strict=True)
    ]
    share = length_share(lengths.float(), preset.response_limit, multipliers)
    return response_rewards(scorer(rollouts), cut.has_end, share, torch.tensor(bonus), preset.reward)


def _advantages(
    rewards: Tensor, kl: Tensor, values: Tensor, response_mask: Tensor, settings: PpoSettings
) -> tuple[Tensor, Tensor]:
    """(advantages, returns), each (B, T), of rewards (B,) and what the KL charges at each token (B, T)."""
    preset = settings.preset
    if settings.advantage == "gae":
        mask = response_mask if preset.masked else None
        found = gae_advantages(
            shape_rewards(rewards, kl, preset.kl_coefficient, mask),
            values,
            gamma=preset.gamma,
            lam=preset.lam,
            reward_scale=preset.reward_scale,
            mask=mask,
        )
        return found.advantages, found.returns
    charged = rewards - preset.kl_coefficient * (kl * response_mask).sum(-1)
    return _rloo(charged * preset.reward_scale, settings.samples_per_prompt, kl.shape[1]), torch.zeros_like(values)


def _rloo(charged: Tensor, samples: int, width: int) -> Tensor:
    """Leave-one-out advantages with unit standard deviation over the rollout, the same for every token, (B, T)."""
    raw = rloo_advantages(charged.view(-1, samples)).flatten()
    return (raw / (raw.std(correction=0) + 1e-8)).unsqueeze(-1).expand(-1, width)
