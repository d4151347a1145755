"""Built-in prompts for families without a chat template, and what their processors need to be handled right."""

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How a family is asked; the fields are explained in prompt_formats.toml."""

    template: str | None = None
    places_image: bool = False
    singly: bool = False
    text_type: int = 0
    source: str = ""


def format_of(processor: Any) -> PromptFormat:
    """The format of a processor's family; a plain one for families that have a chat template."""
    return _table().get(type(processor).__name__, PromptFormat())


@lru_cache(maxsize=1)
def _table() -> dict[str, PromptFormat]:
    text = files("evalkit.engines.model.inputs").joinpath("prompt_formats.toml").read_text("utf-8")
    return {name: PromptFormat(**row) for name, row in tomllib.loads(text).items()}
