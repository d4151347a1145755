"""Loading an image-text-to-text checkpoint with its processor and, if asked, a LoRA adapter; errors name the cause."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from evalkit.errors import EngineError

# What from_pretrained raises for files that are absent, torn or of another shape than the configuration says.
LOAD_ERRORS = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError, SafetensorError)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded model in evaluation mode, its processor, and where both came from."""

    model: Any
    processor: Any
    source: str
    adapter: str | None
    revision: str | None


def load_checkpoint(
    source: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str | None = None,
    device_map: str | None = None,
    adapter: str | Path | None = None,
    image_backend: str = "pil",
) -> Checkpoint:
    """Load a checkpoint folder, a hub name, or an adapter folder (with the base that it names).

    Args:
        source: folder or hub name.
        revision: branch, tag or commit of a hub name.
        dtype: "auto" (as stored), "float32", "bfloat16" or "float16".
        device: e.g. "cuda:1"; None is CUDA where there is one, else the CPU.
        device_map: e.g. "auto" to spread the model over several GPUs; then `device` is not used.
        adapter: folder of a PEFT adapter to put on top (kept apart, not merged).
        image_backend: "pil" or "torchvision". They resize a little differently, so it is a setting; transformers by
            itself would take whichever is installed.
    Raises:
        EngineError: if the folder is missing, it is not a vision-language checkpoint, weights are missing, or the
            adapter does not fit.
    """
    base, lora = _locate(source, adapter)
    _check_family(base, revision)
    where = {"device_map": device_map} if device_map is not None else {}
    try:
        model, report = AutoModelForImageTextToText.from_pretrained(
            base,
            revision=revision,
            dtype=_dtype(dtype),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **where,
        )
    except LOAD_ERRORS as error:
        raise EngineError(f"cannot load the model {base}: {_first_line(error)}") from error
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if missing:
        raise EngineError(
            f"checkpoint {base}: {len(missing)} weights of its model are missing or of another size, e.g. "
            f"{', '.join(missing[:3])}; do its config.json and its weights belong together?"
        )
    if lora is not None:
        model = _with_adapter(model, lora)
    if device_map is None:
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            model = model.to(place)
        except (RuntimeError, AssertionError) as error:  # no such device, no room on it, torch without CUDA
            raise EngineError(f"cannot put {base} on device {place!r}: {_first_line(error)}") from error
    processor = _load_processor(_processor_source(lora, base), base, revision, image_backend)
    commit = getattr(model.config, "_commit_hash", None)
    return Checkpoint(model.eval(), processor, base, str(lora) if lora else None, commit or revision)


@dataclass(frozen=True, slots=True)
class Front:
    """A checkpoint without its weights: configuration, processor, and where the weights and an adapter lie."""

    config: Any
    processor: Any
    source: str
    adapter: Path | None


def load_front(
    source: str | Path, *, revision: str | None = None, adapter: str | Path | None = None, image_backend: str = "pil"
) -> Front:
    """What an engine needs that loads the weights by itself; arguments and errors as in `load_checkpoint`."""
    base, lora = _locate(source, adapter)
    config = _check_family(base, revision)
    processor = _load_processor(_processor_source(lora, base), base, revision, image_backend)
    return Front(config, processor, base, lora)


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


def _locate(source: str | Path, adapter: str | Path | None) -> tuple[str, Path | None]:
    """(base, adapter), both checked to be what they should be."""
    base, lora = _split_adapter(source, adapter)
    if lora is not None and not (lora / "adapter_config.json").is_file():
        raise EngineError(f"adapter {lora}: no adapter_config.json there; expected a folder saved by PEFT")
    _check_folder(base)
    return base, lora


def _split_adapter(source: str | Path, adapter: str | Path | None) -> tuple[str, Path | None]:
    """(base, adapter); a folder that holds an adapter and no model stands for the base its configuration names."""
    folder = Path(source)
    if not (folder / "adapter_config.json").is_file() or (folder / "config.json").is_file():
        return str(source), Path(adapter) if adapter is not None else None
    try:
        base = json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
    except (ValueError, KeyError, OSError) as error:
        raise EngineError(
            f"adapter {folder}: adapter_config.json names no base model ({_first_line(error)})"
        ) from error
    if not isinstance(base, str) or not base:
        raise EngineError(f"adapter {folder}: adapter_config.json names no base model; give it as the model")
    return base, folder


def _check_folder(base: str) -> None:
    looks_like_a_path = base.startswith((".", "/", "~")) or base.count("/") > 1
    if looks_like_a_path and not Path(base).is_dir():
        raise EngineError(f"model folder {base} does not exist")
    if Path(base).is_dir() and not (Path(base) / "config.json").is_file():
        raise EngineError(f"model folder {base} holds no config.json; expected a checkpoint saved by transformers")


def _check_family(base: str, revision: str | None) -> Any:
    """The checkpoint's configuration."""
    try:
        config = AutoConfig.from_pretrained(base, revision=revision)
    except LOAD_ERRORS as error:
        raise EngineError(f"cannot read the configuration of {base}: {_first_line(error)}") from error
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise EngineError(
            f"{base} is not a vision-language checkpoint: transformers {transformers.__version__} knows no "
            f"image-text-to-text model of type {config.model_type!r}"
        )
    return config


def _processor_source(adapter: Path | None, base: str) -> str:
    """The adapter folder where it holds a processor, else the base."""
    return str(adapter) if adapter is not None and any(adapter.glob("*processor_config.json")) else base


def _load_processor(source: str, base: str, revision: str | None, image_backend: str) -> Any:
    if image_backend not in ("pil", "torchvision"):
        raise EngineError(f"unknown image_backend {image_backend!r}; known: pil, torchvision")
    revision = revision if source == base else None
    try:
        processor = AutoProcessor.from_pretrained(source, revision=revision)
        if hasattr(processor, "image_processor"):  # the video processor of some families knows torchvision only
            processor.image_processor = AutoImageProcessor.from_pretrained(
                source, revision=revision, backend=image_backend
            )
    except LOAD_ERRORS as error:
        wants_torchvision = "torchvision" in str(error).lower() or "video" in str(error).lower()
        remedy = " (this family's processor needs torchvision: pip install 'hallu-evalkit[vlm]')"
        raise EngineError(
            f"cannot load the processor of {source}: {_first_line(error)}{remedy if wants_torchvision else ''}"
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
        raise EngineError(f"adapter {adapter} does not fit this model: {_first_line(error)}") from error
    lost = [key for key in result.missing_keys if "lora_" in key] + list(result.unexpected_keys)
    if lost:
        raise EngineError(f"adapter {adapter} does not fit this model: {len(lost)} weights unmatched, e.g. {lost[0]}")
    return wrapped


def _dtype(name: str) -> Any:
    known = {"auto": "auto", "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise EngineError(f"unknown dtype {name!r}; known: {', '.join(known)}")
    return known[name]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
