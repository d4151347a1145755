"""Prompts for judges: the authors' own, read from their pinned script, or this project's.

The authors' prompts are not part of this repository. They are string constants inside published scripts, which are
official files like others; a script is parsed (never run) and the constant's sha256 is checked. Where it is not here
and cannot be fetched, this project's own prompt stands in, and the name says so in the settings of every run.
"""

import ast
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from evalkit.errors import AssetError
from evalkit.files.assets import asset, find_asset, is_offline, state

PromptChoice = Literal["auto", "official", "own"]


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """A template and the name under which it stands in the signature, e.g. "official-2c73d8c5"."""

    template: str
    name: str


@dataclass(frozen=True, slots=True)
class PinnedPrompt:
    """A prompt in two versions.

    script    official file that holds the authors' prompt (see evalkit/files/assets.py)
    variable  module-level name of the prompt in it
    sha256    of the prompt's text
    own       this project's prompt, benchmarks/prompts/<own>.txt
    function  where the prompt is put together inside a function: its name. The constants that it assigns and adds to
              the variable are the template, and everything else that it adds is a slot, "{}"
    """

    script: str
    variable: str
    sha256: str
    own: str
    function: str = ""


def judge_prompt(pin: PinnedPrompt, choice: PromptChoice = "auto", script: Path | None = None) -> JudgePrompt:
    """The prompt of a judge.

    Args:
        choice: "official"; "own"; "auto": the official one, or our own where it is neither here nor can be fetched
            because downloads are forbidden.
        script: the authors' script, in place of the official file.
    Raises:
        AssetError: if the script is needed and missing, or holds another text than the pinned one.
    """
    if choice == "own":
        return own_prompt(pin.own)
    if script is not None:
        return official_prompt(script, pin)
    if choice == "auto" and is_offline() and state(find_asset(pin.script)).path is None:
        return own_prompt(pin.own)
    try:
        path = asset(pin.script)
    except AssetError as error:
        benchmark = pin.script.partition("/")[0]
        raise AssetError(f"{error} (or choose this project's own prompt: --set {benchmark}.prompt=own)") from error
    return official_prompt(path, pin)


def official_prompt(script: Path, pin: PinnedPrompt) -> JudgePrompt:
    """Read the authors' prompt out of their script.

    Raises:
        AssetError: if the script is missing, holds no such constant, or another text than the pinned one.
    """
    text = template_of(script, pin.function, pin.variable) if pin.function else constant_of(script, pin.variable)
    digest = hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()
    if digest != pin.sha256:
        raise AssetError(f"{script}: {pin.variable} has sha256 {digest}, expected {pin.sha256}; fetch the pinned file")
    return JudgePrompt(text, f"official-{digest[:8]}")


def own_prompt(name: str) -> JudgePrompt:
    """This project's prompt benchmarks/prompts/<name>.txt."""
    text = files("benchmarks.prompts").joinpath(f"{name}.txt").read_text(encoding="utf-8")
    return JudgePrompt(text, f"evalkit-{hashlib.sha256(text.encode()).hexdigest()[:8]}")


def template_of(script: Path, function: str, variable: str) -> str:
    """The text that a function of a script puts together in a variable, with "{}" for what is not constant.

    Raises:
        AssetError: if the script is missing, is not Python, or has no such function.
    """
    for node in _parsed(script).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            steps = [
                step
                for step in ast.walk(node)
                if isinstance(step, ast.Assign | ast.AugAssign) and _assigned(step) == variable
            ]
            return "".join(_piece(step.value) for step in sorted(steps, key=lambda step: step.lineno))
    raise AssetError(f"{script} has no function {function!r}; is it the authors' evaluation script?")


def _assigned(step: ast.Assign | ast.AugAssign) -> str | None:
    target = step.target if isinstance(step, ast.AugAssign) else step.targets[0]
    return target.id if isinstance(target, ast.Name) else None


def _piece(value: ast.expr) -> str:
    constant = value.value if isinstance(value, ast.Constant) else None
    return constant.replace("{", "{{").replace("}", "}}") if isinstance(constant, str) else "{}"


def constant_of(script: Path, variable: str) -> str:
    """The string that a script assigns to a module-level name; the script is parsed, not run.

    Raises:
        AssetError: if it is missing, no Python, or assigns no such string.
    """
    for node in _parsed(script).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
            continue
        named = any(isinstance(target, ast.Name) and target.id == variable for target in node.targets)
        if named and isinstance(node.value.value, str):
            return node.value.value
    raise AssetError(f"{script} assigns no string to {variable!r}; is it the authors' evaluation script?")


def _parsed(script: Path) -> ast.Module:
    try:
        return ast.parse(script.read_bytes(), filename=str(script))
    except FileNotFoundError as error:
        raise AssetError(f"script {script} is missing") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise AssetError(f"{script} cannot be read as Python: {error}") from error
