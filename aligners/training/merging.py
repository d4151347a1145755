"""What folding an adapter into the weights changes: one probe before and after, in probabilities of the next token.

Folded weights are rounded to the type they are stored in, and small steps vanish there; the released merged weights of
OPA-DPO (Yang et al. 2025, arXiv:2501.09695), whose adapters sit on the vision tower too, do worse than its adapters
(OPA-DPO#6). So every fold is compared, and a difference is said.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from aligners.training.response_logps import bare
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.images import ImageFile
from evalkit.schema import Prompt

DIFFERENCE, CHANGED = "merge_difference_nats", "merge_changed_tokens"  # in a card's cost
WORTH_SAYING = 0.1, 0.01  # nats of the likeliest token, share of changed ones: beyond what bfloat16 does to a sum
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MergeDifference:
    """How far a merged model is from its adapter on the probe.

    nats     largest difference in log-probability of the token that was the likeliest
    changed  share of positions at which another token is the likeliest, a fraction
    """

    nats: float
    changed: float

    def as_cost(self) -> dict[str, float]:
        """As it stands on a card."""
        return {DIFFERENCE: round(self.nats, 6), CHANGED: round(self.changed, 6)}


def folded(model: Any, processor: Any, fold: Callable[[], Any]) -> tuple[Any, MergeDifference]:
    """Fold an adapter and compare; a difference worth saying is a warning.

    Args:
        model: with its adapter.
        processor: of the model.
        fold: does it; returns the whole model.
    """
    before = probe_logps(model, processor)
    whole = fold()
    dtype = bare(whole).dtype
    after = probe_logps(whole.float() if bare(whole).device.type == "cpu" else whole, processor)
    whole.to(dtype)
    difference = compared(before, after)
    if difference.nats > WORTH_SAYING[0] or difference.changed > WORTH_SAYING[1]:
        _LOGGER.warning(
            "merging the adapter moved the likeliest next token's log-probability by up to %.3g nats and changed "
            "%.1f %% of these tokens: they are stored in %s (save_dtype=float32 or merge_adapter=false keeps all)",
            difference.nats, 100 * difference.changed, str(dtype).removeprefix("torch."),
        )  # fmt: skip
    return whole, difference


def compared(before: Tensor, after: Tensor) -> MergeDifference:
    """The difference of two probes, each log-probabilities (T, V)."""
    likeliest = before.argmax(-1, keepdim=True)
    moved = (before - after).gather(-1, likeliest).abs().max().item()
    return MergeDifference(moved, (after.argmax(-1, keepdim=True) != likeliest).float().mean().item())


@torch.no_grad()
def probe_logps(model: Any, processor: Any) -> Tensor:
    """Log-probabilities of the next token at every position of a short prompt with a picture, float32, CPU, (T, V)."""
    core = bare(model)
    picture = Image.radial_gradient("L").convert("RGB")
    prompt = Prompt("probe", "Describe this image in detail.", (ImageFile(Path("."), "probe.png"),))
    encoded = PromptEncoder(processor).encode([prompt], [[picture]])
    inputs = {
        name: value.to(core.device, core.dtype if value.is_floating_point() else None)
        for name, value in encoded.inputs.items()
        if isinstance(value, Tensor)
    }
    was_training = model.training
    model.eval()
    logits: Tensor = model(**inputs).logits[0]
    model.train(was_training)
    return logits.float().log_softmax(-1).cpu()
