"""Log-probabilities of response tokens from a vision-language model, without logits of the rest.

`scoring(model)` lets `model(score_labels=..., **inputs)` return the log-probabilities of the labelled tokens. It goes
through the model's own `forward`, so that wrappers around the model (DDP, FSDP, DeepSpeed, autocast, PEFT) see one
ordinary forward pass; inside, the language-model head runs on response positions only.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from aligners.encoding import Layout, PairBatch, PairEncoder, TokenPair, pad_responses
from aligners.logprobs import chunk_tokens_for, hidden_token_logps
from evalkit.errors import EngineError, TrainingError

# Largest mean difference in nats between two layouts that counts as rounding.
_ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-4}
_HALF_ROUNDING = 0.03
_PIXELS = ("pixel_values", "pixel_attention_mask")  # not needed any more once image features are there


def bare(model: Any) -> Any:
    """The transformers model below a PEFT wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def scoring(model: Any) -> Iterator[None]:
    """While inside, `model(score_labels=labels, share_images=bool, **inputs)` returns {"token_logps": (N,)}.

    N are the labelled tokens, row by row; a call without `score_labels` is the ordinary forward.
    """
    core = bare(model)
    ordinary = core.forward

    def forward(*args: Any, score_labels: Tensor | None = None, share_images: bool = False, **inputs: Any) -> Any:
        if score_labels is None:
            return ordinary(*args, **inputs)
        return {"token_logps": _labelled_logps(core, inputs, score_labels, share_images)}

    core.forward = forward
    try:
        yield
    finally:
        for name in ("forward", "_original_forward"):  # accelerate leaves its autocast wrapper on the instance
            vars(core).pop(name, None)
            vars(model).pop(name, None)


def _labelled_logps(core: Any, inputs: dict[str, Any], labels: Tensor, share_images: bool) -> Tensor:
    if share_images:
        inputs = _with_image_features(core, inputs)
    if inputs["attention_mask"].dim() == 4 and core.config._attn_implementation == "eager":
        mask = inputs["attention_mask"]  # eager attention adds its mask
        inputs = inputs | {"attention_mask": torch.zeros_like(mask, dtype=core.dtype).masked_fill(~mask, -1e9)}
    hidden = core.model(**inputs, use_cache=False).last_hidden_state  # (B, T, D)
    head = core.get_output_embeddings()
    logps, mask = hidden_token_logps(hidden, head, labels, chunk_tokens=chunk_tokens_for(head.weight.shape[0]))
    return logps[mask]


def _with_image_features(core: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Encode each image once and hand the features to both rows of its pair (rows: all chosen, then all rejected)."""
    known = inspect.signature(core.model.get_image_features).parameters
    features = core.model.get_image_features(
        **{name: value for name, value in inputs.items() if name in known}, return_dict=True
    )
    features.pooler_output = _twice(features.pooler_output)
    if getattr(features, "deepstack_features", None) is not None:
        features.deepstack_features = [_twice(level) for level in features.deepstack_features]
    rows = inputs["input_ids"].shape[0]
    rest = {name: value for name, value in inputs.items() if name not in _PIXELS}
    doubled = {n: v if v.shape[:1] == (rows,) else torch.cat([v, v]) for n, v in rest.items()}
    return doubled | {"mm_encoder_outputs": {"image": features}}


def _twice(features: Any) -> Any:
    return torch.cat([features, features]) if isinstance(features, Tensor) else [*features, *features]


def response_logps(model: Any, batch: PairBatch, layout: Layout) -> tuple[Tensor, Tensor]:
    """Log-probabilities of all response tokens of a batch; to be called inside `scoring(model)`.

    Returns:
        (token_logps, response_mask): nats (2n, L) and bool (2n, L); rows are chosen 1..n, rejected 1..n.
    """
    found = model(**batch.inputs, score_labels=batch.labels, share_images=layout is Layout.SHARED_IMAGES)
    rows, mask = pad_responses(found["token_logps"], batch.lengths)
    order = torch.tensor(batch.order, device=rows.device)
    return rows[order], mask[order]


def move(batch: PairBatch, device: torch.device) -> PairBatch:
    """The batch on another device."""
    inputs = {n: v.to(device) if isinstance(v, Tensor) else v for n, v in batch.inputs.items()}
    return PairBatch(inputs, batch.labels.to(device), batch.lengths, batch.order)


@torch.no_grad()
def find_layout(model: Any, encoder: PairEncoder, pairs: list[TokenPair]) -> Layout:
    """The cheapest layout with which this model gives the log-probabilities of two plain rows, tried on some pairs."""
    was_training = model.training
    model.eval()
    try:
        with scoring(model):
            plain = _plain(model, encoder, pairs)
            limit = _ROUNDING.get(model.dtype, _HALF_ROUNDING)
            for layout in (Layout.PACKED, Layout.SHARED_IMAGES):
                found = _attempt(model, encoder, pairs, layout)
                if found is not None and (found - plain).abs().mean() <= limit:
                    return layout
            return Layout.SEPARATE
    finally:
        model.train(was_training)


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
