"""A benchmark of nothing but captions: one question about every image of a folder; counts words, scores nothing."""

from pathlib import Path

from PIL import Image

from evalkit.images import ImageFile
from evalkit.metrics import Metric
from evalkit.sampling import Sampling
from evalkit.schema import Item, Prompt, Score
from tests.speed.peers.lmms_task import stamp

QUESTION = "Describe the image."


class StampedImage(ImageFile):
    """Notes when it is opened, as lmms-eval's task does."""

    def open(self) -> Image.Image:
        """Decode to RGB."""
        stamp("image")
        return ImageFile.open(self)


class Captions:
    """The benchmark; `images` is a folder of 0.png, 1.png, ..."""

    name = "captions"
    metrics = (Metric("length", "words / responses", higher_is_better=None, unit="words", role="length"),)
    sampling = Sampling(max_new_tokens=32)

    def __init__(self, images: Path) -> None:
        self.images = images

    def items(self) -> list[Item]:
        """One per image, in the order of their numbers."""
        names = sorted((path.stem for path in self.images.glob("*.png")), key=int)
        return [Item(name, QUESTION, StampedImage(self.images, f"{name}.png")) for name in names]

    def prompt(self, item: Item) -> Prompt:
        """The question, with the image."""
        return Prompt(item.id, item.question, (item.image,) if item.image else ())

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Its words."""
        stamp("score")
        return Score({"words": len(response.split()), "responses": 1})

    def settings(self) -> dict[str, str]:
        """Nothing to set."""
        return {}
