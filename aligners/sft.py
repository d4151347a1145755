"""Supervised training: the likelihood of given responses, several of them packed behind one image.

    prefix (image)  segment 1: prompt, response  segment 2: prompt, response ...

A row encodes its prefix once; a block mask lets each segment see the prefix and itself only, and positions restart
after the prefix, so a packed row gives the same logits as its segments on their own, at a fraction of the cost.
A row with one segment is ordinary supervised training.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from aligners.logprobs import IGNORE
from evalkit.errors import TrainingError

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Segment:
    """One prompt and the response to learn; `weight` is how much each response token counts in the loss."""

    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """A shared prefix and the segments that follow it."""

    prefix_ids: Sequence[int]
    segments: Sequence[Segment]


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows as tensors.

    input_ids, position_ids   long (B, T), right-padded
    attention_mask            True where a query may look, bool (B, 1, T, T)
    labels                    the token itself on response tokens, IGNORE elsewhere, long (B, T)
    weights                   loss weight of each token, float (B, T)
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    weights: Tensor


def pack(rows: Sequence[Row], pad_id: int) -> PackedBatch:
    """Lay rows out as one batch.

    Raises:
        TrainingError: if there is no row, or a row has no response token.
    """
    if not rows or not all(any(segment.response_ids for segment in row.segments) for row in rows):
        raise TrainingError("every row of a batch needs at least one segment with a response")
    flat = [_flatten(row) for row in rows]
    length = max(len(ids) for ids, *_ in flat)

    def padded(column: int, filler: float) -> Tensor:
        return torch.tensor([row[column] + [filler] * (length - len(row[column])) for row in flat])

    return PackedBatch(
        input_ids=padded(0, pad_id),
        position_ids=padded(1, 0),
        attention_mask=block_mask(padded(2, -1)),
        labels=padded(3, IGNORE),
        weights=padded(4, 0.0),
    )


def _flatten(row: Row) -> tuple[list[int], list[int], list[int], list[int], list[float]]:
    """Token ids, positions, segment numbers (0 = prefix), labels and weights of one row."""
    start = len(row.prefix_ids)
    ids, positions, numbers = list(row.prefix_ids), list(range(start)), [0] * start
    labels, weights = [IGNORE] * start, [0.0] * start
    for number, segment in enumerate(row.segments, start=1):
        n_prompt, n_response = len(segment.prompt_ids), len(segment.response_ids)
        ids += [*segment.prompt_ids, *segment.response_ids]
        positions += range(start, start + n_prompt + n_response)
        numbers += [number] * (n_prompt + n_response)
        labels += [IGNORE] * n_prompt + list(segment.response_ids)
        weights += [0.0] * n_prompt + [segment.weight] * n_response
    return ids, positions, numbers, labels, weights


def block_mask(segment_numbers: Tensor) -> Tensor:
    """Causal mask in which a token sees its own segment and the prefix (number 0), (B, T) -> bool (B, 1, T, T)."""
    length = segment_numbers.shape[1]
    same = segment_numbers[:, :, None] == segment_numbers[:, None, :]
    prefix = segment_numbers[:, None, :] == 0
    causal = torch.ones(length, length, dtype=torch.bool, device=segment_numbers.device).tril()
    return ((same | prefix) & causal)[:, None]


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
