"""A rollout as the updates of PPO need it: log-probabilities, values, rewards, advantages (numbers: `aligners.rl.ppo`).

The reward is a function of the rollouts; the advantage is one of `aligners.rl.advantages`, by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aligners.rl.advantages import ADVANTAGES
from aligners.rl.models import ActorCritic
from aligners.rl.ppo import mean_over, token_kl
from aligners.rl.rollouts import RolloutBatch, Rollouts, batch_logps, widen
from aligners.settings import FactRlhfSettings
from aligners.training.policy import autocast
from evalkit.errors import TrainingError

TOTAL = "total"
# rollouts -> what each response earns: its TOTAL, and the parts that this is made of, by name, each (B,)
RolloutReward = Callable[[Rollouts], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Experience:
    """All numbers of a rollout that the updates need; each (B, T), and the row of the log."""

    batches: list[RolloutBatch]
    old_logps: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor
    mask: Tensor | None  # None: padding counts, as in the released code
    log: dict[str, float]


def experience_of(
    rollouts: Rollouts,
    batches: list[RolloutBatch],
    models: ActorCritic,
    reference: Any,
    reward: RolloutReward,
    settings: FactRlhfSettings,
) -> Experience:
    """Rewards and advantages of a rollout.

    Raises:
        TrainingError: if rewards or KL are not finite.
    """
    cut = rollouts.cut
    width = cut.ids.shape[1]
    with torch.no_grad(), autocast(models.policy, settings):
        outputs = [models(batch, settings.temperature, entropy=True) for batch in batches]
        logps = torch.cat([widen(part.logps, width) for part in outputs]).cpu()
        values = torch.cat([widen(part.values, width) for part in outputs]).cpu()
        entropy = torch.cat([widen(part.entropies, width) for part in outputs if part.entropies is not None]).cpu()
        reference_logps = torch.cat(
            [widen(batch_logps(reference, batch, settings.temperature), width) for batch in batches]
        ).cpu()
        kl = token_kl(logps, reference_logps, settings.kl_estimator)
        parts = reward(rollouts)
    total = parts[TOTAL]
    if not bool(torch.isfinite(total).all() & torch.isfinite(kl).all()):
        raise TrainingError("rewards or KL of a rollout are not finite; a lower learning rate usually helps")
    mask = cut.mask if settings.masked else None
    advantages, returns = ADVANTAGES[settings.advantage](total, kl, values, cut.mask, settings)
    log = {
        "reward": total.mean().item(),
        **{name: part.float().mean().item() for name, part in parts.items() if name != TOTAL},
        "kl": ((logps - reference_logps) * cut.mask).sum(-1).mean().item(),
        "token_kl": mean_over(kl, cut.mask).item(),
        "tokens": cut.mask.sum(-1).float().mean().item(),
        "ended": cut.has_end.float().mean().item(),
        "entropy": mean_over(entropy, cut.mask).item(),
        "value": mean_over(values, cut.mask).item(),
    }
    return Experience(batches, logps, values, advantages, returns, mask, log)
