"""What config.json alone says of a checkpoint: its family, and whether this process can run it. No weight is read."""

import pickle
from collections.abc import Mapping
from typing import Any

import transformers
from safetensors import SafetensorError
from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from evalkit.errors import EngineError

# What from_pretrained raises for files that are absent, torn, too large, of another shape than the configuration says,
# or pickles of anything but tensors.
LOAD_ERRORS = (
    *(OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError, SafetensorError),
    *(pickle.PickleError, EOFError, MemoryError),
)
# Families with code in their repository that vLLM has in its own tree, so that it serves them without running it.
SERVED_BY_VLLM = ("minicpmv", "internvl_chat", "phi3_v", "phi4mm", "molmo", "deepseek_vl_v2", "ovis", "h2ovl_chat")
# Families that only their authors' code runs.
AUTHORS_CODE = {
    "beit3_llava": "Muffin, github.com/thunlp/Muffin (RLHF-V)",
    "omnilmm": "github.com/OpenBMB/OmniLMM (RLAIF-V-12B)",
    "mplug_owl2": "github.com/X-PLUG/mPLUG-Owl",
    "shikra": "github.com/shikras/shikra",
    "qwen": "Qwen-VL-Chat's own repository",
    "multi_modality": "github.com/deepseek-ai (deepseek-community publishes conversions that load here)",
}

# Families that transformers has, but not in a form in which a question about an image gets an answer in words.
UNFIT = {
    "idefics": "whose processor puts images behind the text, its authors before it: use Idefics2 or Idefics3",
    "fuyu": "whose processor ends every prompt by itself and has no chat format: use a chat model, e.g. llava-hf's",
    "kosmos-2": "which was trained to ground captions and knows no chat format: use a chat model, e.g. llava-hf's",
    "git": "which was trained on captions and knows no chat format: use a chat model, e.g. llava-hf's",
    "florence2": "an encoder-decoder that is asked with task words like `<CAPTION>`, not with questions",
    "pix2struct": "an encoder-decoder whose questions are drawn into the image",
}


def raw_config(base: str, revision: str | None = None) -> dict[str, Any]:
    """config.json as it is written.

    Raises:
        EngineError: if it is absent or unreadable.
    """
    try:
        raw, _ = PretrainedConfig.get_config_dict(base, revision=revision)
    except LOAD_ERRORS as error:
        raise EngineError(f"cannot read the configuration of {base}: {first_line(error)}") from error
    return dict(raw)


def check_family(base: str, revision: str | None = None) -> Any:
    """The checkpoint's configuration.

    Raises:
        EngineError: if it is not a vision-language model that this process can run; the way that works is named.
    """
    problem = problem_of(raw_config(base, revision))
    if problem is not None:
        raise EngineError(f"{base} {problem}")
    try:
        return AutoConfig.from_pretrained(base, revision=revision, trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise EngineError(f"cannot read the configuration of {base}: {first_line(error)}") from error


def problem_of(raw: Mapping[str, Any]) -> str | None:
    """Why the transformers engine cannot run a checkpoint with this config.json, and what to do; None if it can."""
    kind = str(raw.get("model_type"))
    foreign = _other_way(kind, raw)
    if foreign is not None:
        return foreign
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return (
            f"is not a vision-language checkpoint: transformers {transformers.__version__} knows no image-text-to-text "
            f"model of type {kind!r}"
        )
    parts = {"text_config", "vision_config"} & set(getattr(CONFIG_MAPPING[kind], "sub_configs", {}))
    if len(parts) == 2 and not parts & set(raw):
        return (
            f"has neither text_config nor vision_config in its config.json, so a {kind} of default size would be built "
            "(billions of parameters); is it a checkpoint in another format?"
        )
    text = (raw.get("text_config") or {}).get("model_type")
    if raw.get("is_encoder_decoder") or (text and text in CONFIG_MAPPING and _is_encoder_decoder(text)):
        return (
            f"has an encoder-decoder ({text or kind}) as language model, whose answers this engine does not decode; "
            "use a decoder-only variant, e.g. instructblip-vicuna or blip2-opt"
        )
    return None


def _is_encoder_decoder(kind: str) -> bool:
    return bool(CONFIG_MAPPING[kind]().is_encoder_decoder)


def _other_way(kind: str, raw: Mapping[str, Any]) -> str | None:
    """Why a family is not run in this process, and what to do; None for those that transformers knows."""
    if kind in UNFIT:
        return (
            f"is of type {kind!r}, {UNFIT[kind]}; what it says can be generated with its authors' code and scored "
            "with `evalkit score BENCHMARK --responses FILE`"
        )
    if kind in CONFIG_MAPPING and "auto_map" not in raw:
        return None
    if kind in AUTHORS_CODE:
        return (
            f"is of type {kind!r}, which runs in its authors' code only: {AUTHORS_CODE[kind]}; generate there and "
            "score the file with `evalkit score BENCHMARK --responses FILE`"
        )
    if kind in SERVED_BY_VLLM:
        return (
            f"is of type {kind!r} and brings code of its own, which is not run here: serve it with `vllm serve MODEL "
            "--trust-remote-code` and use --engine openai --base-url URL"
        )
    if kind in CONFIG_MAPPING:
        return None
    if "auto_map" in raw:
        return (
            f"is of type {kind!r} and brings code of its own, which is not run here: serve it and use --engine "
            "openai, or generate in its own code and use `evalkit score BENCHMARK --responses FILE`"
        )
    return None


def first_line(error: BaseException) -> str:
    """An exception in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
