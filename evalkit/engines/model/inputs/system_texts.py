"""The system text before a question, as a setting of every model whose chat template knows system messages.

    none        no system text
    vicuna_v1   the text with which LLaVA-1.5 and most papers on it are evaluated
    llava_v1    the text of RLAIF-V, LLaVA-RLHF and LLaVA-1.6 on Vicuna
    other text  itself

The two named texts are read from the authors' own file (llava/conversation.py, an official file like others), which is
parsed and never run. Where it is neither here nor may be fetched, this project's own wording stands in, and its name
says so; "vicuna_v1:own" and "vicuna_v1:official" choose.
"""

import ast
import hashlib
import logging
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from evalkit.errors import AssetError, UsageError
from evalkit.files.assets import asset, find_asset, is_offline, state

log = logging.getLogger(__name__)

SCRIPT = "llava/conversation.py"
NONE = "none"
_VERSIONS = {"vicuna_v1": "conv_vicuna_v1", "llava_v1": "conv_llava_v1"}  # name -> variable in the authors' file
_WRAPPER = re.compile(r"\{#- system text -#\}.*?\{#- end of system text -#\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SystemText:
    """A system text and the name under which a manifest shows it, e.g. "vicuna_v1 (official)"."""

    text: str
    name: str


def system_text(choice: str) -> SystemText:
    """The text that a setting means.

    Raises:
        AssetError: if the authors' file is needed and cannot be had, or holds no such text.
        UsageError: if the setting is empty.
    """
    if not choice.strip():
        raise UsageError(f"system_text is empty; use {NONE}, {', '.join(_VERSIONS)}, or a text")
    version, _, origin = choice.partition(":")
    if choice == NONE:
        return SystemText("", NONE)
    if version not in _VERSIONS or origin not in ("", "own", "official"):
        return SystemText(choice, "own text")
    if origin == "own" or (not origin and is_offline() and state(find_asset(SCRIPT)).path is None):
        if not origin:
            _say_once(version)
        return SystemText(_own_texts()[version], f"{version} (this project's wording)")
    try:
        script = asset(SCRIPT)
    except AssetError as error:
        raise AssetError(f"{error} (or use this project's own wording: system_text={version}:own)") from error
    return SystemText(text_in(script, version), f"{version} (official)")


def text_in(script: Path, version: str) -> str:
    """The system text of a conversation version in the authors' file; the file is parsed, not run.

    Raises:
        AssetError: if it is missing, no Python, or has no such conversation.
    """
    variable = _VERSIONS[version]
    try:
        tree = ast.parse(script.read_bytes(), filename=str(script))
    except (OSError, SyntaxError, ValueError) as error:
        raise AssetError(f"{script} cannot be read as Python: {error}") from error
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        if any(isinstance(target, ast.Name) and target.id == variable for target in node.targets):
            for keyword in node.value.keywords:
                value = keyword.value
                if keyword.arg == "system" and isinstance(value, ast.Constant) and isinstance(value.value, str):
                    return value.value
    raise AssetError(f"{script}: no conversation {variable!r} with a system text; is it llava/conversation.py?")


@lru_cache(maxsize=len(_VERSIONS))
def _say_once(version: str) -> None:
    log.warning(
        "system text %s: the authors' %s is not here and may not be fetched; this project's own wording stands in, and "
        "the scores are not those of the authors' text (system_text=%s:own says so without this line)",
        *(version, SCRIPT, version),
    )


@lru_cache(maxsize=1)
def _own_texts() -> dict[str, str]:
    table = tomllib.loads(files("evalkit.engines.model.inputs").joinpath("system_texts.toml").read_text("utf-8"))
    return {str(name): str(text) for name, text in table.items()}


def with_system_text(template: str, text: str) -> str:
    """A chat template that writes `text` where a conversation begins without a system message; "" takes it away."""
    bare = _WRAPPER.sub("", template)
    if not text:
        return bare
    quoted = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    message = f"{{'role': 'system', 'content': [{{'type': 'text', 'text': '{quoted}'}}]}}"
    return (
        "{#- system text -#}"
        f"{{%- set messages = messages if messages and messages[0]['role'] == 'system' else [{message}] + messages -%}}"
        "{#- end of system text -#}" + bare
    )


def hash_of(text: str) -> str:
    """What a signature shows of a system text: 8 hex digits, or "none"."""
    return hashlib.sha256(text.encode()).hexdigest()[:8] if text else NONE


def written_by(apply: Callable[[list[dict[str, Any]]], str]) -> str | None:
    """The system text that a chat template writes by itself; None where that cannot be told.

    Args:
        apply: messages -> text of the template.
    """
    probe, question = "Zq", {"role": "user", "content": [{"type": "text", "text": "Qz"}]}
    try:
        with_probe = apply([{"role": "system", "content": [{"type": "text", "text": probe}]}, question])
    except (jinja2.TemplateError, TypeError):
        return None  # it refuses system messages
    plain = apply([question])
    before, separator, after = with_probe.partition(probe)
    if not separator:
        return None
    if plain.startswith(before) and plain.endswith(after) and len(plain) >= len(before) + len(after):
        return plain[len(before) : len(plain) - len(after)]
    return ""
