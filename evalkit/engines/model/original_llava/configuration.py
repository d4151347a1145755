"""The flat config.json of the original code as a configuration of transformers; what has no exact one is refused."""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit.engines.model.original_llava.folders import LANGUAGE_MODELS
from evalkit.errors import EngineError

# Fields that belong to LLaVA's wrapper, not to its language model.
_FOREIGN = (
    *(
        "mm_",
        "image_aspect",
        "image_grid",
        "image_crop",
        "image_split",
        "tune_mm",
        "freeze_mm",
        "unfreeze_mm",
        "use_mm",
    ),
    *("tokenizer_", "architectures", "model_type", "_name_or_path", "transformers_version", "vision_tower", "s2"),
)
_REQUIRED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_STRATEGIES = {"patch": "default", "cls_patch": "full"}
PROJECTORS = ("linear", "mlp2x_gelu")


def is_anyres(raw: Mapping[str, Any]) -> bool:
    """Whether images are cut into tiles (LLaVA-1.6, also called LLaVA-NeXT)."""
    return str(raw.get("image_aspect_ratio") or "").startswith("anyres")


def projector_of(raw: Mapping[str, Any]) -> str:
    """Projector between vision tower and language model; the field is absent for one linear layer."""
    return raw.get("mm_projector_type") or "linear"


def backbone_of(raw: Mapping[str, Any]) -> str:
    """Type of the language model in transformers."""
    return LANGUAGE_MODELS[(raw.get("architectures") or ["LlavaLlamaForCausalLM"])[0]]


def check_convertible(raw: Mapping[str, Any], where: str) -> None:
    """Nothing is read but config.json.

    Raises:
        EngineError: if the model is one that transformers' LLaVA classes cannot compute exactly; the reason is named.
    """
    problem = _problem(raw)
    if problem is not None:
        raise EngineError(f"{where} is an original LLaVA folder, but {problem}")


def _problem(raw: Mapping[str, Any]) -> str | None:
    quantised = raw.get("quantization_config") or raw.get("quant_config")
    if quantised is not None:
        method = quantised.get("quant_method", "an unnamed method") if isinstance(quantised, Mapping) else quantised
        return f"its weights are quantised ({method}): use the unquantised checkpoint"
    kind = (raw.get("architectures") or ["LlavaLlamaForCausalLM"])[0]
    if kind not in LANGUAGE_MODELS:
        return f"its class is {kind}; known: {', '.join(LANGUAGE_MODELS)}"
    absent = [name for name in (*_REQUIRED, "mm_vision_tower") if not raw.get(name)]
    if absent:
        return f"its config.json lacks {', '.join(absent)}"
    if "siglip" in str(raw["mm_vision_tower"]).lower():
        return (
            f"its vision tower is {raw['mm_vision_tower']}, no CLIP: use a conversion in transformers' format where "
            "there is one (llava-hf/llava-onevision-*-hf)"
        )
    if raw.get("s2") or raw.get("mm_resampler_type"):
        return f"it uses {'S2 scales' if raw.get('s2') else 'the resampler ' + str(raw['mm_resampler_type'])}"
    if projector_of(raw) not in PROJECTORS:
        return f"its projector is {projector_of(raw)}; known: {', '.join(PROJECTORS)}"
    if not isinstance(raw.get("mm_vision_select_layer", -2), int):
        return f"it takes features of several layers: mm_vision_select_layer {raw['mm_vision_select_layer']!r}"
    if raw.get("mm_vision_select_feature", "patch") not in _STRATEGIES:
        return f"mm_vision_select_feature is {raw['mm_vision_select_feature']!r}; known: {', '.join(_STRATEGIES)}"
    return _tiling_problem(raw) if is_anyres(raw) else None


def _tiling_problem(raw: Mapping[str, Any]) -> str | None:
    if raw["image_aspect_ratio"] != "anyres":
        return f"image_aspect_ratio is {raw['image_aspect_ratio']!r}; known: anyres, pad, or none"
    if raw.get("mm_patch_merge_type") != "spatial_unpad":
        return f"mm_patch_merge_type is {raw.get('mm_patch_merge_type')!r}, where anyres needs 'spatial_unpad'"
    if projector_of(raw) == "linear":
        return "its projector is one linear layer, where anyres needs mlp2x_gelu"
    try:
        grid_pinpoints(raw)
    except (ValueError, SyntaxError, TypeError) as error:
        return f"image_grid_pinpoints is not a list of sizes ({error})"
    return None


def grid_pinpoints(raw: Mapping[str, Any]) -> list[list[int]]:
    """Tile grids as (height, width); the original lists (width, height), in some files as text."""
    pinpoints: Any = raw.get("image_grid_pinpoints")
    grid: Sequence[Sequence[int]] = ast.literal_eval(pinpoints) if isinstance(pinpoints, str) else pinpoints
    return [[int(height), int(width)] for width, height in grid]


def language_config(raw: Mapping[str, Any], rows: int) -> Any:
    """Configuration of the language model; `rows` of the embedding count, whatever vocab_size says."""
    from transformers import AutoConfig

    fields = {name: value for name, value in raw.items() if not name.startswith(_FOREIGN)}
    return AutoConfig.for_model(backbone_of(raw), **(fields | {"vocab_size": rows}))


def model_config(raw: Mapping[str, Any], tower_config: Any, rows: int, image_token: int) -> Any:
    """LlavaConfig or LlavaNextConfig.

    Args:
        raw: the flat config.json, checked by `check_convertible`.
        tower_config: configuration of the vision tower.
        rows: rows of the token embedding.
        image_token: id that stands for one image patch in the prompt.
    """
    from transformers import LlavaConfig, LlavaNextConfig

    side = tower_config.image_size // tower_config.patch_size
    select = raw.get("mm_vision_select_feature", "patch")
    shared: dict[str, Any] = {
        "vision_config": tower_config.to_dict(),
        "text_config": language_config(raw, rows).to_dict(),
        "image_token_index": image_token,
        "projector_hidden_act": "linear" if projector_of(raw) == "linear" else "gelu",
        "vision_feature_layer": raw.get("mm_vision_select_layer", -2),
        "vision_feature_select_strategy": _STRATEGIES[select],
        "image_seq_length": side**2 + (select == "cls_patch"),
        "dtype": raw.get("torch_dtype") or raw.get("dtype"),
        "tie_word_embeddings": bool(raw.get("tie_word_embeddings", False)),
    }
    if is_anyres(raw):
        return LlavaNextConfig(image_grid_pinpoints=grid_pinpoints(raw), **shared)
    return LlavaConfig(**shared)
