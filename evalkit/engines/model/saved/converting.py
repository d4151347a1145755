"""An original LLaVA, or a LLaVA with other input settings, as an ordinary folder in transformers' format."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.engines.model.inputs.settings import InputSettings
from evalkit.engines.model.loading import Front, load_checkpoint, load_front
from evalkit.engines.model.original_llava.assembly import folder_fingerprint
from evalkit.engines.model.original_llava.configuration import projector_of
from evalkit.engines.model.saved.saving import save_model
from evalkit.errors import EngineError
from evalkit.files.cache import cache_folder
from evalkit.schema import Json

NOTE = "conversion.json"
LINEAR = (
    "its projector is one linear layer, for which vLLM has no class: use the transformers engine (the converted folder "
    'has a second layer that is the identity, under the activation "linear", which vLLM does not know)'
)


def convert(source: str | Path, out: Path, **settings: Any) -> Mapping[str, Json]:
    """Write a checkpoint in transformers' format; returns what it was made of.

    Args:
        source: an original LLaVA in any form, or any checkpoint that loads.
        out: a folder that is not there yet, or is empty; it appears only when it is complete.
        settings: of `load_checkpoint`: base, adapter, vision_tower, inputs, revision, dtype.
    Raises:
        EngineError: if the folder holds something, or the model cannot be converted exactly; the reason is named.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EngineError(f"{out} holds something already; name another folder")
    checkpoint = load_checkpoint(source, device="cpu", **settings)
    model = checkpoint.model
    model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    facts = {"source": str(source), "adapter": checkpoint.adapter, **checkpoint.facts}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        folder = Path(scratch) / "model"
        save_model(model, checkpoint.processor, folder)
        (folder / NOTE).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        if out.is_dir():
            out.rmdir()
        shutil.move(folder, out)
    return facts


def served_front(
    model: str | Path,
    inputs: InputSettings,
    adapter: str | Path | None,
    image_backend: str,
    **parts: Any,
) -> tuple[Front, str]:
    """(checkpoint without weights, what vLLM loads: a folder or hub name); original LLaVAs are converted in the cache.

    Args:
        parts: revision, base, vision_tower, see `load_checkpoint`.
    Raises:
        EngineError: as in `load_front` and `convert`, and if vLLM could not serve it.
    """
    front = load_front(model, adapter=adapter, image_backend=image_backend, inputs=inputs, **parts)
    if front.assembly is None and not front.layers and inputs.image_padding is None:
        return front, front.source
    if front.assembly is None and not front.layers:
        own = load_front(model, adapter=adapter, image_backend=image_backend, **parts)
        if _padding(own) != _padding(front):
            raise EngineError(
                f"{model}: vLLM transforms images as the checkpoint's own files say: write a copy with `evalkit "
                f"convert {model} --image-padding {inputs.image_padding} --output-path DIR` and serve that"
            )
        return front, front.source
    if front.assembly is not None and projector_of(front.assembly.original.config) == "linear":
        raise EngineError(f"{front.source}: vLLM cannot serve it: {LINEAR}")
    folder = cache_folder() / "converted" / _key(front)
    if not folder.is_dir():
        merged = adapter if front.adapter is None else None  # an adapter in transformers' names stays apart
        convert(model if front.adapter is None else front.source, folder, adapter=merged, inputs=inputs, **parts)
    return front, str(folder)


def _padding(front: Front) -> bool:
    return bool(getattr(front.processor.image_processor, "do_pad", False))


def _key(front: Front) -> str:
    """Name of a converted copy: its parts and settings."""
    digest = hashlib.sha256()
    if front.assembly is not None:
        original = front.assembly.original
        base, layers = original.base, original.layers
        digest.update(json.dumps(front.assembly.facts(), sort_keys=True).encode())
    else:
        base, layers = Path(front.source), front.layers
    digest.update(folder_fingerprint(base).encode() if base.is_dir() else str(base).encode())
    for layer in layers:
        for path in sorted(path for path in layer.rglob("*") if path.is_file()):
            digest.update(f"{path}\x00{path.stat().st_size}\x00{path.stat().st_mtime_ns}\n".encode())
    digest.update(str(front.processor.chat_template).encode())
    digest.update(json.dumps(front.processor.image_processor.to_dict(), sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]
