"""Lengths of many prompts without encoding every image.

How many tokens an image becomes depends on its size alone, so a prompt is as long as its text and what images of these
sizes add; the latter is measured on one prompt. That a family really adds them up is checked on further prompts: one
that does not has every prompt encoded.
"""

from collections.abc import Callable

from evalkit.schema import Prompt

_CHECKED = 3  # prompts of the same image sizes that are encoded as well before the sum is trusted

Sizes = tuple[tuple[int, int], ...]


class PromptLengths:
    """Tokens of prompts, image tokens included.

    Args:
        encoded: tokens of a prompt as the model gets it; opens its images.
        text: tokens of a prompt without what its images add.
    """

    def __init__(self, encoded: Callable[[Prompt], int], text: Callable[[Prompt], int]) -> None:
        self._encoded, self._text = encoded, text
        self._lengths: dict[tuple[str | None, str, Sizes], int] = {}
        self._added: dict[Sizes, int] = {}
        self._left_to_check = _CHECKED
        self._adds_up = True

    def of(self, prompt: Prompt) -> int:
        """Tokens of one prompt."""
        sizes = tuple(image.size() for image in prompt.images)
        key = (prompt.system, prompt.text, sizes) if not prompt.turns else None
        if key is not None and key in self._lengths:
            return self._lengths[key]
        length = self._length(prompt, sizes)
        if key is not None:
            self._lengths[key] = length
        return length

    def _length(self, prompt: Prompt, sizes: Sizes) -> int:
        if not self._adds_up:
            return self._encoded(prompt)
        text, added = self._text(prompt), self._added.get(sizes)
        if added is None:
            length = self._encoded(prompt)
            self._added[sizes] = length - text
            return length
        if self._left_to_check:
            length = self._encoded(prompt)
            self._left_to_check -= 1
            self._adds_up = length == text + added
            return length
        return text + added
