"""What a checkpoint folder is, told by its content: never by its name, and never by `model_type`.

`llava` as model_type was taken by 2023's uploads before transformers used it for a format of its own, so an original
folder is known by its flat config.json: LLaVA's fields, or its class, and no `text_config`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from evalkit.engines.model.original_llava.names import is_original_adapter
from evalkit.errors import EngineError
from evalkit.files.json_values import json_value

LANGUAGE_MODELS = {
    "LlavaLlamaForCausalLM": "llama",
    "LlavaMistralForCausalLM": "mistral",
    "LlavaQwenForCausalLM": "qwen2",
}
ADAPTER_CONFIG, PROJECTOR_FILE, NON_LORA_FILE = "adapter_config.json", "mm_projector.bin", "non_lora_trainables.bin"
# LLaVA-RLHF publishes two folders beside each other: the supervised model, and the adapter that RL trained.
RLHF_BASE, RLHF_ADAPTER = "sft_model", "rlhf_lora_adapter_model"
INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
WHOLE = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True)
class Original:
    """An original LLaVA model in parts.

    source      as it was asked for
    base        folder with the language model's weights: a whole LLaVA, or a language model alone
    layers      folders put over it, in order: LoRA adapters (merged) and projectors
    config      the flat config.json that describes the model
    commit      of the hub name it was fetched from
    """

    source: str
    base: Path
    layers: tuple[Path, ...]
    config: Mapping[str, Any]
    commit: str | None = None

    @property
    def tuned_by_rlhf(self) -> bool:
        """Whether it is laid out as LLaVA-RLHF."""
        return any(RLHF_ADAPTER in layer.parts for layer in self.layers)


def read_json(path: Path) -> dict[str, Any]:
    """An object of a JSON file.

    Raises:
        EngineError: if it is absent or holds something else.
    """
    try:
        value = json_value(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(f"cannot read {path}: {error}") from error
    if not isinstance(value, dict):
        raise EngineError(f"{path}: expected a JSON object")
    return value


def is_original(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is the original code's."""
    if "text_config" in config or "vision_config" in config:
        return False
    classes = config.get("architectures") or [""]
    ours = classes[0].startswith("Llava") and classes[0].endswith("ForCausalLM")
    return ours or "mm_vision_tower" in config or "mm_projector_type" in config


def is_original_folder(folder: Path) -> bool:
    """Whether the folder's config.json is there, readable, and the original code's."""
    try:
        return (folder / "config.json").is_file() and is_original(read_json(folder / "config.json"))
    except EngineError:
        return False  # not readable: what loads any other folder says so


def has_language_model(folder: Path) -> bool:
    """Whether the folder holds weights of a whole model."""
    return any((folder / name).is_file() for name in (*INDEXES, *WHOLE))


def adapter_folder(folder: Path) -> Path | None:
    """The folder itself, or the one below it in which PEFT put the adapter called "lora_default"."""
    for place in (folder, folder / "lora_default"):
        if (place / ADAPTER_CONFIG).is_file():
            return place
    return None


def adapter_weights(folder: Path) -> Path:
    """The file with an adapter's weights.

    Raises:
        EngineError: if there is none.
    """
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise EngineError(f"adapter {folder}: no adapter_model.safetensors or adapter_model.bin there")


def holds_original_adapter(folder: Path) -> bool:
    """Whether the folder holds a LoRA adapter of the original code, and it can be read."""
    place = adapter_folder(folder)
    try:
        return place is not None and is_original_adapter(shapes_in(adapter_weights(place)))
    except EngineError:
        return False  # absent or torn: what loads any other adapter says so


def shapes_of(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight of a whole model; no weight is read.

    Raises:
        EngineError: if the folder holds no weights, or a file of them is absent or torn.
    """
    for index in INDEXES:
        if (folder / index).is_file():
            files = sorted(set(read_json(folder / index).get("weight_map", {}).values()))
            break
    else:
        files = [name for name in WHOLE if (folder / name).is_file()][:1]
    if not files:
        raise EngineError(f"{folder}: no weights there (expected one of {', '.join((*INDEXES, *WHOLE))})")
    return {name: shape for file in files for name, shape in shapes_in(folder / file).items()}


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the weights in one file.

    Raises:
        EngineError: if the file is absent or torn.
    """
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return {name: tuple(tensor.shape) for name, tensor in tensors_in(path).items()}
    except SafetensorError as error:
        raise EngineError(f"{path}: cannot be read: {error}") from error


def tensors_in(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .bin or .safetensors file, on the CPU; a .bin file may hold nothing but tensors.

    Raises:
        EngineError: if the file is absent, torn, or holds something else.
    """
    from pickle import UnpicklingError

    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # the older format, which cannot be mapped
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError, SafetensorError) as error:
        raise EngineError(f"{path}: cannot be read: {str(error).splitlines()[0][:200]}") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise EngineError(f"{path}: expected a dictionary of tensors")
    return tensors
