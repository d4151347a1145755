"""The clipped updates of PPO: steps over a rollout's experience, the optimiser and its learning rate."""

import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aligners.ppo import policy_loss, value_loss
from aligners.ppo_experience import Experience
from aligners.ppo_models import ActorCritic
from aligners.ppo_settings import PpoSettings
from aligners.rollouts import ScoringBatch, widen
from evalkit.errors import TrainingError


def update(
    experience: Experience, models: ActorCritic, optimizer: Any, settings: PpoSettings, rng: random.Random
) -> dict[str, float]:
    """The clipped updates of one rollout; returns means of losses and clip fractions.

    Raises:
        TrainingError: if a loss or gradient is not finite; the step is not taken.
    """
    preset, batches = settings.preset, experience.batches
    per_step = max(1, preset.step_size // settings.micro_batch_size)
    sums: dict[str, float] = {}
    count = steps = 0
    for _ in range(preset.inner_epochs):
        order = list(range(len(batches)))
        rng.shuffle(order)
        for start in range(0, len(order), per_step):
            chosen = [batches[i] for i in order[start : start + per_step]]
            share = _shares(chosen, experience)
            for batch, weight in zip(chosen, share, strict=True):
                parts, loss = _loss(batch, experience, models, settings)
                if not bool(torch.isfinite(loss)):
                    raise TrainingError(f"the PPO loss is {loss.item()}; a lower learning rate usually helps")
                (loss * weight).backward()  # type: ignore[no-untyped-call]
                count += 1
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0.0) + value
            trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            norm = nn.utils.clip_grad_norm_(trained, preset.max_grad_norm).item()
            if not math.isfinite(norm):
                raise TrainingError("the gradients of PPO are not finite; a lower learning rate usually helps")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            steps += 1
            sums["grad_norm"] = sums.get("grad_norm", 0.0) + norm
    return {name: value / (steps if name == "grad_norm" else count) for name, value in sums.items()} | {
        "optimizer_steps": float(steps)
    }


def _shares(batches: Sequence[ScoringBatch], experience: Experience) -> list[float]:
    """Weight of each micro-batch in a step's loss, so that the step is one mean over all its positions."""
    sizes = [float(sum(batch.lengths) if experience.mask is not None else len(batch.rows)) for batch in batches]
    return [size / sum(sizes) for size in sizes]


def _loss(
    batch: ScoringBatch, experience: Experience, models: ActorCritic, settings: PpoSettings
) -> tuple[dict[str, float], Tensor]:
    preset = settings.preset
    found = models(batch, preset.temperature)
    width = found.logps.shape[1] if experience.mask is not None else experience.old_logps.shape[1]
    rows = torch.tensor(batch.rows)
    device = found.logps.device

    def here(values: Tensor) -> Tensor:
        return values[rows, :width].to(device)

    mask = here(experience.mask) if experience.mask is not None else None
    policy = policy_loss(
        widen(found.logps, width), here(experience.old_logps), here(experience.advantages), preset.clip, mask
    )
    parts = {
        "policy_loss": policy.loss.item(),
        "clip_fraction": policy.clip_fraction.item(),
        "approximate_kl": policy.approximate_kl.item(),
    }
    if models.head is None:
        return parts, policy.loss
    value = value_loss(
        widen(found.values, width), here(experience.old_values), here(experience.returns), preset.value_clip, mask
    )
    parts |= {"value_loss": value.loss.item(), "value_clip_fraction": value.clip_fraction.item()}
    return parts, policy.loss + preset.value_weight * value.loss


def make_optimizer(models: ActorCritic, settings: PpoSettings) -> torch.optim.AdamW:
    """AdamW over policy and value model, each with its own learning rate."""
    policy = [parameter for parameter in models.policy.parameters() if parameter.requires_grad]
    own = {id(parameter) for parameter in policy}
    value = [p for p in models.parameters() if p.requires_grad and id(p) not in own]
    rate = settings.preset.learning_rate
    groups: list[dict[str, Any]] = [{"params": policy, "lr": rate, "peak": rate}]
    if value:
        peak = settings.value_learning_rate or rate
        groups.append({"params": value, "lr": peak, "peak": peak})
    return torch.optim.AdamW(groups, weight_decay=0.0)


def set_learning_rate(optimizer: Any, number: int, total: int, warmup: int) -> float:
    """Linear over the first `warmup` rollouts, then a cosine to 0; returns the share of the peak."""
    warmup = min(warmup, total // 2)
    if number < warmup:
        share = (number + 1) / (warmup + 1)
    else:
        share = 0.5 * (1 + math.cos(math.pi * (number - warmup) / max(1, total - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    return share
