"""Checkpoints: an ordinary model folder plus `card.json`, which says where the weights come from.

What is saved loads in transformers, in the transformers engine and in vLLM. For the last one weight names of CLIP and
SigLIP towers are written in their older form (`vision_tower.vision_model.*`), which transformers reads as well.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from aligners.training.response_logps import bare
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.model.saved.saving import older_name as older_name
from evalkit.engines.model.saved.saving import rename_for_vllm as rename_for_vllm
from evalkit.engines.model.saved.saving import save_model
from evalkit.errors import DataError
from evalkit.files.atomic import replace_text
from evalkit.files.json_values import json_value
from evalkit.images import ImageFile
from evalkit.process.libraries import library_version
from evalkit.schema import Json, Prompt

CARD = "card.json"
IDENTICAL = "identical_weights"  # in a card's cost: see `identical_share`
_SHORT, _LONG = "vision_tower.", "vision_tower.vision_model."
_SOFTWARE = ("hallu-evalkit", "torch", "transformers", "peft", "accelerate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Where a checkpoint comes from; everything JSON.

    parent     folder or hub name of the model that training started from, and the hash of its weights
    method     "ddpo", "rlaif", "fact-rlhf", ...; preset: name of the published settings it began with
    data       name of each input -> content hash
    settings   every setting that training used
    seeds      name -> seed
    selection  data split on which this checkpoint was chosen among others; None: nothing was chosen
    cost       pairs, steps, seconds, tokens ...
    skipped    reason -> rows left out of training
    adapter    True if the folder holds an adapter instead of a whole model
    """

    parent: str
    parent_hash: str
    method: str
    preset: str
    data: Mapping[str, str]
    settings: Mapping[str, Json]
    seeds: Mapping[str, int]
    selection: str | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    adapter: bool = False
    software: Mapping[str, str] = field(default_factory=lambda: software())


def save_checkpoint(model: Any, processor: Any, folder: Path, card: Card | None = None) -> Path:
    """Write model and processor as a folder that transformers and vLLM load, with its card.

    A PEFT model is saved as an adapter; merge it first (`merged`) to get a whole model.
    """
    folder = Path(folder)
    save_model(model, processor, folder)
    if card is not None:
        write_card(folder, card)
    return folder


def cast_weights(model: Any, dtype: torch.dtype) -> Any:
    """Hold the floating-point weights of a model in another type; returns the model.

    What is computed from the configuration stays as it is: `model.to(dtype)` would round the frequencies of rotary
    positions to bfloat16 too, which no loaded checkpoint has, and at position 2,000 angles are then off by up to 2.4
    radians.
    """
    saved = model.state_dict(keep_vars=True).keys()
    named = [*model.named_parameters(), *((name, one) for name, one in model.named_buffers() if name in saved)]
    for _, tensor in named:
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)
    return model


def note_dtype(folder: Path, dtype: torch.dtype) -> None:
    """Let the configuration of a saved model, if one is there, name the type of its weights."""
    path = folder / "config.json"
    if path.is_file():
        config = json_value(path.read_text(encoding="utf-8"))
        replace_text(path, json.dumps({**config, "dtype": str(dtype).removeprefix("torch.")}, indent=2) + "\n")


def merged(model: Any) -> Any:
    """The transformers model with a PEFT adapter folded into its weights; other models as they are."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def write_card(folder: Path, card: Card) -> None:
    """Write `card.json`, in one step."""
    replace_text(folder / CARD, json.dumps(asdict(card), indent=1, sort_keys=True) + "\n")


def read_card(folder: Path) -> Card | None:
    """The card of a checkpoint folder; None if it has none.

    Raises:
        DataError: if the card is damaged.
    """
    path = Path(folder) / CARD
    if not path.is_file():
        return None
    try:
        return Card(**json_value(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: not a checkpoint card: {error}") from error


def software() -> dict[str, str]:
    """Versions of the packages that take part in training."""
    return {name: version for name in _SOFTWARE if (version := library_version(name)) is not None}


def weights_hash(model: Any, dtype: torch.dtype | None = None) -> str:
    """Hash over every weight's name and bytes, 16 hex digits: models of one size and family differ in it.

    Args:
        model: whole.
        dtype: hash the weights as `cast_weights` would leave them, one at a time; None: as they are.
    """
    digest = hashlib.sha256()
    for name, held in sorted(model.state_dict().items()):
        tensor = held.to(dtype) if dtype is not None and held.is_floating_point() else held
        digest.update(f"{name}\x00{tensor.dtype}\x00{tuple(tensor.shape)}\n".encode())
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(data.numpy().data)
    return digest.hexdigest()[:16]


def identical_share(folder: Path, parent: Path) -> float | None:
    """Share of the weights in `folder` whose bits are those of the same weight in `parent`, a fraction.

    A small step in a coarse type rounds to nothing: what is saved then is not what was trained.

    Returns:
        None where there is nothing to compare: `parent` is no folder of whole weights, or holds other names.
    """
    before, after = _places(parent), _places(folder)
    same = total = 0
    for name in sorted(before.keys() & after.keys()):
        new, old = (_tensor(*place) for place in (after[name], before[name]))
        if new.shape == old.shape:
            same += int((new == old.to(new.dtype)).sum())
            total += new.numel()
    return same / total if total else None


def _places(folder: Path) -> dict[str, tuple[Path, str]]:
    """Each weight's name in one spelling (see `older_name`) -> its file and its name there; adapters hold none."""
    places: dict[str, tuple[Path, str]] = {}
    for path in sorted(folder.glob("model*.safetensors")) if folder.is_dir() else ():
        with safe_open(path, "pt") as file:
            places |= {name.replace(_LONG, _SHORT): (path, name) for name in list(file.keys())}
    return places


def _tensor(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, "pt") as file:
        tensor: torch.Tensor = file.get_tensor(name)
    return tensor


# --- what folding an adapter into the weights changes -------------------------------------------------------------
#
# One probe before and after, in probabilities of the next token. Folded weights are rounded to the type they are stored
# in, and small steps vanish there; the released merged weights of OPA-DPO (Yang et al. 2025, arXiv:2501.09695), whose
# adapters sit on the vision tower too, do worse than its adapters (OPA-DPO#6). So every fold is compared, and a
# difference is said.

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
    after = probe_logps(cast_weights(whole, torch.float32) if bare(whole).device.type == "cpu" else whole, processor)
    cast_weights(whole, dtype)
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
