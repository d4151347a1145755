"""`evalkit doctor --checkpoint M`: how a checkpoint is scored; the table of published ones in docs/checkpoints.md."""

import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from evalkit.cli.doctor import Check
from evalkit.errors import EngineError


def checkpoint_checks(name: str) -> Iterator[Check]:
    """What config.json says of a folder or hub name; no weight is read or fetched."""
    from evalkit.engines.model.families import raw_config
    from evalkit.engines.model.original_llava.folders import RLHF_ADAPTER, RLHF_BASE, adapter_folder
    from evalkit.engines.model.original_llava.resolving import named_base
    from evalkit.engines.model.routes import routes_of

    folder = Path(name)
    if (folder / RLHF_BASE).is_dir() and (folder / RLHF_ADAPTER).is_dir():
        yield Check("format", "ok", f"LLaVA-RLHF: {RLHF_ADAPTER} over {RLHF_BASE}")
        folder = folder / RLHF_BASE
    elif adapter_folder(folder) is not None:
        try:
            yield Check("base", "ok", f"an adapter over {named_base(folder)}")
        except EngineError as error:
            yield Check("base", "missing", str(error))
        if not (folder / "config.json").is_file():
            return
    try:
        raw = raw_config(str(folder))
    except EngineError as error:
        yield Check("checkpoint", "missing", str(error))
        return
    routes = routes_of(raw, name)
    for engine, route in (("transformers", routes.transformers), ("vllm", routes.vllm), ("server", routes.server)):
        yield Check(engine, "missing" if route.startswith("no") and engine == "transformers" else "ok", route)


def published_table() -> str:
    """The table of checkpoints of hallucination papers, in Markdown."""
    from evalkit.engines.model.routes import routes_of

    lines = ["| checkpoint | transformers | vLLM | server | remarks |", "|---|---|---|---|---|"]
    for row in _published():
        routes = routes_of(row["config"], row["name"].partition(",")[0])
        cells = [row["name"], routes.transformers, routes.vllm, routes.server, row.get("remark", "")]
        lines.append("| " + " | ".join(_short(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _short(text: str) -> str:
    return text.replace("|", "\\|").replace("M is an original", "an original")


def _published() -> list[dict[str, Any]]:
    text = files("evalkit.cli").joinpath("checkpoints.toml").read_text("utf-8")
    return list(tomllib.loads(text)["checkpoint"])
