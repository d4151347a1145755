"""Prompts about the same images: which ones go together, and an order in which they follow each other.

An engine or server that keeps what it has read of a prompt serves the next one from it while it still holds it.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from evalkit.schema import Prompt


def group_of(prompt: Prompt) -> Hashable:
    """Equal for prompts with the same images and the same system text."""
    return tuple((str(file.folder), file.name) for file in prompt.images), prompt.system


def together(prompts: Sequence[Prompt]) -> list[int]:
    """Indices of prompts in an order that keeps each group in one piece; groups in the order of their first prompts.

    >>> from pathlib import Path
    >>> from evalkit.images import ImageFile
    >>> a, b = (ImageFile(Path("images"), name) for name in ("a.jpg", "b.jpg"))
    >>> together([Prompt("1", "A dog?", (a,)), Prompt("2", "A dog?", (b,)), Prompt("3", "A cat?", (a,))])
    [0, 2, 1]
    """
    groups: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(group_of(prompt), []).append(index)
    return [index for group in groups.values() for index in group]


@dataclass(slots=True)
class PromptTokens:
    """Tokens of the prompts that an engine was given, and those of them that it had read before."""

    given: int = 0
    spared: int = 0

    def add(self, given: int, spared: int) -> None:
        """Count some prompts."""
        self.given += given
        self.spared += spared


@runtime_checkable
class CountsPromptTokens(Protocol):
    """An engine that knows how much of its prompts it need not read again."""

    prompt_tokens: PromptTokens
