"""The vision tower of an original LLaVA: which one, its configuration, its weights, and its image settings.

The original builds the tower late and loads the one that config.json names; a copy in the folder counts only where
`unfreeze_mm_vision_tower` says that it was trained. Here the same holds, with one way out for machines without a
network: where the named tower is not at hand and the folder has a copy, the copy is taken and the manifest says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.engines.model.original_llava.folders import INDEXES, WHOLE
from evalkit.errors import EngineError

# OpenAI's published sizes (Radford et al. 2021, arXiv:2103.00020), so that a stored copy can be built offline.
_LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_PUBLISHED = {
    "clip-vit-large-patch14": _LARGE | {"image_size": 224, "patch_size": 14, "projection_dim": 768},
    "clip-vit-large-patch14-336": _LARGE | {"image_size": 336, "patch_size": 14, "projection_dim": 768},
}


@dataclass(frozen=True, slots=True)
class Tower:
    """A vision tower.

    name      folder or hub name
    config    CLIPVisionConfig
    stored    whether the weights in the LLaVA folder are used; else they come from `name`
    images    fields of its preprocessor_config.json; None where it has none at hand
    reason    why the stored weights are used although they do not count by the authors' rule; else None
    """

    name: str
    config: Any
    stored: bool
    images: Mapping[str, Any] | None
    reason: str | None = None


def find_tower(raw: Mapping[str, Any], chosen: str | Path | None, has_copy: bool, where: Path) -> Tower:
    """The tower by the authors' rule.

    Args:
        raw: the flat config.json.
        given: folder or hub name that takes the place of the one in config.json.
        has_copy: whether the LLaVA folder holds a tower's weights.
        where: the LLaVA folder; a relative path in its config.json is tried there too.
    Raises:
        EngineError: if neither a configuration nor weights can be had; the remedy is named.
    """
    name = str(chosen or raw["mm_vision_tower"])
    if not chosen and not Path(name).is_dir() and (where / name).is_dir():
        name = str(where / name)
    tuned = bool(raw.get("unfreeze_mm_vision_tower")) and has_copy
    config = _config_at(name)
    published = _PUBLISHED.get(Path(name).name)
    if config is None and has_copy and published is not None:
        return Tower(name, _clip(published), True, None, None if tuned else "the named tower is not at hand")
    if config is None:
        raise EngineError(
            f"the vision tower {name} is not at hand: give its folder with the engine argument vision_tower=FOLDER"
            + (" (its config.json is enough: the checkpoint holds the weights)" if has_copy else "")
        )
    reason = None
    if not tuned and has_copy and not _has_weights(name):
        reason = "the named tower's weights are not at hand"
    return Tower(name, config, tuned or reason is not None, _images_at(name), reason)


def load_weights(tower: Tower, dtype: Any) -> Mapping[str, Any]:
    """State of a tower from outside, in transformers' names.

    Raises:
        EngineError: if it cannot be loaded or is not whole.
    """
    from transformers import CLIPVisionModel

    try:
        model, report = CLIPVisionModel.from_pretrained(
            tower.name, dtype=dtype, output_loading_info=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise EngineError(
            f"cannot load the vision tower {tower.name}: {str(error).splitlines()[0][:200]}; give its folder with "
            "the engine argument vision_tower=FOLDER"
        ) from error
    if report["missing_keys"]:
        raise EngineError(f"the vision tower {tower.name} lacks weights, e.g. {sorted(report['missing_keys'])[0]}")
    return dict(model.state_dict())


def _config_at(name: str) -> Any | None:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError):
        return None
    config = getattr(config, "vision_config", config)
    if config.model_type != "clip_vision_model":
        raise EngineError(f"the vision tower {name} is a {config.model_type}; the original LLaVA code has CLIP only")
    return config


def _clip(fields: Mapping[str, Any]) -> Any:
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(hidden_act="quick_gelu", **fields)


def _has_weights(name: str) -> bool:
    """Whether the weights can be had without asking anybody; a hub name is looked for in the cache, then online."""
    from transformers.utils import cached_file

    for file in (*WHOLE, *INDEXES):
        try:
            if cached_file(name, file) is not None:
                return True
        except OSError:
            continue
    return False


def _images_at(name: str) -> Mapping[str, Any] | None:
    from transformers.image_processing_utils import BaseImageProcessor

    try:
        fields, _ = BaseImageProcessor.get_image_processor_dict(name)
    except (OSError, ValueError):
        return None
    return dict(fields)
