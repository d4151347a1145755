"""A run of the miniature base that a test can kill: questions about images, several about each.

python -m tests.endurance.sharing_run CHECKPOINT IMAGES RUN BATCH on|off
"""

import sys
from pathlib import Path

from evalkit.benchmark import Benchmark
from evalkit.engines.transformers import TransformersEngine
from evalkit.harness.stages import evaluate
from evalkit.images import ImageFile
from evalkit.metrics import Metric
from evalkit.sampling import Sampling
from evalkit.schema import Item, Prompt, Score

OBJECTS = ("dog", "cat", "cup", "car", "bench", "apple")


class Questions(Benchmark):
    """Asks of every image what is in it, and describes it; a yes counts."""

    name = "questions"
    metrics = (Metric("yes", "100 * yes / questions", None),)
    sampling = Sampling(max_new_tokens=12)

    def __init__(self, images: Path) -> None:
        self.images = images

    def items(self) -> list[Item]:
        texts = [f"Is there a {name} in the image?" for name in OBJECTS] + ["Please describe this image in detail."]
        return [
            Item(f"{file.stem}-{number}", text, ImageFile(self.images, file.name), cluster=file.stem)
            for file in sorted(self.images.iterdir())
            for number, text in enumerate(texts)
        ]

    def prompt(self, item: Item) -> Prompt:
        return Prompt(item.id, item.question, (item.image,) if item.image else ())

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        return Score({"questions": 1, "yes": int(response.lower().startswith("yes"))})


def main(checkpoint: str, images: str, run: str, batch: str, share: str) -> None:
    """Run to the end."""
    engine = TransformersEngine(Path(checkpoint), dtype="float32", batch_size=int(batch))
    engine.share_prefixes = share == "on"
    evaluate(Questions(Path(images)), engine, Path(run), label="base")


if __name__ == "__main__":
    main(*sys.argv[1:])
