"""How a checkpoint is scored, told by its config.json alone: transformers, vLLM, a server, its authors' code."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.engines.model.families import AUTHORS_CODE, SERVED_BY_VLLM, UNFIT, problem_of
from evalkit.engines.model.original_llava.configuration import check_convertible, projector_of
from evalkit.engines.model.original_llava.folders import is_original
from evalkit.errors import EngineError

# Families of which vLLM 0.32 has its own class, or that its transformers back end takes.
IN_VLLM = (
    *("llava", "llava_next", "llava_onevision", "blip-2", "paligemma", "idefics3", "smolvlm", "internvl", "qwen2_vl"),
    *("qwen2_5_vl", "qwen3_vl", "gemma3", "mistral3", "llama4", "aya_vision"),
)
UNTRIED_IN_VLLM = {  # this engine's prompts were not tried with it
    "blip-2": "vLLM has the class",
    "paligemma": "vLLM has the class",
    "aya_vision": "vLLM's transformers back end may take it",
}
NEED_TORCHVISION = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "smolvlm", "llava_onevision")
YES = "yes"


@dataclass(frozen=True, slots=True)
class Routes:
    """Three answers: "yes", "yes, ...", or "no: why and what to do"."""

    transformers: str
    vllm: str
    server: str


def routes_of(raw: Mapping[str, Any], name: str = "M") -> Routes:
    """The routes of a checkpoint.

    Args:
        raw: its config.json; of an adapter, the one in its folder.
        name: how it is called in commands.
    """
    if is_original(raw):
        return _original(raw, name)
    kind, problem = str(raw.get("model_type")), problem_of(raw)
    if problem is None:
        own = "yes, with torchvision (pip install 'hallu-evalkit[vlm]')" if kind in NEED_TORCHVISION else YES
        if kind in UNTRIED_IN_VLLM:
            return Routes(
                own, f"not tried: {UNTRIED_IN_VLLM[kind]}", f"`vllm serve {name}`, then --engine openai --base-url URL"
            )
        if kind in IN_VLLM:
            return Routes(own, YES, f"`vllm serve {name}`, then --engine openai --base-url URL")
        return Routes(own, f"no: vLLM has no {kind}", "no")
    refused = f"no: {problem}"
    if kind in SERVED_BY_VLLM:
        return Routes(refused, "no: its front brings code of its own", f"`vllm serve {name} --trust-remote-code`")
    return Routes(refused, "no", "no: its authors' code" if kind in AUTHORS_CODE or kind in UNFIT else "no")


def _original(raw: Mapping[str, Any], name: str) -> Routes:
    try:
        check_convertible(raw, name)
    except EngineError as error:
        return Routes(f"no: {error}", "no", "no")
    if projector_of(raw) == "linear":
        return Routes("yes, as original LLaVA", "no: its projector is one linear layer", "no")
    serve = f"`evalkit convert {name} --output-path OUT`, then `vllm serve OUT`"
    return Routes("yes, as original LLaVA", "yes, converted once", serve)
