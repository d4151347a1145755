"""Prompts that show the same images: one goes through the processor, the others take over what it made of the images.

A processor replaces each image marker of the rendered text by the tokens of that image, then tokenizes the whole text.
Two prompts with the same images and the same text up to the last marker differ only in what follows, so the text of
the second is that of the first with another ending. Nothing is assumed about the tokenizer: the whole text is
tokenized again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Any

from PIL import Image
from torch import Tensor

from evalkit.engines.model.encoding import PromptEncoder, Recorder
from evalkit.engines.model.token_rows import Encoded, per_token
from evalkit.errors import EngineError
from evalkit.schema import Prompt


@dataclass(frozen=True, slots=True)
class Front:
    """A prompt as the processor made it.

    ids       its token ids
    inputs    the model's other inputs, a batch of one, without padding
    head      one past the last placeholder token of `ids`; 0 without images
    rendered  its text with image markers
    expanded  its text as it was tokenised
    special   whether the tokenizer added its special tokens
    """

    ids: tuple[int, ...]
    inputs: Mapping[str, Any]
    head: int
    rendered: str
    expanded: str
    special: bool


def read_front(encoder: PromptEncoder, prompt: Prompt, images: Sequence[Image.Image]) -> Front:
    """Run the processor on one prompt.

    Raises:
        DataError, EngineError: as `PromptEncoder.encode`.
    """
    return read_fronts(encoder, [prompt], [images])[0]


def read_fronts(
    encoder: PromptEncoder, prompts: Sequence[Prompt], images: Sequence[Sequence[Image.Image]]
) -> list[Front]:
    """Run the processor once on some prompts with an image each.

    What it makes of several is what it makes of each only in families where `check.fronts_agree`.

    Raises:
        DataError, EngineError: as `PromptEncoder.encode`; EngineError also if the inputs do not fall into rows.
    """
    recorder = Recorder()
    encoded = encoder.encode(prompts, images, recorder=recorder)
    if len(prompts) > 1 and len(recorder.texts) != len(prompts):
        raise EngineError("the processor tokenizes other texts than one for each prompt")
    fronts = []
    for b, prompt in enumerate(prompts):
        inputs = dict(encoded.inputs) if len(prompts) == 1 else _row(encoded, b)
        ids = tuple(inputs.pop("input_ids")[0].tolist())
        inputs.pop("attention_mask")
        places = set(encoder.placeholder_ids)
        head = next((i + 1 for i in range(len(ids) - 1, -1, -1) if ids[i] in places), 0)
        special = recorder.add_special_tokens
        fronts.append(Front(ids, inputs, head, encoder.render(prompt), recorder.texts[b], special))
    return fronts


def _row(encoded: Encoded, b: int) -> dict[str, Any]:
    """The inputs of one prompt of a batch, without its padding.

    Raises:
        EngineError: if an input is not one row per prompt.
    """
    inputs, tokens = {}, set(per_token(encoded.inputs))
    for name, value in encoded.inputs.items():
        if not isinstance(value, Tensor) or len(value) != len(encoded.begins):
            raise EngineError(f"the input {name!r} is not one row per prompt")
        # a copy: a view would keep the images of all prompts for as long as one of them is needed
        inputs[name] = value[b : b + 1, encoded.begins[b] :] if name in tokens else value[b : b + 1].clone()
    return inputs


def ids_like(encoder: PromptEncoder, front: Front, prompt: Prompt) -> tuple[int, ...] | None:
    """Token ids of another prompt with the images of `front`; None if its text differs before an image."""
    rendered = encoder.render(prompt)
    if rendered == front.rendered:
        return front.ids
    same = _common_length(rendered, front.rendered)
    old, new = front.rendered[same:], rendered[same:]
    if not front.expanded.endswith(old) or encoder.placeholder_in(old, new) is not None:
        return None
    text = front.expanded[: len(front.expanded) - len(old)] + new
    return encoder.ids_of(text, front.special)


@lru_cache(1024)
def _common_length(one: str, other: str) -> int:
    """Characters with which two texts begin; the same few questions are asked about every image."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
