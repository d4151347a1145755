"""Running a transformers model that may belong to somebody else: its mode and settings are left as they were."""

import contextlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from evalkit.engines.model.batching import is_out_of_memory
from evalkit.engines.model.token_rows import Encoded
from evalkit.errors import EngineError


@contextlib.contextmanager
def inference(model: Any) -> Iterator[Any]:
    """The model in evaluation mode, without gradients, with bare generation settings; all is restored afterwards.

    Errors of torch other than a shortage of memory become EngineErrors.
    """
    training = [module for module in model.modules() if module.training]
    settings = model.generation_config
    if training:
        model.eval()
    model.generation_config = GenerationConfig()
    try:
        with torch.no_grad():
            yield model
    except (RuntimeError, ValueError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        raise EngineError(f"{type(model).__name__} failed: {error}") from error
    finally:
        model.generation_config = settings
        for module in training:
            module.training = True


def answer_logits(model: Any, encoded: Encoded) -> Iterator[Tensor]:
    """Logits before each continuation token and after the last, row by row, float32 (len(continuation) + 1, V).

    The prompts are padded on the right, so the last column is the last one of the batch.
    """
    low = min(encoded.starts) - 1
    with inference(model):
        keywords = {}
        if keeps_some_logits(model):
            # a number: indices would lie on the first of several GPUs and the hidden states on the last
            keywords["logits_to_keep"] = encoded.width - low
        else:
            low = 0
        logits = model(**on_device(model, encoded), use_cache=False, **keywords).logits  # (B, width - low, V)
    return (
        logits[b, start - 1 - low : end - low].float()
        for b, (start, end) in enumerate(zip(encoded.starts, encoded.ends, strict=True))
    )


def keeps_some_logits(model: Any) -> bool:
    """Whether the model can be asked for the logits of its last columns alone."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def on_device(model: Any, encoded: Encoded) -> dict[str, Any]:
    """Tensors of a batch where the model is; images in its dtype."""
    return to_device(model, encoded.inputs)


def to_device(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors among some inputs where the model is; images in its dtype."""
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
        if isinstance(value, Tensor)
    }


def context_limit(model: Any) -> int:
    """Most tokens the model can attend to at once."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit else sys.maxsize


def end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a response: the checkpoint's generation settings and its tokenizer's end token."""
    return ends_of(model.generation_config.eos_token_id, tokenizer)


def ends_of(configured: Any, tokenizer: Any) -> frozenset[int]:
    """The end tokens of generation settings (one, several or None) and the tokenizer's."""
    ends = configured if isinstance(configured, list) else [configured]
    return frozenset(int(token) for token in [*ends, tokenizer.eos_token_id] if token is not None)
