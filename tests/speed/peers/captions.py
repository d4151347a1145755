"""A benchmark that asks every image of a folder for a caption, or as POPE does; counts words, scores nothing."""

from pathlib import Path

from PIL import Image

from evalkit.images import ImageFile
from evalkit.metrics import Metric
from evalkit.sampling import Sampling
from evalkit.schema import Item, Prompt, Score
from tests.speed.peers.lmms_task import stamp

# what is asked about every image; POPE's questions are six yes/no questions of the same form
QUESTIONS = {
    "captions": ("Describe the image.",),
    "pope": tuple(f"Is there a {noun} in the image?" for noun in ("dog", "car", "chair", "person", "bowl", "train")),
}


class StampedImage(ImageFile):
    """Notes when it is opened, as lmms-eval's task does."""

    def open(self) -> Image.Image:
        """Decode to RGB."""
        stamp("image")
        return ImageFile.open(self)


class Captions:
    """The benchmark; `images` is a folder of 0.png, 1.png, ..., `asked` a key of `QUESTIONS`."""

    name = "captions"
    metrics = (Metric("length", "words / responses", higher_is_better=None, unit="words", role="length"),)
    sampling = Sampling(max_new_tokens=32)

    def __init__(self, images: Path, asked: str = "captions") -> None:
        self.images, self.asked = images, asked

    def items(self) -> list[Item]:
        """In the order of the images' numbers, all questions about one after the other, numbered from 0."""
        questions = QUESTIONS[self.asked]
        names = sorted((path.name for path in self.images.glob("*.png")), key=lambda name: int(Path(name).stem))
        asked = [(name, question) for name in names for question in questions]
        return [
            Item(str(number), question, StampedImage(self.images, name))
            for number, (name, question) in enumerate(asked)
        ]

    def prompt(self, item: Item) -> Prompt:
        """The question, with the image."""
        return Prompt(item.id, item.question, (item.image,) if item.image else ())

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Its words."""
        stamp("score")
        return Score({"words": len(response.split()), "responses": 1})

    def settings(self) -> dict[str, str]:
        """What is asked."""
        return {"asked": self.asked}
