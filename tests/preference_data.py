"""A handful of preference pairs with images, for tests of training."""

from pathlib import Path

import numpy as np
from PIL import Image

from aligners.preference.pairs import Pair

TEXTS = (
    ("Describe the image.", "There is a dog in the park.", "There is a dog in the park. There is a car."),
    ("What is there?", "The image shows a kitchen with a cup.", "The image shows a kitchen with two chairs."),
    ("Is there a car in the image?", "No, there is no car.", "Yes, there is a car."),
    ("Describe the image.", "There is a dining table and a cup.", "There is a dining table, two chairs and a cup."),
)


def write_images(folder: Path, count: int = 3) -> None:
    """Noise of several sizes."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(random.integers(0, 256, (40 + 20 * i, 60, 3), dtype=np.uint8)).save(folder / f"{i}.png")


def make_pairs(folder: Path, count: int = 8) -> list[Pair]:
    """Pairs whose images lie in `folder`."""
    write_images(folder)
    return [
        Pair(str(i), f"{i % 3}.png", *TEXTS[i % len(TEXTS)], {"round": i // len(TEXTS)}, folder) for i in range(count)
    ]
