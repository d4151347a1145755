"""Asking otherwise: blind baselines, in which a model does not see the image, and a changed prompt.

    image  none     the question alone
           swapped  the image of another item, every item the next one's in a fixed shuffled order
           noise    one of a few pictures of uniform noise
    prompt careful  the question with a request to mention only what is sure

Such a run is an ordinary one: what was asked stands in its manifest and in its signature, so that `compare` refuses it
beside others unless it is told that this is what is compared: --allow image_ablation,images, or --allow
prompt_baseline,prompts.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from evalkit.errors import UsageError
from evalkit.files.atomic import replaced
from evalkit.files.cache import cache_folder
from evalkit.images import ImageFile
from evalkit.schema import Json, Prompt

ImageAblation = Literal["none", "swapped", "noise"]
PROMPTS = {"careful": "Mention only what you are sure of."}
NOISE_IMAGES, NOISE_SIZE = 16, 336  # pictures in all; pixels of a side, CLIP's


@dataclass(frozen=True, slots=True)
class Asked:
    """How a run asks otherwise; None is the benchmark's own way."""

    image: ImageAblation | None = None
    prompt: str | None = None

    def __post_init__(self) -> None:
        if self.prompt is not None and self.prompt not in PROMPTS:
            raise UsageError(f"unknown prompt baseline {self.prompt!r}; known: {', '.join(PROMPTS)}")
        if self.image not in (None, "none", "swapped", "noise"):
            raise UsageError(f"unknown image ablation {self.image!r}; known: none, swapped, noise")

    def manifest(self) -> dict[str, Json]:
        """Fields of the manifest; empty for the benchmark's own way."""
        fields = {"image_ablation": self.image, "prompt_baseline": self.prompt}
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def suffix(self) -> str:
        """What tells such a run from the ordinary one of the same model: "-image-none-careful"."""
        return (f"-image-{self.image}" if self.image else "") + (f"-{self.prompt}" if self.prompt else "")


def asked_otherwise(prompts: Sequence[Prompt], asked: Asked) -> tuple[Prompt, ...]:
    """The prompts as they are put.

    Raises:
        UsageError: if there are no two images to swap.
    """
    if asked.prompt is not None:
        prompts = [replace(prompt, text=f"{prompt.text} {PROMPTS[asked.prompt]}".strip()) for prompt in prompts]
    if asked.image == "none":
        return tuple(replace(prompt, images=()) for prompt in prompts)
    if asked.image is None:
        return tuple(prompts)
    names = sorted({(image.name, image.folder) for prompt in prompts for image in prompt.images})
    files = [ImageFile(folder, name) for name, folder in names]
    others = _next(files) if asked.image == "swapped" else _noise(files)
    other = dict(zip(files, others, strict=True))
    return tuple(replace(prompt, images=tuple(other[image] for image in prompt.images)) for prompt in prompts)


def _next(files: Sequence[ImageFile]) -> list[ImageFile]:
    """For every image the one behind it in a shuffled circle: each is shown once, none in its own place."""
    if len(files) < 2:
        raise UsageError(f"--image-ablation swapped needs at least two images, found {len(files)}")
    order = list(range(len(files)))
    random.Random(0).shuffle(order)
    behind = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [files[behind[index]] for index in range(len(files))]


def _noise(files: Sequence[ImageFile]) -> list[ImageFile]:
    """Pictures of uniform noise in turn; they are drawn once per machine."""
    folder = cache_folder() / "noise"
    count = min(NOISE_IMAGES, len(files))
    for index in range(count):
        _draw(folder / f"noise{index}.png", index)
    return [ImageFile(folder, f"noise{index % NOISE_IMAGES}.png") for index in range(len(files))]


def _draw(path: Path, seed: int) -> None:
    if path.exists():
        return
    pixels = np.random.default_rng(seed).integers(0, 256, (NOISE_SIZE, NOISE_SIZE, 3), dtype=np.uint8)
    with replaced(path, shared=True) as beside:
        Image.fromarray(pixels).save(beside, "PNG")
