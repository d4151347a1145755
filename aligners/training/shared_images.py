"""Prompts about one image in one row: what they have in common is read once (see `aligners.training.packing`).

Only log-probabilities and rewards are read this way, never gradients. A row gives what its prompts give on their own
but for rounding; whoever uses it compares the two on the first batch and goes without if the family differs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.model.prefixes.fronts import Front, ids_like, read_front
from evalkit.engines.model.prefixes.sharing import common_length
from evalkit.engines.served.groups import group_of
from evalkit.schema import Prompt


@dataclass(frozen=True, slots=True)
class ImageGroup:
    """Prompts with the same images and the same text up to the last of them.

    front    one of them as the processor made it
    members  their places among all prompts
    ids      their token ids
    """

    front: Front
    members: list[int]
    ids: list[tuple[int, ...]]

    @property
    def common(self) -> int:
        """Tokens with which all of them begin; at least one token of each is left."""
        return min(common_length(self.ids), *(len(row) - 1 for row in self.ids))


def image_groups(
    encoder: PromptEncoder, prompts: Sequence[Prompt], images: Callable[[int], Sequence[Image.Image]]
) -> list[ImageGroup] | None:
    """Groups of prompts in the order of their first members; None if they cannot lie in rows together.

    Args:
        images: the decoded images of the prompt at a place; asked for once a group.
    """
    groups: dict[object, ImageGroup] = {}
    for place, prompt in enumerate(prompts):
        key = group_of(prompt)
        known = groups.get(key)
        if known is None:
            front = read_front(encoder, prompt, images(place))
            groups[key] = ImageGroup(front, [place], [front.ids])
            continue
        ids = ids_like(encoder, known.front, prompt)
        if ids is None or ids[: known.front.head] != known.front.ids[: known.front.head]:
            return None  # text before the image that the others do not have
        known.members.append(place)
        known.ids.append(ids)
    listed = list(groups.values())
    return listed if all(group.front.head <= group.common for group in listed) else None


def image_inputs(groups: Sequence[ImageGroup]) -> dict[str, Tensor] | None:
    """Pixels and what belongs to them, a row a group; None if a family has inputs for each token, or forms differ."""
    fronts = [group.front for group in groups]
    tensors = [{name: v for name, v in front.inputs.items() if isinstance(v, Tensor)} for front in fronts]
    forms = {tuple((name, value.shape[1:]) for name, value in inputs.items()) for inputs in tensors}
    per_token = any(
        value.shape == (1, len(front.ids)) and not value.is_floating_point()
        for front, inputs in zip(fronts, tensors, strict=True)
        for value in inputs.values()
    )
    if len(forms) != 1 or per_token:
        return None
    return {name: torch.cat([inputs[name] for inputs in tensors]) for name in tensors[0]}
