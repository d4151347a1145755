"""Advantages by name: rewards of a rollout -> how much better than expected each token was.

    gae    with a value model (LLaVA-RLHF's PPO, arXiv:2309.14525; arXiv:1506.02438)
    rloo   against the other responses to the prompt (Ahmadian et al. 2024, arXiv:2402.14740)
    grpo   against the mean of the responses to the prompt, over their deviation (Shao et al. 2024, arXiv:2402.03300)

The last two need no value model and several responses a prompt; the KL is charged to the response's reward there
(GRPO's authors put it into the loss).
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from aligners.rl.ppo import gae_advantages, rloo_advantages, shape_rewards
from aligners.settings import FactRlhfSettings

_TINY = 1e-8
# (rewards (B,), KL at each token (B, T), values (B, T), response mask (B, T), settings) -> (advantages, returns) (B, T)
Advantage = Callable[[Tensor, Tensor, Tensor, Tensor, FactRlhfSettings], tuple[Tensor, Tensor]]


def with_values(
    rewards: Tensor, kl: Tensor, values: Tensor, response_mask: Tensor, settings: FactRlhfSettings
) -> tuple[Tensor, Tensor]:
    """Generalised advantages, and the returns that the value model learns."""
    mask = response_mask if settings.masked else None
    estimates = gae_advantages(
        shape_rewards(rewards, kl, settings.kl_coefficient, mask),
        values,
        gamma=settings.gamma,
        lam=settings.lam,
        reward_scale=settings.reward_scale,
        mask=mask,
    )
    return estimates.advantages, estimates.returns


def leave_one_out(
    rewards: Tensor, kl: Tensor, values: Tensor, response_mask: Tensor, settings: FactRlhfSettings
) -> tuple[Tensor, Tensor]:
    """Against the mean of the prompt's other responses; unit standard deviation over the rollout."""
    groups = _charged(rewards, kl, response_mask, settings)
    raw = rloo_advantages(groups).flatten()
    return _spread(raw / (raw.std(correction=0) + _TINY), values)


def within_group(
    rewards: Tensor, kl: Tensor, values: Tensor, response_mask: Tensor, settings: FactRlhfSettings
) -> tuple[Tensor, Tensor]:
    """Against the mean of all responses to the prompt, in units of their standard deviation."""
    groups = _charged(rewards, kl, response_mask, settings)
    centred = groups - groups.mean(1, keepdim=True)
    return _spread((centred / (groups.std(1, keepdim=True) + _TINY)).flatten(), values)


ADVANTAGES: Mapping[str, Advantage] = {"gae": with_values, "rloo": leave_one_out, "grpo": within_group}


def _charged(rewards: Tensor, kl: Tensor, response_mask: Tensor, settings: FactRlhfSettings) -> Tensor:
    """Rewards less the KL of the whole response, scaled, one row a prompt, (B / samples, samples)."""
    charged = rewards - settings.kl_coefficient * (kl * response_mask).sum(-1)
    return (charged * settings.reward_scale).view(-1, settings.samples_per_prompt)


def _spread(advantages: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """The same for every token of a response; nothing for a value model to learn."""
    return advantages.unsqueeze(-1).expand(-1, values.shape[1]), torch.zeros_like(values)
