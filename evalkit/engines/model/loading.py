"""Loading an image-text-to-text checkpoint with its processor and, if asked, a LoRA adapter; errors name the cause."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor

from evalkit.engines.model.families import LOAD_ERRORS, check_family, first_line
from evalkit.engines.model.inputs.settings import InputSettings, applied
from evalkit.engines.model.original_llava.adapters import put_over
from evalkit.engines.model.original_llava.assembly import Assembly
from evalkit.engines.model.original_llava.folders import Original
from evalkit.engines.model.original_llava.identity import fix_identity
from evalkit.engines.model.original_llava.resolving import find_original
from evalkit.errors import EngineError
from evalkit.files.json_values import json_value
from evalkit.schema import Json


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded model in evaluation mode, its processor, and where both came from.

    facts  what else a manifest records: the parts of an original LLaVA, input settings
    """

    model: Any
    processor: Any
    source: str
    adapter: str | None
    revision: str | None
    facts: Mapping[str, Json] = field(default_factory=dict)


def load_checkpoint(
    source: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str | None = None,
    device_map: str | None = None,
    adapter: str | Path | None = None,
    image_backend: str = "pil",
    base: str | None = None,
    vision_tower: str | Path | None = None,
    inputs: InputSettings | None = None,
    quantization: Any = None,
) -> Checkpoint:
    """Load a checkpoint folder, a hub name, an adapter folder (with its base), or an original LLaVA in any form.

    Args:
        source: folder or hub name.
        revision: branch, tag or commit of a hub name.
        dtype: "auto" (as stored), "float32", "bfloat16" or "float16".
        device: e.g. "cuda:1"; None is CUDA if there is a GPU, else the CPU.
        device_map: e.g. "auto" to spread the model over several GPUs; then `device` is not used.
        adapter: folder of a PEFT adapter to put on top (kept apart, not merged; one of the original LLaVA code is
            merged, as its authors do).
        image_backend: "pil" or "torchvision". They resize a little differently, so it is a setting; transformers by
            itself would take whichever is installed.
        base: what an adapter or a projector lies on, in place of the name in its files; parts joined by "+" are put
            over one another.
        vision_tower: tower of an original LLaVA, in place of the one its config.json names.
        inputs: image padding and system text.
        quantization: a configuration of transformers, e.g. BitsAndBytesConfig; the model is placed as it is loaded.
    Raises:
        EngineError: if the folder is missing, it is not a vision-language checkpoint, weights are missing, or the
            adapter does not fit.
    """
    front = load_front(
        source, revision=revision, adapter=adapter, image_backend=image_backend, base=base, vision_tower=vision_tower,
        inputs=inputs,
    )  # fmt: skip
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if quantization is not None and front.assembly is not None:
        raise EngineError(f"{source}: an original LLaVA is not loaded in a quantised form; convert it first")
    if front.assembly is not None:
        model = front.assembly.load(_dtype(dtype), device_map)
        facts: dict[str, Json] = {**front.assembly.facts(model), **front.facts}
    else:
        where: dict[str, Any] = {"device_map": device_map} if device_map is not None else {}
        if quantization is not None:
            where = {"device_map": device_map or {"": place}, "quantization_config": quantization}
        model, facts = _load_model(front.source, revision, _dtype(dtype), where), dict(front.facts)
        for layer in front.layers:
            model = put_over(model, layer)
    fix_identity(model)
    _mend_generation_settings(model)
    if front.adapter is not None:
        model = _with_adapter(model, front.adapter)
    if device_map is None and quantization is None:
        try:
            model = model.to(place)
        except (RuntimeError, AssertionError) as error:  # no such device, no room on it, torch without CUDA
            raise EngineError(f"cannot put {front.source} on device {place!r}: {first_line(error)}") from error
    commit = getattr(model.config, "_commit_hash", None) or front.commit
    lora = str(front.adapter) if front.adapter else None
    return Checkpoint(model.eval(), front.processor, front.source, lora, commit or revision, facts)


def _load_model(base: str, revision: str | None, dtype: Any, where: Mapping[str, Any]) -> Any:
    try:
        model, report = AutoModelForImageTextToText.from_pretrained(
            base,
            revision=revision,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            **where,
        )
    except LOAD_ERRORS as error:
        raise EngineError(f"cannot load the model {base}: {first_line(error)}") from error
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if missing:
        raise EngineError(
            f"checkpoint {base}: {len(missing)} weights of its model are missing or of another size, e.g. "
            f"{', '.join(missing[:3])}; do its config.json and its weights belong together?"
        )
    return model


def _mend_generation_settings(model: Any) -> None:
    """Clear sampling settings that stand beside do_sample=false, as vicuna's files have them: nobody reads them, and
    transformers refuses to save a model with them, at the end of a training."""
    settings = model.generation_config
    if settings is not None and not settings.do_sample:
        for name in ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"):
            if hasattr(settings, name):
                setattr(settings, name, None)


@dataclass(frozen=True, slots=True)
class Front:
    """A checkpoint without its weights: configuration, processor, and where the weights and adapters lie.

    source    folder or hub name of the weights; for an original LLaVA, what was asked for
    adapter   PEFT adapter in transformers' names, kept apart
    layers    adapters of the original LLaVA code, to be merged
    assembly  an original LLaVA
    facts     see `Checkpoint`
    """

    config: Any
    processor: Any
    source: str
    adapter: Path | None
    layers: tuple[Path, ...] = ()
    assembly: Assembly | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)
    commit: str | None = None


def load_front(
    source: str | Path,
    *,
    revision: str | None = None,
    adapter: str | Path | None = None,
    image_backend: str = "pil",
    base: str | None = None,
    vision_tower: str | Path | None = None,
    inputs: InputSettings | None = None,
) -> Front:
    """What an engine needs that loads the weights by itself; arguments and errors as in `load_checkpoint`."""
    if image_backend not in ("pil", "torchvision"):
        raise EngineError(f"unknown image_backend {image_backend!r}; known: pil, torchvision")
    original, lora = _find(source, adapter, base, revision)
    if original is not None and original.config:
        assembly = Assembly(original, vision_tower=vision_tower, image_backend=image_backend)
        processor, facts = applied(assembly.processor, assembly.config, inputs, image_backend)
        facts = {**assembly.facts(), **facts}
        return Front(assembly.config, processor, original.source, lora, (), assembly, facts, original.commit)
    if vision_tower is not None:
        raise EngineError(f"vision_tower is for original LLaVA folders, and {source} is none")
    if original is not None:
        name, layers = str(original.base), original.layers
    else:
        (name, lora), layers = _locate(source, adapter, base), ()
    config = check_family(name, revision)
    processor = _load_processor(_processor_source(lora, name), name, revision, image_backend)
    processor, facts = applied(processor, config, inputs, image_backend)
    if layers:
        facts = {**facts, "layers": " + ".join(map(str, layers))}
    return Front(config, processor, name, lora, layers, None, facts)


def _find(
    source: str | Path, adapter: str | Path | None, base: str | None, revision: str | None
) -> tuple[Original | None, Path | None]:
    """(original LLaVA, adapter in transformers' names over it); (None, None) for any other checkpoint."""
    original = find_original(source, adapter=adapter, base=base, revision=revision)
    if original is not None:
        return original, None
    name, lora = _split_adapter(source, adapter, base)
    beneath = find_original(name, base=base if lora is None else None, revision=revision)
    if beneath is None:
        return None, None
    _check_adapter(lora)
    return beneath, lora


def content_hash(model: Any) -> str:
    """Fingerprint of a model: its configuration and 16 values of every parameter, adapters included; 8 hex digits.

    It changes with any training step and not with the way the files are cut or spelled; it is not a proof of equality.
    """
    ours = {
        k: v for k, v in model.config.to_dict().items() if k not in ("_name_or_path", "transformers_version", "dtype")
    }
    digest = hashlib.sha256(json.dumps(ours, sort_keys=True, default=str).encode())
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name}\x00{tuple(parameter.shape)}\n".encode())
        if not parameter.is_meta:  # the weights of a model that is partly on disk
            values = parameter.detach().flatten()[:: max(1, parameter.numel() // 16)][:16]
            digest.update(values.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


def _locate(source: str | Path, adapter: str | Path | None, base: str | None) -> tuple[str, Path | None]:
    """(base, adapter), both checked to be what they should be."""
    name, lora = _split_adapter(source, adapter, base)
    if base is not None and name != base:
        raise EngineError(f"base={base} is for an adapter or a projector, and {source} is neither")
    _check_adapter(lora)
    _check_folder(name)
    return name, lora


def _check_adapter(lora: Path | None) -> None:
    if lora is not None and not (lora / "adapter_config.json").is_file():
        raise EngineError(f"adapter {lora}: no adapter_config.json there; expected a folder saved by PEFT")


def _split_adapter(source: str | Path, adapter: str | Path | None, given: str | None = None) -> tuple[str, Path | None]:
    """(base, adapter); a folder that holds an adapter and no model stands for the base its configuration names."""
    folder = Path(source)
    if not (folder / "adapter_config.json").is_file() or (folder / "config.json").is_file():
        return str(source), Path(adapter) if adapter is not None else None
    if given is not None:
        return given, folder
    try:
        base = json_value((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    except (ValueError, KeyError, OSError) as error:
        raise EngineError(f"adapter {folder}: adapter_config.json names no base model ({first_line(error)})") from error
    if not isinstance(base, str) or not base:
        raise EngineError(f"adapter {folder}: adapter_config.json names no base model; give it as the model")
    return base, folder


def _check_folder(base: str) -> None:
    looks_like_a_path = base.startswith((".", "/", "~")) or base.count("/") > 1
    if looks_like_a_path and not Path(base).is_dir():
        raise EngineError(f"model folder {base} does not exist")
    if Path(base).is_dir() and not (Path(base) / "config.json").is_file():
        raise EngineError(f"model folder {base} holds no config.json; expected a checkpoint saved by transformers")


def _processor_source(adapter: Path | None, base: str) -> str:
    """The adapter folder where it holds a processor, else the base."""
    return str(adapter) if adapter is not None and any(adapter.glob("*processor_config.json")) else base


def _load_processor(source: str, base: str, revision: str | None, image_backend: str) -> Any:
    revision = revision if source == base else None
    try:
        processor = AutoProcessor.from_pretrained(source, revision=revision, trust_remote_code=False)
        if hasattr(processor, "image_processor"):  # the video processor of some families knows torchvision only
            processor.image_processor = AutoImageProcessor.from_pretrained(
                source, revision=revision, backend=image_backend, trust_remote_code=False
            )
    except LOAD_ERRORS as error:
        wants_torchvision = "torchvision" in str(error).lower() or "video" in str(error).lower()
        remedy = " (this family's processor needs torchvision: pip install 'hallu-evalkit[vlm]')"
        raise EngineError(
            f"cannot load the processor of {source}: {first_line(error)}{remedy if wants_torchvision else ''}"
        ) from error
    if image_backend == "torchvision" and type(getattr(processor, "image_processor", None)).__name__.endswith("Pil"):
        raise EngineError(f"image_backend torchvision: torchvision is not usable here for the processor of {source}")
    return processor


def _with_adapter(model: Any, adapter: Path) -> Any:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise EngineError("adapters need PEFT: pip install 'hallu-evalkit[align]'") from error
    try:
        wrapped = PeftModel.from_pretrained(model, adapter, autocast_adapter_dtype=False)
        result = wrapped.load_adapter(adapter, "default", autocast_adapter_dtype=False)
    except LOAD_ERRORS as error:
        raise EngineError(f"adapter {adapter} does not fit this model: {first_line(error)}") from error
    lost = [key for key in result.missing_keys if "lora_" in key] + list(result.unexpected_keys)
    if lost:
        raise EngineError(f"adapter {adapter} does not fit this model: {len(lost)} weights unmatched, e.g. {lost[0]}")
    return wrapped


def _dtype(name: str) -> Any:
    known = {"auto": "auto", "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise EngineError(f"unknown dtype {name!r}; known: {', '.join(known)}")
    return known[name]
