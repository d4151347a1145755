"""A model that reads token by token: what comes later must not change what was said before.

Some families let a part of the prompt see itself whole (PaliGemma's prefix). A response that were taken for such a part
would see its own future, and its log-probabilities would be wrong without an error. So it is tried out: the last token
is changed, and the logits before it must stay.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from evalkit.errors import EngineError

# Largest change that counts as rounding, as a fraction of the logits' spread; masked terms are exact zeros.
_ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-5}
_HALF_ROUNDING = 1e-3


def check_causality(model: Any, inputs: Mapping[str, Any], first: int) -> None:
    """Try one row out.

    Args:
        model: in the mode in which it is going to be used.
        inputs: of one row without padding, on the model's device; the last token belongs to a continuation.
        first: index of the continuation's first token.
    Raises:
        EngineError: if logits of the continuation depend on a later token.
    """
    ids: Tensor = inputs["input_ids"]
    if ids.shape[1] - first < 2:
        return
    other = ids.clone()
    other[0, -1] = ids[0, -2] if ids[0, -2] != ids[0, -1] else (ids[0, -1] + 1) % 5
    with torch.no_grad():
        before = _logits(model, inputs)[0, first - 1 : -1]
        after = _logits(model, {**inputs, "input_ids": other})[0, first - 1 : -1]
    spread = float((before.max() - before.min()).clamp_min(1e-6))
    moved = float((before - after).abs().max()) / spread
    if moved > _ROUNDING.get(model.dtype, _HALF_ROUNDING):
        raise EngineError(
            f"{type(model).__name__} lets a response's tokens see later ones (logits move by {moved:.1%} of their "
            "spread when its last token changes), so its log-probabilities are not those of generation; this "
            "family cannot be measured or trained with a continuation here"
        )


def _logits(model: Any, inputs: Mapping[str, Any]) -> Tensor:
    logits: Tensor = model(**inputs, use_cache=False).logits
    return logits.float()
