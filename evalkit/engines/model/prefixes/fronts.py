"""Prompts that show the same images: one goes through the processor, the others take over what it made of the images.

A processor replaces each image marker of the rendered text by the tokens of that image, then tokenizes the whole text.
Two prompts with the same images and the same text up to the last marker differ only in what follows, so the text of
the second is that of the first with another ending. Nothing is assumed about the tokenizer: the whole text is
tokenized again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from PIL import Image

from evalkit.engines.model.encoding import PromptEncoder, Recorder
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
    recorder = Recorder()
    inputs = dict(encoder.encode([prompt], [images], recorder=recorder).inputs)
    ids = tuple(inputs.pop("input_ids")[0].tolist())
    inputs.pop("attention_mask")
    places = set(encoder.placeholder_ids)
    head = next((i + 1 for i in range(len(ids) - 1, -1, -1) if ids[i] in places), 0)
    return Front(ids, inputs, head, encoder.render(prompt), recorder.text, recorder.add_special_tokens)


def ids_like(encoder: PromptEncoder, front: Front, prompt: Prompt) -> list[int] | None:
    """Token ids of another prompt with the images of `front`; None if its text differs before an image."""
    rendered = encoder.render(prompt)
    if rendered == front.rendered:
        return list(front.ids)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(rendered, front.rendered, strict=False)))
    old, new = front.rendered[same:], rendered[same:]
    if not front.expanded.endswith(old) or encoder.placeholder_in(old, new) is not None:
        return None
    text = front.expanded[: len(front.expanded) - len(old)] + new
    with encoder.own_processor() as processor:
        return list(processor.tokenizer(text, add_special_tokens=front.special).input_ids)
