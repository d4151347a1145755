"""A batch made ready to be read: images opened, prompts encoded, whole or with what they share apart.

A prompt that cannot be answered goes aside with the reason, and the others are answered.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.model.prefixes.sharing import Rows, Sharing
from evalkit.engines.model.running import context_limit
from evalkit.engines.model.token_rows import Encoded
from evalkit.engines.served.groups import group_of
from evalkit.errors import DataError, EngineError
from evalkit.schema import Prompt


@dataclass(frozen=True, slots=True)
class Ready:
    """A batch opened and encoded: the prompts that can be answered, and the others with the reason."""

    prompts: tuple[Prompt, ...]
    encoded: Encoded | Rows | None
    failures: tuple[tuple[Prompt, str], ...]


def prepared(
    encoder: PromptEncoder, model: Any, prompts: Sequence[Prompt], sharing: Sharing | None, width: int
) -> Iterable[Ready]:
    """Open the images and encode; prompts that cannot be answered go aside with the reason.

    Prompts whose prefixes are not shared come in parts of at most `width`, the second and later ones on demand.
    """
    if sharing is not None:
        ready = _shared(encoder, model, prompts, sharing)
        if ready is not None:
            return [ready]
    parts = (prompts[start : start + width] for start in range(0, len(prompts), width))
    whole = (_whole(encoder, model, part) for part in parts)
    return whole if len(prompts) > width else list(whole)


def continued(
    encoder: PromptEncoder,
    prompts: Sequence[Prompt],
    rows: Sequence[Sequence[int]],
    indices: Sequence[int],
    sharing: Sharing | None,
    width: int,
) -> Iterable[tuple[Sequence[int], Encoded | Rows]]:
    """Encode some of the prompts, each with the ids that continue it: (indices, encoded), in parts as in `prepared`.

    Raises:
        DataError, EngineError: as `PromptEncoder.encode`.
    """

    def encoded(part: Sequence[int]) -> Encoded:
        chosen, more = [prompts[i] for i in part], [rows[i] for i in part]
        return encoder.encode(chosen, None, more, padding_side="right")

    if sharing is not None:
        shared = sharing.rows([prompts[i] for i in indices], [rows[i] for i in indices])
        if shared is not None:
            return [(indices, shared)]
    parts = (indices[start : start + width] for start in range(0, len(indices), width))
    whole = ((part, encoded(part)) for part in parts)
    return whole if len(indices) > width else list(whole)


def _shared(encoder: PromptEncoder, model: Any, prompts: Sequence[Prompt], sharing: Sharing) -> Ready | None:
    """None if the processor refuses an image, or the prompts have too little in common."""
    rendered: list[Prompt] = []
    fit: list[Prompt] = []
    failures: list[tuple[Prompt, str]] = []
    for prompt in prompts:
        try:
            encoder.render(prompt)
            rendered.append(prompt)
        except DataError as error:
            failures.append((prompt, str(error)))
        except EngineError:
            return None
    fronts = sharing.fronts.of(rendered)
    for prompt in rendered:
        try:
            fronts[group_of(prompt)].result()
            fit.append(prompt)
        except DataError as error:
            failures.append((prompt, str(error)))
        except EngineError:
            return None  # one by one it is seen which image the processor refuses
    while fit:
        encoded = sharing.rows(fit, ready=fronts)
        if encoded is None:
            return None
        fit, long = _within(model, fit, encoded.lengths)
        if not long:
            return Ready(tuple(fit), encoded, tuple(failures))
        failures += long
    return Ready((), None, tuple(failures))


def _whole(encoder: PromptEncoder, model: Any, prompts: Sequence[Prompt]) -> Ready:
    opened: dict[str, list[Image.Image]] = {}
    fit: list[Prompt] = []
    failures: list[tuple[Prompt, str]] = []
    for prompt in prompts:
        try:
            encoder.render(prompt)
            opened[prompt.id] = [file.open() for file in prompt.images]
            fit.append(prompt)
        except DataError as error:
            failures.append((prompt, str(error)))
    while fit:
        images = [opened[prompt.id] for prompt in fit]
        try:
            encoded = encoder.encode(fit, images)
        except EngineError:
            refused = _refused(encoder, fit, images)
            failures += [(fit[i], reason) for i, reason in refused.items()]
            fit = [prompt for i, prompt in enumerate(fit) if i not in refused]
            continue
        fit, long = _within(model, fit, encoded.lengths)
        if not long:
            return Ready(tuple(fit), encoded, tuple(failures))
        failures += long
    return Ready((), None, tuple(failures))


def _within(
    model: Any, prompts: Sequence[Prompt], lengths: Sequence[int]
) -> tuple[list[Prompt], list[tuple[Prompt, str]]]:
    """(prompts that fit into the model's context, the others with the reason)."""
    limit = context_limit(model)
    reason = f"the prompt is longer than the model's context of {limit} tokens"
    pairs = list(zip(prompts, lengths, strict=True))
    return [prompt for prompt, n in pairs if n < limit], [(prompt, reason) for prompt, n in pairs if n >= limit]


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
