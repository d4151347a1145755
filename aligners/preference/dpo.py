"""Preference pairs as DPO trains on them: which are usable, their tokens with weights, batches, the loss of a batch.

RLHF-V (Yu et al. 2024, arXiv:2312.00849): the tokens that a correction changed count gamma times.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aligners.changed import changed_spans, token_weights
from aligners.losses import dpo_loss, sequence_logps, with_nll
from aligners.preference.encoding import Layout, PairBatch, PairEncoder, PromptLengths, TokenPair
from aligners.preference.layouts import move, response_logps
from aligners.preference.pairs import Pair, told
from aligners.preference.reference_logps import PairLogps
from aligners.settings import DpoSettings
from aligners.training.logprobs import spread_rows
from aligners.training.processes.shared import computed_once as computed_once
from evalkit.errors import DataError, TrainingError

UNCHANGED_CHOSEN = "no changed token in chosen (kept)"
WITHOUT_IMAGES = "no image at all: this trains on text alone (kept)"


@dataclass(frozen=True, slots=True)
class DpoRow:
    """A pair ready for training: tokens, their weights, their reference log-probabilities."""

    tokens: TokenPair
    chosen_weights: Sequence[float]
    rejected_weights: Sequence[float]
    reference: PairLogps


@dataclass(frozen=True, slots=True)
class DpoBatch:
    """Pairs as tensors; `weights` and `reference` are (2n, L): rows chosen 1..n, then rejected 1..n.

    confidence   that each label is right, (n,); None where it is not used
    """

    pairs: PairBatch
    weights: Tensor
    reference: Tensor
    confidence: Tensor | None = None

    def to(self, device: torch.device) -> "DpoBatch":
        """The batch on another device."""
        confidence = None if self.confidence is None else self.confidence.to(device)
        return DpoBatch(move(self.pairs, device), self.weights.to(device), self.reference.to(device), confidence)


def usable_pairs(
    pairs: Sequence[Pair], encoder: PairEncoder, settings: DpoSettings
) -> tuple[list[TokenPair], dict[str, int]]:
    """Token pairs that can be trained on, and how many were left out for which reason.

    Left out: an empty response, twice the same text or tokens, more than `max_length` tokens of prompt and response, an
    image that does not open (with `bad_images="skip"`). A pair in which nothing of the *chosen* response changed (a
    pure deletion) stays and is counted. Of several processes the first one looks at the images and tells the others.

    Raises:
        DataError: if an image does not open and `bad_images` is "error", or only some pairs have an image.
        TrainingError: if nothing is left.
    """
    counts: dict[str, int] = {}
    kept: list[TokenPair] = []
    candidates = [encoder.tokenize(pair) for pair in pairs]
    checked = computed_once(lambda: _checked(pairs, candidates, encoder, settings))
    for tokens, reason in zip(candidates, checked, strict=True):
        if reason is None:
            kept.append(tokens)
            spans = changed_spans(tokens.rejected_ids, tokens.chosen_ids, settings.diff)
            reason = None if any(span.chosen for span in spans) else UNCHANGED_CHOSEN
        if reason is not None:
            counts[reason] = counts.get(reason, 0) + 1
    unsure = [pair.id for pair in kept if pair.confidence is None] if settings.label_confidence else []
    if unsure:
        raise DataError(
            f"{len(unsure)} of {len(kept)} pairs say nothing in meta.confidence, e.g. {unsure[0]!r}: it is the "
            "probability that the label is right (evalkit pairs ITERATION --build confident), or label_confidence=false"
        )
    if not kept:
        raise TrainingError(f"no pair is left to train on, of {len(pairs)}: {told(counts)}")
    blind = [pair.id for pair in kept if not pair.prompt.images]
    if len(blind) == len(kept):
        counts[WITHOUT_IMAGES] = len(blind)
    if blind and len(blind) < len(kept):
        raise DataError(
            f"{len(blind)} of {len(kept)} pairs have no image, e.g. {blind[0]!r}: a batch cannot hold both kinds; "
            "train them apart"
        )
    return kept, counts


def _checked(
    pairs: Sequence[Pair], candidates: Sequence[TokenPair], encoder: PairEncoder, settings: DpoSettings
) -> list[str | None]:
    """Why each pair is left out; None: it is not.

    Raises:
        DataError: if an image does not open and `bad_images` is "error".
    """
    reasons: list[str | None] = []
    lengths = PromptLengths(encoder.prompt_tokens, encoder.text_tokens)
    with ThreadPoolExecutor() as pool:
        problems = list(pool.map(_image_problem, candidates))
    for pair, tokens, problem in zip(pairs, candidates, problems, strict=True):
        reason = pair.defect()
        if reason is None and tokens.chosen_ids == tokens.rejected_ids:
            reason = "chosen and rejected are the same tokens"
        if reason is None and problem is not None:
            if settings.bad_images == "error":
                raise DataError(f"pair {pair.id!r}: {problem} (set bad_images to 'skip' to leave such pairs out)")
            reason = "image does not open"
        if reason is None:
            response = max(len(tokens.chosen_ids), len(tokens.rejected_ids))
            if lengths.of(tokens.prompt) + response > settings.max_length:
                reason = f"longer than {settings.max_length} tokens"
        reasons.append(reason)
    return reasons


def _image_problem(pair: TokenPair) -> str | None:
    try:
        for image in pair.prompt.images:
            image.open()
    except DataError as error:
        return str(error)
    return None


def weighted_rows(pairs: Sequence[TokenPair], logps: Sequence[PairLogps], settings: DpoSettings) -> list[DpoRow]:
    """Attach token weights and reference log-probabilities."""
    rows = []
    for pair, reference in zip(pairs, logps, strict=True):
        rejected, chosen = token_weights(pair.rejected_ids, pair.chosen_ids, settings.gamma, settings.diff)
        rows.append(DpoRow(pair, chosen, rejected, reference))
    return rows


def dpo_batch(rows: Sequence[DpoRow], encoder: PairEncoder, layout: Layout) -> DpoBatch:
    """Rows as one batch."""
    batch = encoder.batch([row.tokens for row in rows], layout)
    weights = [row.chosen_weights for row in rows] + [row.rejected_weights for row in rows]
    reference = [row.reference.chosen for row in rows] + [row.reference.rejected for row in rows]
    longest = max(map(len, weights))
    mask = torch.arange(longest) < torch.tensor([len(row) for row in weights])[:, None]
    sure = [row.tokens.confidence for row in rows]
    confidence = torch.tensor(sure) if all(one is not None for one in sure) else None
    reference_rows = spread_rows([row.tolist() for row in reference], mask)
    return DpoBatch(batch, spread_rows(weights, mask), reference_rows, confidence)


def dpo_objective(
    settings: DpoSettings, layout: Layout
) -> Callable[[Any, DpoBatch], tuple[Tensor, Mapping[str, Tensor]]]:
    """The loss function of a preset, for `training.fit`."""

    def objective(model: Any, batch: DpoBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        logps, mask = response_logps(model, batch.pairs, layout)
        policy = sequence_logps(logps, mask, batch.weights, average=settings.average)
        reference = sequence_logps(batch.reference, mask, batch.weights, average=settings.average)
        half = len(policy) // 2
        confidence = batch.confidence if settings.label_confidence else None
        loss = dpo_loss(policy[:half], policy[half:], reference[:half], reference[half:], settings.beta, confidence)
        mean_chosen = sequence_logps(logps[:half], mask[:half], average=True)
        lengths = mask.sum(-1).float()
        metrics = {
            "accuracy": loss.accuracies,
            "margin": loss.margins,
            "chosen_reward": loss.chosen_rewards,
            "rejected_reward": loss.rejected_rewards,
            "chosen_nll": -mean_chosen.detach(),
            "chosen_tokens": lengths[:half],
            "rejected_tokens": lengths[half:],
            # mean of log pi - log pi_ref over the pair's tokens: how far the policy has moved on this data
            "log_ratio": ((logps.detach() - batch.reference) * mask).sum(-1).view(2, -1).sum(0)
            / lengths.view(2, -1).sum(0),
        }
        return with_nll(loss.losses, mean_chosen, settings.nll_weight), metrics

    return objective
