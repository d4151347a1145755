"""An original LLaVA, whole: base, tower, projector and adapters put together as transformers' model and processor."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evalkit.engines.model.families import LOAD_ERRORS, first_line
from evalkit.engines.model.inputs.system_texts import system_text, with_system_text
from evalkit.engines.model.original_llava import configuration, conversations, vocabulary
from evalkit.engines.model.original_llava.adapters import brings_projector, put_over
from evalkit.engines.model.original_llava.folders import Original, shapes_of
from evalkit.engines.model.original_llava.names import KEY_MAPPING, PROJECTOR, STORED_TOWER, TOWER, needed
from evalkit.engines.model.original_llava.towers import Tower, find_tower, load_weights
from evalkit.errors import EngineError
from evalkit.schema import Json

_EMBEDDING = "model.embed_tokens.weight"
_SECOND = f"{PROJECTOR}linear_2."
_QUANTISED = (".qweight", ".qzeros", ".g_idx", ".absmax", ".quant_map", ".SCB", "quant_state.bitsandbytes__nf4")


class Assembly:
    """What is known of an original LLaVA before its weights are read: configuration, tower, processor."""

    def __init__(
        self, original: Original, *, vision_tower: str | Path | None = None, image_backend: str = "pil"
    ) -> None:
        """Read configurations and vocabulary.

        Args:
            original: the parts.
            vision_tower: folder or hub name of the tower, in place of the one that config.json names.
            image_backend: "pil" or "torchvision".
        Raises:
            EngineError: if the model cannot be converted exactly, or a part is missing.
        """
        raw = original.config
        configuration.check_convertible(raw, original.source)
        shapes = shapes_of(original.base)
        _check_weights(original.base, list(shapes))
        self.original = original
        self.tower: Tower = find_tower(
            raw, vision_tower, any(name.startswith(STORED_TOWER) for name in shapes), original.base
        )
        rows = shapes[_EMBEDDING][0]
        tokenizer, image = vocabulary.load_tokenizer(_vocabulary_folder(original), raw, rows)
        template = conversations.chat_template(raw, tokenizer)
        usual = system_text(conversations.usual_system_text(raw, tokenizer, original.tuned_by_rlhf))
        template = with_system_text(template, usual.text)
        self._system_text = usual.name
        self.processor: Any = vocabulary.make_processor(raw, self.tower, tokenizer, template, image_backend)
        self.config: Any = configuration.model_config(raw, self.tower.config, rows, image)
        self._linear = configuration.projector_of(raw) == "linear"

    def load(self, dtype: Any, device_map: str | None = None) -> Any:
        """The model, on the CPU or spread by `device_map`.

        Raises:
            EngineError: if weights are missing, left over or of another size.
        """
        from transformers import LlavaForConditionalGeneration, LlavaNextForConditionalGeneration

        kind = LlavaNextForConditionalGeneration if configuration.is_anyres(self.original.config) else (
            LlavaForConditionalGeneration
        )  # fmt: skip
        base = self.original.base
        where = {"device_map": device_map} if device_map is not None else {}
        try:
            with _quiet():
                model, report = kind.from_pretrained(
                    base,
                    config=self.config,
                    key_mapping=KEY_MAPPING,
                    dtype=dtype,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,
                    trust_remote_code=False,
                    **where,
                )
        except LOAD_ERRORS as error:
            raise EngineError(f"cannot load {base}: {first_line(error)}") from error
        model._weight_conversions = None  # else saving would write the original's names under this configuration
        self._check(report)
        if not self.tower.stored:
            _fill(model, TOWER, load_weights(self.tower, model.dtype))
        if self._linear:
            _make_identity(model)
        for layer in self.original.layers:
            model = put_over(model, layer)
        model.name_or_path = model.config._name_or_path = (
            self.original.source
        )  # what an adapter on it names as its base
        return model.eval()

    def _check(self, report: Mapping[str, Any]) -> None:
        missing = set(needed(report["missing_keys"]))
        if not self.tower.stored:
            missing = {name for name in missing if not name.startswith(TOWER)}
        if self._linear:
            missing = {name for name in missing if not name.startswith(_SECOND)}
        if any(brings_projector(layer) for layer in self.original.layers):
            missing = {name for name in missing if not name.startswith(PROJECTOR)}
        extra = set(needed(report["unexpected_keys"])) - {"model.image_newline"}
        wrong = [*sorted(missing), *sorted(extra), *sorted(str(key) for key in report["mismatched_keys"])]
        if wrong:
            raise EngineError(
                f"{self.original.base}: {len(wrong)} weights are missing, left over or of another size, e.g. "
                f"{', '.join(wrong[:3])}; do its config.json and its weights belong together?"
            )

    def facts(self, model: Any | None = None) -> dict[str, Json]:
        """What a manifest records of the parts; hashes of their content where the model is given."""
        original = self.original
        named: dict[str, Json] = {
            "format": "original LLaVA",
            "projector": "linear" if self._linear else None,
            "base": str(original.base) if original.layers else None,
            "layers": " + ".join(map(str, original.layers)) or None,
            "vision_tower": "stored in the checkpoint" if self.tower.stored else self.tower.name,
            "vision_tower_reason": self.tower.reason,
            "system_text_name": self._system_text,
        }
        if model is not None:
            state = model.state_dict()
            named["vision_tower_content"] = _fingerprint(state, TOWER)
            if original.layers:
                named["base_content"] = folder_fingerprint(original.base)
        return {name: value for name, value in named.items() if value is not None}


def folder_fingerprint(folder: Path) -> str:
    """Names, shapes and sizes of a folder's weights and its config.json; 8 hex digits."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for name, shape in sorted(shapes_of(folder).items()):
        digest.update(f"{name}\x00{shape}\n".encode())
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]):
        digest.update(f"{path.name}\x00{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            size = path.stat().st_size
            for part in range(16):
                file.seek(size * part // 16)
                digest.update(file.read(256))
    return digest.hexdigest()[:8]


def _fingerprint(state: Mapping[str, Tensor], prefix: str) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if name.startswith(prefix) and not tensor.is_meta:
            values = tensor.detach().flatten()[:: max(1, tensor.numel() // 16)][:16]
            digest.update(f"{name}\x00{tuple(tensor.shape)}\n".encode() + values.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


def _vocabulary_folder(original: Original) -> Path:
    """Where the tokenizer lies: with the base, as the authors load it, else with a layer."""
    names = ("tokenizer.model", "tokenizer.json", "vocab.json")
    places = [original.base, *original.layers]
    return next((place for place in places if any((place / name).is_file() for name in names)), original.base)


def _check_weights(folder: Path, names: list[str]) -> None:
    """Names alone tell quantised weights (AWQ, GPTQ, bitsandbytes), whatever config.json says, and foreign ones."""
    quantised = [name for name in names if name.endswith(_QUANTISED)]
    if quantised:
        raise EngineError(f"{folder}: its weights are quantised ({quantised[0]}): use the unquantised checkpoint")
    if _EMBEDDING not in names:
        raise EngineError(
            f"{folder}: its weights have no {_EMBEDDING}; is it a language model, or a LLaVA in the original format?"
        )


def _fill(model: Any, prefix: str, weights: Mapping[str, Tensor]) -> None:
    own = dict(model.state_dict())
    wanted = {name.removeprefix(prefix) for name in own if name.startswith(prefix)}
    wrong = [name for name in wanted if name not in weights or weights[name].shape != own[prefix + name].shape]
    if wrong:
        raise EngineError(f"the vision tower does not fit this model, e.g. {sorted(wrong)[0]}")
    with torch.no_grad():
        for name in wanted:
            own[prefix + name].copy_(weights[name])


def _make_identity(model: Any) -> None:
    """A projector of one linear layer: the second becomes the identity, which changes no number."""
    own = dict(model.state_dict())
    with torch.no_grad():
        weight = own[f"{_SECOND}weight"]
        weight.copy_(torch.eye(weight.shape[0]))
        own[f"{_SECOND}bias"].zero_()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' report on weights that are filled in afterwards."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
