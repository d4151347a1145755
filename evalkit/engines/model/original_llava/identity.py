"""The second projector layer of a LLaVA with one linear layer: the identity, and never anything else.

transformers' LLaVA has two layers. As an ordinary layer the second would be trained by a full alignment, and the result
would be no model of this kind any more; so it is held as buffers, which are saved and loaded and have no gradient.
"""

from typing import Any

import torch
from torch import Tensor, nn


class FixedIdentity(nn.Module):
    """Returns its input; its weights have a Linear's names, so that a saved model loads anywhere."""

    weight: Tensor
    bias: Tensor

    def __init__(self, like: nn.Linear) -> None:
        super().__init__()
        with torch.no_grad():
            self.register_buffer("weight", torch.eye(like.out_features, dtype=like.weight.dtype).to(like.weight.device))
            self.register_buffer("bias", torch.zeros_like(like.bias))

    def forward(self, features: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return features


def fix_identity(model: Any) -> None:
    """Hold the second projector layer fast where it is the identity under no activation; other models stay."""
    if getattr(model.config, "projector_hidden_act", None) != "linear":
        return
    projector = model.model.multi_modal_projector
    second = getattr(projector, "linear_2", None)
    if not isinstance(second, nn.Linear) or second.weight.is_meta or second.in_features != second.out_features:
        return
    identity = torch.eye(second.out_features, dtype=second.weight.dtype, device=second.weight.device)
    if torch.equal(second.weight, identity) and not second.bias.any():
        projector.linear_2 = FixedIdentity(second)
