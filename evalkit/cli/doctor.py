"""What this machine has and lacks: one line per finding, with the remedy."""

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from evalkit.errors import AssetError, EngineError, EvalkitError
from evalkit.files.assets import OFFLINE_VARIABLES, is_on
from evalkit.process.libraries import library_version

LIBRARIES = {  # distribution -> what is missing without it
    "torch": "needed to run a model in this process",
    "transformers": "needed to run a model in this process",
    "nltk": "needed by CHAIR pos_lemma, AMBER, Object HalBench",
    "pandas": "needed by tables",
    "openai": "needed for served models and judges",
    "peft": "needed to align with LoRA: pip install 'hallu-evalkit[align]'",
    "vllm": "optional, fast generation on a GPU: pip install 'hallu-evalkit[vllm]'",
    "streamlit": "optional, the dashboard: pip install 'hallu-evalkit[dashboard]'",
    "spacy": "optional, AMBER's similarity and Object HalBench's phrases: pip install 'hallu-evalkit[spacy]'",
}
OPTIONAL = {"peft", "vllm", "streamlit", "spacy"}
OFFLINE = (*OFFLINE_VARIABLES, "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. `state`: "ok", "missing" (something will not work) or "note"."""

    name: str
    state: Literal["ok", "missing", "note"]
    text: str


def environment() -> Iterator[Check]:
    """Python, libraries, GPU, NLTK data, offline mode, disk."""
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    for name, use in LIBRARIES.items():
        version = library_version(name)
        if version is not None:
            yield Check(name, "ok", version)
        else:
            yield Check(name, "note" if name in OPTIONAL else "missing", f"not installed; {use}")
    yield _torchvision()
    yield _accelerator()
    yield from _nltk_data()
    yield offline_mode()
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    yield Check("disk", "ok" if free > 1 else "missing", f"{free:.0f} GiB free here")


def offline_mode() -> Check:
    """Which variables forbid downloads, of official files or of models."""
    switched_on = list(filter(is_on, OFFLINE))
    return Check(
        "offline mode", "note" if switched_on else "ok", f"on ({', '.join(switched_on)})" if switched_on else "off"
    )


def endpoint(url: str | None, model: str | None) -> Check:
    """Whether an OpenAI-compatible server answers one short question.

    Args:
        url: base URL; None for OPENAI_BASE_URL.
        model: name to ask for.
    """
    from evalkit.engines.openai import OpenAIEngine
    from evalkit.sampling import Sampling
    from evalkit.schema import Prompt

    try:
        engine = OpenAIEngine(model or "default", url, attempts=1, timeout_s=20)
        try:
            prompt = Prompt("doctor", "Answer with the word yes.")
            response = next(iter(engine.generate([prompt], Sampling(max_new_tokens=8))))
        finally:
            engine.close()
    except EvalkitError as error:
        return Check("endpoint", "missing", str(error))
    if response.failure is not None:
        return Check("endpoint", "missing", response.failure)
    return Check("endpoint", "ok", f"answers: {(response.text or '')[:40]!r}")


def _torchvision() -> Check:
    """transformers asks only whether torchvision is installed; a build for another torch breaks its import."""
    if importlib.util.find_spec("torchvision") is None:
        return Check(
            "torchvision", "note", "not installed; Qwen-VL, InternVL, SmolVLM need it (LLaVA, Idefics3, Gemma3 do not)"
        )
    try:
        import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        return Check("torchvision", "missing", f"installed but broken ({error}); remove it or match it to torch")
    return Check("torchvision", "ok", library_version("torchvision") or "of unknown version")


def _accelerator() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check("gpu", "note", "unknown without torch")
    import torch

    if not torch.cuda.is_available():
        return Check("gpu", "note", f"none; {os.cpu_count()} CPU cores")
    names = [
        f"{torch.cuda.get_device_name(index)} ({torch.cuda.get_device_properties(index).total_memory / 2**30:.0f} GiB)"
        for index in range(torch.cuda.device_count())
    ]
    return Check("gpu", "ok", ", ".join(names))


def _nltk_data() -> Iterator[Check]:
    from evalkit.text.data import language_data
    from evalkit.text.tokens import lemma, tag, tokenize

    for name, probe in (
        ("nltk punkt_tab", lambda: tokenize("A dog. A cat.")),
        ("nltk tagger", lambda: tag(["a", "dog"])),
        ("nltk wordnet", lambda: lemma("dogs")),
    ):
        try:
            probe()
            yield Check(name, "ok", "found")
        except (AssetError, EngineError) as error:
            yield Check(name, "missing", str(error))
    if own := language_data():
        yield Check("nltk data", "note", f"{own}, not NLTK's own; the signature says so")
