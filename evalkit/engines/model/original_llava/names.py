"""Weight names of the original LLaVA code and their names in transformers 5."""

import re
from collections.abc import Iterable

KEY_MAPPING = {  # applied in this order, as `from_pretrained(key_mapping=...)` does
    r"^model\.mm_projector\.0\.": "model.multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "model.multi_modal_projector.linear_2.",
    r"^model\.mm_projector\.(weight|bias)$": r"model.multi_modal_projector.linear_1.\1",
    r"^model\.vision_tower\.vision_tower\.(vision_model\.)?": "model.vision_tower.",
    r"^model\.(embed_tokens|layers|norm)\.": r"model.language_model.\1.",
}
TOWER, PROJECTOR = "model.vision_tower.", "model.multi_modal_projector."
STORED_TOWER = "model.vision_tower.vision_tower."
# Buffers that old files carry and no forward pass reads.
_BUFFERS = re.compile(r"(rotary_emb\.inv_freq|embeddings\.position_ids)$")


def renamed(name: str) -> str:
    """The name of a weight in transformers' classes; a name that has no counterpart stays.

    >>> renamed("model.mm_projector.2.bias")
    'model.multi_modal_projector.linear_2.bias'
    >>> renamed("lm_head.weight")
    'lm_head.weight'
    """
    for pattern, target in KEY_MAPPING.items():
        name = re.sub(pattern, target, name)
    return name


def without_wrappers(name: str) -> str:
    """The name of a weight saved from inside PEFT or a projector alone: "model." once at its front.

    >>> without_wrappers("base_model.model.model.mm_projector.0.weight")
    'model.mm_projector.0.weight'
    >>> without_wrappers("mm_projector.0.weight")
    'model.mm_projector.0.weight'
    """
    name = name.removeprefix("base_model.")
    while name.startswith("model.model."):
        name = name.removeprefix("model.")
    if name.startswith("model.lm_head."):
        return name.removeprefix("model.")
    return name if name.startswith(("model.", "lm_head.")) else f"model.{name}"


def adapted(name: str) -> str:
    """The name of an adapter's weight: `language_model.` goes in before the language model's parts.

    >>> adapted("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight")
    'base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight'
    """
    return re.sub(r"^(base_model\.model\.model\.)(layers|embed_tokens|norm)\.", r"\1language_model.\2.", name)


def is_original_adapter(names: Iterable[str]) -> bool:
    """Whether an adapter's weights have the original's names, in which the language model is the whole model."""
    return any(adapted(name) != name for name in names)


def needed(names: Iterable[str]) -> list[str]:
    """The names without buffers."""
    return sorted(name for name in names if not _BUFFERS.search(name))
