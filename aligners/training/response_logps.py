"""Log-probabilities of response tokens from a vision-language model, without logits of the rest.

`measuring(model)` lets `model(logp_labels=..., **inputs)` return the log-probabilities of the labelled tokens. It goes
through the model's own `forward`, so that wrappers around the model (DDP, FSDP, DeepSpeed, autocast, PEFT) see one
ordinary forward pass; inside, the language-model head runs on response positions only.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from aligners.training.logprobs import chunk_tokens_for, hidden_token_logps, token_logps
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import TrainingError

_PIXELS = ("pixel_values", "pixel_attention_mask")  # not needed any more once image features are there


def bare(model: Any) -> Any:
    """The transformers model below a PEFT wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def vocabulary_size(model: Any) -> int:
    """Width of the language-model head, from the configuration: a weight that ZeRO-3 has partitioned has no rows."""
    size: int = bare(model).config.get_text_config().vocab_size
    return size


@contextmanager
def measuring(model: Any) -> Iterator[None]:
    """While inside, `model(logp_labels=labels, share_images=bool, **inputs)` returns {"token_logps": (N,)}.

    N are the labelled tokens, row by row; a call without `logp_labels` is the ordinary forward.
    """
    core = bare(model)
    ordinary = core.forward

    def forward(*args: Any, logp_labels: Tensor | None = None, share_images: bool = False, **inputs: Any) -> Any:
        if logp_labels is None:
            return ordinary(*args, **inputs)
        if not hasattr(core, "model"):  # BLIP-2 and its like: no base model that gives hidden states
            logps, mask = token_logps(ordinary(**inputs).logits, logp_labels)
            return {"token_logps": logps[mask]}
        return {"token_logps": _labelled_logps(core, inputs, logp_labels, share_images)}

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
    inputs = inputs | {"attention_mask": attention_for(core, inputs["attention_mask"])}
    hidden = core.model(**inputs, use_cache=False).last_hidden_state  # (B, T, D)
    head = core.get_output_embeddings()
    logps, mask = hidden_token_logps(hidden, head, labels, chunk_tokens=chunk_tokens_for(vocabulary_size(core)))
    return logps[mask]


def attention_for(core: Any, mask: Tensor) -> Tensor:
    """A mask as the model's attention wants it: eager attention adds a block mask, the others take True for a look."""
    if mask.dim() != 4 or core.config._attn_implementation != "eager":
        return mask
    return torch.zeros_like(mask, dtype=core.dtype).masked_fill(~mask, -1e9)


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


def last_positions(mask: Tensor) -> Tensor:
    """Column of the last True of each row, int (B,); -1 for an empty row."""
    positions = torch.arange(mask.shape[-1], device=mask.device)
    return positions.where(mask, -1).amax(-1)


_PROBE = "Zq"  # a short text that no chat template contains


def end_token(encoder: PromptEncoder, model: Any) -> int:
    """The token that closes an assistant turn in the chat template if generation stops at it, else the tokenizer's.

    Raises:
        TrainingError: if the tokenizer has no end token either.
    """
    configured = model.generation_config.eos_token_id
    stops = {*(configured if isinstance(configured, list) else [configured]), encoder.tokenizer.eos_token_id} - {None}
    user = {"role": "user", "content": [{"type": "text", "text": _PROBE}]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": _PROBE}]}
    text = encoder.processor.apply_chat_template(
        [user, answer], chat_template=encoder.chat_template, add_generation_prompt=False, tokenize=False
    )
    closing = encoder.tokenizer(text.rpartition(_PROBE)[2], add_special_tokens=False).input_ids
    ends = [token for token in closing if token in stops] or [encoder.tokenizer.eos_token_id]
    if ends[0] is None:
        raise TrainingError("the tokenizer has no end token, so a model cannot learn where a response ends")
    return int(ends[0])


def pad_responses(values: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Lay the values of consecutive responses out as rows.

    Args:
        values: one number a response token, all responses behind each other, (N,).
        lengths: tokens of each response; they add up to N.
    Returns:
        (values, mask): (2n, L) with 0 behind the end of a response, and bool (2n, L).
    """
    sizes = torch.tensor(list(lengths), device=values.device)
    mask = torch.arange(max(lengths), device=values.device) < sizes[:, None]
    return values.new_zeros(mask.shape).masked_scatter(mask, values), mask
