"""Supervised training of the miniature base: the likelihood of packed responses (`aligners.training.packing`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aligners.training.logprobs import IGNORE
from aligners.training.packing import PackedBatch
from evalkit.errors import TrainingError
from evalkit.process.progress import Progress


def response_loss(hidden: Tensor, head: nn.Module, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean negative log-likelihood of the response tokens, nats.

    The head runs on the positions that predict a response token only.

    Args:
        hidden: last hidden states, (B, T, D).
        head: maps hidden states to logits.
        labels, weights: as in PackedBatch.
    """
    predicted = labels[:, 1:] != IGNORE
    logits = head(hidden[:, :-1][predicted])  # (N, V)
    losses = nn.functional.cross_entropy(logits.float(), labels[:, 1:][predicted], reduction="none")
    token_weights = weights[:, 1:][predicted]
    return (losses * token_weights).sum() / token_weights.sum()


def supervised_loss(model: Any, batch: PackedBatch, pixel_values: Tensor) -> Tensor:
    """The loss of a LLaVA-like model (`model.model` and `model.lm_head`) on a packed batch with one image a row."""
    return response_loss(hidden_states(model, batch, pixel_values), model.lm_head, batch.labels, batch.weights)


def hidden_states(model: Any, batch: PackedBatch, pixel_values: Tensor) -> Tensor:
    """Last hidden states of a packed batch, (B, T, D)."""
    states: Tensor = model.model(
        input_ids=batch.input_ids,
        pixel_values=pixel_values,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
    ).last_hidden_state
    return states


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast: one-cycle learning rate with AdamW and clipped gradients."""

    steps: int
    lr: float
    warmup: float = 0.1  # share of the steps
    beta2: float = 0.98
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0


def fit(
    what: str,
    losses: Iterable[Tensor],
    groups: Sequence[tuple[Sequence[nn.Parameter], float]],
    schedule: Schedule,
    progress: Progress | None = None,
) -> list[float]:
    """Minimise a stream of losses; each is drawn after the previous step, so it sees the updated weights.

    Args:
        what: name of the stage, for progress and errors.
        losses: yields one scalar a step; `schedule.steps` are drawn.
        groups: parameters with a factor on the learning rate each.
        progress: called with (what, steps done, steps in all).
    Returns:
        The loss of every step.
    Raises:
        TrainingError: if a loss is not finite, or the stream ends early.
    """
    optimizer = torch.optim.AdamW(
        [{"params": list(parameters), "lr": schedule.lr * factor} for parameters, factor in groups],
        betas=(0.9, schedule.beta2),
        weight_decay=schedule.weight_decay,
    )
    peaks = [schedule.lr * factor for _, factor in groups]
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=schedule.steps, pct_start=schedule.warmup)
    trained = [parameter for parameters, _ in groups for parameter in parameters]
    history: list[float] = []
    for loss in losses:
        if not torch.isfinite(loss):
            raise TrainingError(f"{what}: the loss of step {len(history) + 1} is {loss.item()}")
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained, schedule.max_grad_norm)
        optimizer.step()
        cycle.step()
        optimizer.zero_grad()
        history.append(loss.item())
        if progress:
            progress(what, len(history), schedule.steps)
        if len(history) == schedule.steps:
            return history
    raise TrainingError(f"{what}: data for {len(history)} steps, {schedule.steps} wanted")
