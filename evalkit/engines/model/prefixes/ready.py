"""A batch made ready to be read: images opened, prompts encoded, whole or with what they share apart.

A prompt that cannot be answered goes aside with the reason, and the others are answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.model.prefixes.sharing import Rows, Sharing
from evalkit.engines.model.running import context_limit
from evalkit.engines.model.token_rows import Encoded
from evalkit.errors import DataError, EngineError
from evalkit.schema import Prompt


@dataclass(frozen=True, slots=True)
class Ready:
    """A batch opened and encoded: the prompts that can be answered, and the others with the reason."""

    prompts: tuple[Prompt, ...]
    encoded: Encoded | Rows | None
    failures: tuple[tuple[Prompt, str], ...]


def prepared(encoder: PromptEncoder, model: Any, prompts: Sequence[Prompt], sharing: Sharing | None) -> Ready:
    """Open the images and encode; prompts that cannot be answered go aside with the reason."""
    images: list[list[Image.Image]] = []
    fit: list[Prompt] = []
    failures: list[tuple[Prompt, str]] = []
    for prompt in prompts:
        try:
            encoder.render(prompt)
            if sharing is not None:
                sharing.front(prompt)
            else:
                images.append([file.open() for file in prompt.images])
            fit.append(prompt)
        except DataError as error:
            failures.append((prompt, str(error)))
        except EngineError:
            if sharing is None:
                raise
            return prepared(
                encoder, model, prompts, None
            )  # prompt by prompt it is seen which image the processor refuses
    while fit:
        encoded: Encoded | Rows | None = sharing.rows(fit) if sharing is not None else None
        if encoded is None:
            images = images or [[file.open() for file in prompt.images] for prompt in fit]
            try:
                encoded = encoder.encode(fit, images)
            except EngineError:
                refused = _refused(encoder, fit, images)
                failures += [(fit[i], reason) for i, reason in refused.items()]
                images = [row for i, row in enumerate(images) if i not in refused]
                fit = [prompt for i, prompt in enumerate(fit) if i not in refused]
                continue
        limit = context_limit(model)
        long = {i for i, length in enumerate(encoded.lengths) if length >= limit}
        if not long:
            return Ready(tuple(fit), encoded, tuple(failures))
        failures += [(fit[i], f"the prompt is longer than the model's context of {limit} tokens") for i in long]
        fit = [prompt for i, prompt in enumerate(fit) if i not in long]
        images = [row for i, row in enumerate(images) if i not in long]
    return Ready((), None, tuple(failures))


def _refused(encoder: PromptEncoder, prompts: Sequence[Prompt], images: Sequence[list[Image.Image]]) -> dict[int, str]:
    """Index -> the processor's words, of the prompts that it refuses even alone.

    Raises:
        EngineError: if it refuses the batch though none of its prompts, or a plain image in place of theirs too:
            then it is not the images.
    """
    refused: dict[int, EngineError] = {}
    for i, (prompt, row) in enumerate(zip(prompts, images, strict=True)):
        try:
            encoder.encode([prompt], [row])
        except EngineError as error:
            refused[i] = error
    if len(refused) in (0, len(prompts)):
        plain = [Image.new("RGB", (336, 336), "gray") for _ in images[0]]
        encoder.encode(prompts[:1], [plain])
        if not refused:
            encoder.encode(prompts, images)  # raises what the batch met
    return {i: str(error) for i, error in refused.items()}
