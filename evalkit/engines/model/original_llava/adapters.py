"""What the original code puts over a base: LoRA adapters, weights trained beside them, a projector alone.

The authors merge an adapter before they use it, and so does this: base + B A alpha/r, in the model's number format.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from evalkit.engines.model.original_llava.folders import (
    ADAPTER_CONFIG,
    NON_LORA_FILE,
    PROJECTOR_FILE,
    adapter_folder,
    adapter_weights,
    read_json,
    tensors_in,
)
from evalkit.engines.model.original_llava.names import PROJECTOR, adapted, renamed, without_wrappers
from evalkit.errors import EngineError


def loose_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Whole weights that a layer brings, in transformers' names: of a projector, or trained beside a LoRA adapter."""
    weights: dict[str, torch.Tensor] = {}
    for name in (PROJECTOR_FILE, NON_LORA_FILE):
        if (folder / name).is_file():
            weights |= {renamed(without_wrappers(key)): value for key, value in tensors_in(folder / name).items()}
    return weights


def brings_projector(folder: Path) -> bool:
    """Whether a layer holds a projector."""
    return any(name.startswith(PROJECTOR) for name in loose_weights(folder))


def put_over(model: Any, folder: Path) -> Any:
    """The model with a layer's weights in it and its adapter merged.

    Raises:
        EngineError: if something of the layer has no place in the model, or another size.
    """
    loose = loose_weights(folder)
    place = adapter_folder(folder)
    if loose:
        _copy(model, loose, folder)
    if place is not None:
        return merge_adapter(model, place)
    if not loose:
        raise EngineError(f"{folder}: neither {ADAPTER_CONFIG} nor {PROJECTOR_FILE} there")
    return model


def _copy(model: Any, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    own = dict(model.state_dict())
    wrong = [
        f"{name} {tuple(value.shape)}" for name, value in weights.items()
        if name not in own or own[name].shape != value.shape
    ]  # fmt: skip
    if wrong:
        raise EngineError(
            f"{folder}: {len(wrong)} weights have no place in this model, e.g. {wrong[0]}; is it the right base?"
        )
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)


def merge_adapter(model: Any, folder: Path) -> Any:
    """The model with an adapter of the original code folded into its weights.

    Its target modules are bare names, which would match the vision tower's layers as well; here they are the language
    model's layers that the adapter's weights name.

    Raises:
        EngineError: if PEFT is missing, or the adapter and the model do not fit.
    """
    try:
        from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    except ImportError as error:
        raise EngineError("adapters need PEFT: pip install 'hallu-evalkit[align]'") from error
    weights = {adapted(name): value for name, value in tensors_in(adapter_weights(folder)).items()}
    targets = sorted({
        name.partition(".lora_")[0].removeprefix("base_model.model.") for name in weights if ".lora_" in name
    })  # fmt: skip
    settings = read_json(folder / ADAPTER_CONFIG)
    known = LoraConfig().to_dict().keys() - {"peft_type", "task_type", "base_model_name_or_path", "revision"}
    fields = {name: value for name, value in settings.items() if name in known}
    fields |= {"target_modules": targets, "inference_mode": True, "modules_to_save": None, "layers_to_transform": None}
    modules = dict(model.named_modules())
    absent = [name for name in targets if name not in modules]
    if absent or not targets:
        raise EngineError(
            f"adapter {folder} does not fit this model: {len(absent) or 'no'} of its layers "
            f"{'are not there, e.g. ' + absent[0] if absent else 'found in its weights'}; is it the right base?"
        )
    try:
        wrapped = get_peft_model(model, LoraConfig(**fields), autocast_adapter_dtype=False)
        report = set_peft_model_state_dict(wrapped, weights)
    except (ValueError, TypeError, RuntimeError, KeyError) as error:
        raise EngineError(f"adapter {folder} does not fit this model: {str(error).splitlines()[0][:200]}") from error
    lost = [name for name in report.missing_keys if "lora_" in name] + list(report.unexpected_keys)
    if lost:
        raise EngineError(f"adapter {folder} does not fit this model: {len(lost)} weights unmatched, e.g. {lost[0]}")
    return wrapped.merge_and_unload()
