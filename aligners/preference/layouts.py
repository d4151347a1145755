"""How the two responses of a pair share forward passes: three layouts, and which one fits is measured."""

from typing import Any

import torch
from torch import Tensor

from aligners.preference.encoding import Layout, PairBatch, PairEncoder, TokenPair
from aligners.training.processes.sharding import reshard
from aligners.training.response_logps import bare, measuring, pad_responses
from evalkit.engines.model.causality import check_causality
from evalkit.engines.model.running import on_device
from evalkit.errors import EngineError, TrainingError

# Largest mean difference in nats between two layouts that counts as rounding.
_ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-4}


_HALF_ROUNDING = 0.03


def response_logps(model: Any, batch: PairBatch, layout: Layout) -> tuple[Tensor, Tensor]:
    """Log-probabilities of all response tokens of a batch; to be called inside `measuring(model)`.

    Returns:
        (token_logps, response_mask): nats (2n, L) and bool (2n, L); rows are chosen 1..n, rejected 1..n.
    """
    outputs = model(**batch.inputs, logp_labels=batch.labels, share_images=layout is Layout.SHARED_IMAGES)
    rows, mask = pad_responses(outputs["token_logps"], batch.lengths)
    order = torch.tensor(batch.order, device=rows.device)
    return rows[order], mask[order]


def move(batch: PairBatch, device: torch.device) -> PairBatch:
    """The batch on another device."""
    inputs = {n: v.to(device) if isinstance(v, Tensor) else v for n, v in batch.inputs.items()}
    return PairBatch(inputs, batch.labels.to(device), batch.lengths, batch.order)


@torch.no_grad()
def agree(model: Any, one: Tensor, other: Tensor) -> bool:
    """Whether two readings of the same responses differ by rounding only, nats."""
    return bool((one - other).abs().mean() <= _ROUNDING.get(model.dtype, _HALF_ROUNDING))


@torch.no_grad()
def find_layout(model: Any, encoder: PairEncoder, pairs: list[TokenPair]) -> Layout:
    """The cheapest layout with which this model gives the log-probabilities of two plain rows, tried on some pairs."""
    was_training = model.training
    model.eval()
    try:
        with measuring(model):
            _prove_causal(model, encoder, pairs[0])
            plain = _plain(model, encoder, pairs)
            for layout in (Layout.PACKED, Layout.SHARED_IMAGES):
                logps = _attempt(model, encoder, pairs, layout)
                if logps is not None and agree(model, logps, plain):
                    return layout
            return Layout.SEPARATE
    finally:
        reshard(model)
        model.train(was_training)


def _prove_causal(model: Any, encoder: PairEncoder, pair: TokenPair) -> None:
    """A response's tokens must not see later ones: the model would be trained on its own future."""
    encoded = encoder.encoder.encode([pair.prompt], None, [pair.chosen_ids], padding_side="right")
    try:
        check_causality(model, on_device(bare(model), encoded), encoded.starts[0])
    except EngineError as error:
        raise TrainingError(str(error)) from error
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return  # what does not fit at all is named by `_plain`


def _plain(model: Any, encoder: PairEncoder, pairs: list[TokenPair]) -> Tensor:
    try:
        return _logps(model, encoder, pairs, Layout.SEPARATE)
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        raise TrainingError(
            f"{type(bare(model)).__name__} cannot read the first pairs as its processor encodes them: {error} "
            "(does the processor belong to this checkpoint?)"
        ) from error


def _attempt(model: Any, encoder: PairEncoder, pairs: list[TokenPair], layout: Layout) -> Tensor | None:
    """Log-probabilities, or None where model or prompts do not fit this layout."""
    try:
        return _logps(model, encoder, pairs, layout)
    except (TrainingError, EngineError, TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return None


def _logps(model: Any, encoder: PairEncoder, pairs: list[TokenPair], layout: Layout) -> Tensor:
    batch = move(encoder.batch(pairs, layout), model.device)
    return response_logps(model, batch, layout)[0]
