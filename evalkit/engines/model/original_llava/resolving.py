"""From what somebody names to the parts of an original LLaVA: base, and what lies over it.

FOLDER                        a whole LLaVA
ADAPTER or PROJECTOR          over the base that `base` names, else over the one that its adapter_config.json names
base=A+B                      B (an adapter, say of a first training stage) over A, and the rest over both
FOLDER with sft_model/ and rlhf_lora_adapter_model/     LLaVA-RLHF as it is published
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.engines.model.original_llava.folders import (
    ADAPTER_CONFIG,
    NON_LORA_FILE,
    PROJECTOR_FILE,
    RLHF_ADAPTER,
    RLHF_BASE,
    Original,
    adapter_folder,
    has_language_model,
    holds_original_adapter,
    is_original,
    is_original_folder,
    read_json,
)
from evalkit.errors import EngineError

_PATTERNS = ["*.json", "*.bin", "*.safetensors", "*.model", "*.txt"]


@dataclass(frozen=True, slots=True)
class _Parts:
    base: Path
    layers: tuple[Path, ...] = ()
    config: Mapping[str, Any] | None = None
    commit: str | None = None


def find_original(
    source: str | Path, *, adapter: str | Path | None = None, base: str | None = None, revision: str | None = None
) -> Original | None:
    """The parts of an original LLaVA; None where the source and its adapter are something else.

    A base in transformers' own format under an adapter of the original code has an empty `config`.

    Args:
        source: folder or hub name.
        adapter: a further adapter over it.
        base: what an adapter or a projector lies on; several parts joined by "+".
        revision: of a hub name.
    Raises:
        EngineError: if a part is missing; the remedy is named.
    """
    over = Path(adapter) if adapter is not None else None
    ours = over is not None and over.is_dir() and (holds_original_adapter(over) or _is_projector(over))
    parts = _parts(str(source), base, revision)
    if parts is None and not ours:
        return None
    if over is not None and not ours:
        return None  # the adapter is in transformers' names; what it lies on is looked at by itself
    if parts is None:
        parts = _base(str(source))
    if over is not None:
        parts = _over(parts, over)
    config = parts.config
    if config is None and not _is_native(parts.base):
        raise EngineError(
            f"{parts.base} is a language model, and no config.json over it says how LLaVA puts images before it; use "
            "the folder of the adapter or projector that has one"
        )
    return Original(str(source), parts.base, parts.layers, config or {}, parts.commit)


def _parts(source: str, base: str | None, revision: str | None = None) -> _Parts | None:
    folder, commit = _folder(source, revision)
    if folder is None:
        return None
    if (folder / RLHF_BASE).is_dir() and (folder / RLHF_ADAPTER).is_dir():
        return _over(_base(base or str(folder / RLHF_BASE)), folder / RLHF_ADAPTER)
    if adapter_folder(folder) is not None and (holds_original_adapter(folder) or is_original_folder(folder)):
        return _over(_base(base or named_base(folder)), folder)
    if not is_original_folder(folder):
        return None
    raw = read_json(folder / "config.json")
    if not has_language_model(folder):
        if not _is_projector(folder):
            raise EngineError(f"{folder} holds an original LLaVA's config.json, but no weights")
        return _over(_base(base or named_base(folder)), folder)
    if base is not None:
        raise EngineError(f"{folder} is a whole model: base={base} is for an adapter or a projector")
    return _Parts(folder, (), raw, commit)


def _base(names: str) -> _Parts:
    """What a base stands for: a folder or hub name of any kind, or several joined by "+"."""
    pieces = [names] if Path(names).is_dir() else names.split("+")
    bottom, commit = _folder(pieces[0], None, any_format=True)
    assert bottom is not None
    parts = _parts(str(bottom), None) or _Parts(bottom, (), None, commit)
    for piece in pieces[1:]:
        if not Path(piece).is_dir():
            raise EngineError(f"base {names}: {piece} is not a folder")
        parts = _over(parts, Path(piece))
    return parts


def _over(parts: _Parts, layer: Path) -> _Parts:
    """Something more on top; its own flat config.json, if it has one, describes the model."""
    config = read_json(layer / "config.json") if is_original_folder(layer) else parts.config
    return _Parts(parts.base, (*parts.layers, layer), config, parts.commit)


def named_base(folder: Path) -> str:
    """The base of an adapter: beside it as LLaVA-RLHF has it, else as its own files name it."""
    for beside in (folder.parent, folder.parent.parent):
        if RLHF_ADAPTER in folder.parts[-2:] and (beside / RLHF_BASE).is_dir():
            return str(beside / RLHF_BASE)
    place = adapter_folder(folder)
    named = read_json(place / ADAPTER_CONFIG).get("base_model_name_or_path") if place is not None else None
    named = named or read_json(folder / "config.json").get("_name_or_path")
    remedy = "name it with the engine argument base=FOLDER"
    if not isinstance(named, str) or not named:
        raise EngineError(f"{folder} lies on a base that it does not name: {remedy}")
    if not Path(named).is_dir() and _looks_like_a_path(named):
        raise EngineError(f"{folder} lies on {named}, which is not here: {remedy}")
    return named


def _is_projector(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (PROJECTOR_FILE, NON_LORA_FILE))


def _is_native(folder: Path) -> bool:
    return "text_config" in read_json(folder / "config.json")


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") != 1


def _folder(source: str, revision: str | None, any_format: bool = False) -> tuple[Path | None, str | None]:
    """(folder, commit) of a folder or of a hub name whose config.json is the original's; else (None, None).

    Args:
        any_format: fetch the hub name whatever its format.
    """
    if Path(source).is_dir():
        return Path(source), None
    if _looks_like_a_path(source):
        if any_format:
            raise EngineError(f"folder {source} does not exist")
        return None, None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from transformers import PretrainedConfig

    try:
        raw, _ = PretrainedConfig.get_config_dict(source, revision=revision)
        if not any_format and not is_original(raw):
            return None, None
        folder = Path(snapshot_download(source, revision=revision, allow_patterns=_PATTERNS))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, ValueError) as error:
        if not any_format:
            return None, None
        raise EngineError(f"cannot fetch {source}: {str(error).splitlines()[0][:200]}") from error
    return folder, folder.name  # a snapshot's folder is named after its commit
