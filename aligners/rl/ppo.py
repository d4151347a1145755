"""The numbers of PPO on token sequences: KL, shaped rewards, advantages, clipped losses.

PPO (Schulman et al. 2017, arXiv:1707.06347) as LLaVA-RLHF uses it (Sun et al. 2023, arXiv:2309.14525), and
RLOO (Ahmadian et al. 2024, arXiv:2402.14740), which needs no value model.

Every function takes an optional `mask`, bool (B, T), True on response tokens up to and including the end token.
None reproduces the released LLaVA-RLHF code: plain means over all columns, padding included, and the response's reward
in the last column. With a mask padding changes nothing: means run over response tokens, and the reward falls on the
last of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from aligners.settings import KlEstimator
from aligners.training.response_logps import last_positions

# --- statistics ---------------------------------------------------------------------------------------------------


def mean_over(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of all values, or of those under the mask; a scalar. An empty mask gives 0."""
    if mask is None:
        return values.mean()
    return values.where(mask, 0.0).sum() / mask.sum().clamp(min=1)


def whiten(values: Tensor, mask: Tensor | None = None, *, shift_mean: bool = True, per_row: bool = False) -> Tensor:
    """(x - mean) / (population standard deviation + 1e-8).

    Args:
        values: (B, T).
        mask: statistics over these positions only; 0 is returned elsewhere.
        shift_mean: False adds the mean back, so that only the scale changes.
        per_row: statistics of each row instead of the whole batch.
    """
    counted = torch.ones_like(values) if mask is None else mask.to(values.dtype)
    total = counted.sum(-1, keepdim=True) if per_row else counted.sum()
    total = total.clamp(min=1)

    def average(x: Tensor) -> Tensor:
        x = x.where(counted.bool(), 0.0)
        return (x.sum(-1, keepdim=True) if per_row else x.sum()) / total

    mean = average(values)
    scaled = (values - mean) / (average((values - mean) ** 2).sqrt() + 1e-8)
    return (scaled if shift_mean else scaled + mean).where(counted.bool(), 0.0)


# --- rewards ------------------------------------------------------------------------------------------------------


def token_kl(logps: Tensor, reference_logps: Tensor, estimator: KlEstimator) -> Tensor:
    """Per-token estimate of KL(policy || reference) at sampled tokens, nats, (B, T).

    With d = logps - reference_logps (Schulman 2020, "Approximating KL divergence"):
    k1          d, unbiased, may be negative
    k1-clamped  max(0, d), LLaVA-RLHF's; biased upwards
    k3          exp(-d) - 1 + d, unbiased and never negative
    """
    d = logps - reference_logps
    if estimator == "k1":
        return d
    if estimator == "k1-clamped":
        return d.clamp(min=0)
    return torch.expm1(-d) + d


def shape_rewards(response_rewards: Tensor, kl: Tensor, kl_coefficient: float, mask: Tensor | None = None) -> Tensor:
    """Reward of every token: -kl_coefficient * KL, plus the response's reward at its end.

    Args:
        response_rewards: one number per response, see `aligners.rl.rewards.response_rewards`, (B,).
        kl: from `token_kl`, (B, T).
        kl_coefficient: 0.1 in LLaVA-RLHF.
        mask: with it the response's reward is added at the last response token and padding earns 0; without it, at
            the last column whatever stands there, as the released code does.
    Returns:
        (B, T).
    Raises:
        ValueError: if a row of the mask is empty: its reward would vanish.
    """
    rewards = -kl_coefficient * kl
    if mask is None:
        end = torch.full((len(kl), 1), kl.shape[1] - 1, device=kl.device)
    else:
        if not bool(mask.any(-1).all()):
            raise ValueError("a rollout has no response token, so its reward has no place")
        rewards = rewards.where(mask, 0.0)
        end = last_positions(mask).unsqueeze(-1)
    return rewards.scatter_add(1, end, response_rewards.unsqueeze(-1).to(rewards.dtype))


# --- advantages ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Advantages:
    """Advantages and value targets, each (B, T), and the advantages before whitening."""

    advantages: Tensor
    returns: Tensor
    raw_advantages: Tensor


def gae(rewards: Tensor, values: Tensor, gamma: float, lam: float, mask: Tensor | None = None) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2015, arXiv:1506.02438, eq. 16), not whitened.

    A_t = d_t + gamma lam A_{t+1},  d_t = r_t + gamma V_{t+1} - V_t,  V after the last column is 0.

    Args:
        rewards: (B, T).
        values: V_t of the state before token t, (B, T).
        gamma: discount; 1 in LLaVA-RLHF.
        lam: trace decay; 1 in LLaVA-RLHF (Monte Carlo).
        mask: rewards and values outside count as 0, and so does the advantage there. Rows must be right-padded.
    Returns:
        (B, T).
    """
    if mask is not None:
        rewards, values = rewards.where(mask, 0.0), values.where(mask, 0.0)
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards + gamma * next_values - values
    advantages = torch.zeros_like(rewards)
    running = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        running = deltas[:, t] + gamma * lam * running
        advantages[:, t] = running
    return advantages


def gae_advantages(
    rewards: Tensor,
    values: Tensor,
    *,
    gamma: float = 1.0,
    lam: float = 1.0,
    reward_scale: float = 1.0,
    whiten_rewards: bool = False,
    mask: Tensor | None = None,
) -> Advantages:
    """Whitened advantages and value targets of a rollout batch, as in LLaVA-RLHF.

    Args:
        rewards: shaped rewards, (B, T).
        values: of the value model at rollout time, (B, T).
        gamma: discount.
        lam: trace decay.
        reward_scale: multiplies the rewards when they are not whitened; the released code has 10 written in.
        whiten_rewards: divide the rewards by their standard deviation instead (the mean stays).
        mask: see the module; None whitens over padding too, as the released code does.
    """
    scaled = whiten(rewards, mask, shift_mean=False) if whiten_rewards else rewards * reward_scale
    raw = gae(scaled, values, gamma, lam, mask)
    targets = raw + (values if mask is None else values.where(mask, 0.0))
    return Advantages(whiten(raw, mask), targets, raw)


def rloo_advantages(response_rewards: Tensor) -> Tensor:
    """Reward minus the mean reward of the other responses to the same prompt (RLOO, arXiv:2402.14740).

    Args:
        response_rewards: K responses to each of P prompts, KL charge included, (P, K), K >= 2.
    Returns:
        (P, K); every token of a response gets its number.
    Raises:
        ValueError: if K < 2: there is nothing to leave out.
    """
    count = response_rewards.shape[-1]
    if count < 2:
        raise ValueError(f"leave-one-out needs at least 2 responses per prompt, got {count}")
    others = response_rewards.sum(-1, keepdim=True) - response_rewards
    return response_rewards - others / (count - 1)


# --- losses -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """Scalars: `loss`; share of positions where the clip decides; 1/2 mean squared log-ratio, an estimate of KL."""

    loss: Tensor
    clip_fraction: Tensor
    approximate_kl: Tensor


@dataclass(frozen=True, slots=True)
class ValueLoss:
    """Scalars: `loss` (1/2 mean squared error, clipped, no coefficient yet); share of positions the clip decides."""

    loss: Tensor
    clip_fraction: Tensor


def policy_loss(
    logps: Tensor, old_logps: Tensor, advantages: Tensor, clip: float, mask: Tensor | None = None
) -> PolicyLoss:
    """Clipped surrogate (arXiv:1707.06347 eq. 7): mean max(-A rho, -A clamp(rho, 1 - clip, 1 + clip)).

    Args:
        logps: of the current policy, nats, (B, T).
        old_logps: at rollout time, nats, (B, T), no gradient.
        advantages: (B, T), no gradient.
        clip: 0.2 in LLaVA-RLHF.
        mask: see the module.
    """
    log_ratio = logps - old_logps if mask is None else (logps - old_logps).where(mask, 0.0)
    ratio = log_ratio.exp()
    free = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip)
    decided = (clipped > free).to(logps.dtype)
    return PolicyLoss(
        mean_over(torch.maximum(free, clipped), mask),
        mean_over(decided, mask).detach(),
        0.5 * mean_over(log_ratio**2, mask).detach(),
    )


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, clip: float, mask: Tensor | None = None
) -> ValueLoss:
    """Clipped value error: 1/2 mean max((v - R)^2, (clamp(v, v_old +- clip) - R)^2).

    Args:
        values: of the current value model, (B, T).
        old_values: at rollout time, (B, T), no gradient.
        returns: value targets, (B, T), no gradient.
        clip: 0.2 in LLaVA-RLHF, in units of (scaled) reward; `math.inf` leaves the error unclipped.
        mask: see the module.
    """
    near = torch.minimum(torch.maximum(values, old_values - clip), old_values + clip)
    free, clipped = (values - returns) ** 2, (near - returns) ** 2
    decided = (clipped > free).to(values.dtype)
    return ValueLoss(0.5 * mean_over(torch.maximum(free, clipped), mask), mean_over(decided, mask).detach())
