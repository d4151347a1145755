"""Saving a model so that transformers, this project's engines and vLLM load it.

For vLLM weight names of CLIP and SigLIP towers are written in their older form (`vision_tower.vision_model.*`), which
transformers reads as well.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from evalkit.errors import EngineError
from evalkit.files.atomic import replace_text, replaced
from evalkit.files.json_values import json_value

_SHORT, _LONG = "vision_tower.", "vision_tower.vision_model."
_TOWERS_WITH_OLDER_NAMES = ("clip_vision_model", "siglip_vision_model")


def save_model(model: Any, processor: Any, folder: Path) -> None:
    """Write model and processor; a PEFT model is saved as an adapter."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    rename_for_vllm(folder)


def rename_for_vllm(folder: Path) -> None:
    """Give the vision tower's weights of a saved folder the names that vLLM expects; does nothing where they fit."""
    if not _tower_has_older_names(folder):
        return
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            names, metadata = list(file.keys()), file.metadata()
            if all(older_name(name) == name for name in names):
                continue
            tensors = {older_name(name): file.get_tensor(name) for name in names}
        with replaced(path) as beside:
            save_file(tensors, beside, metadata or {"format": "pt"})
    for path in folder.glob("*.safetensors.index.json"):
        index = json.loads(path.read_text(encoding="utf-8"))
        index["weight_map"] = {older_name(name): shard for name, shard in index["weight_map"].items()}
        replace_text(path, json.dumps(index, indent=2) + "\n")


def older_name(name: str) -> str:
    """`vision_tower.encoder...` -> `vision_tower.vision_model.encoder...`; names that already have it stay."""
    return name if _LONG in name else name.replace(_SHORT, _LONG)


def _tower_has_older_names(folder: Path) -> bool:
    path = folder / "config.json"
    if not path.is_file():
        return False  # an adapter: its names are those of the modules
    try:
        tower = json_value(path.read_text(encoding="utf-8")).get("vision_config") or {}
    except ValueError as error:
        raise EngineError(f"{path}: not JSON: {error}") from error
    return tower.get("model_type") in _TOWERS_WITH_OLDER_NAMES
