"""Do facts help a reward model that sees badly? The claim of fact-augmented RLHF, tried in the miniature world.

LLaVA-RLHF (Sun et al. 2023, arXiv:2309.14525) shows its reward model true sentences about the image. Here it compares a
description of the image with one of another scene of the same place with as many kinds of things. Both are good
descriptions: nothing in the text says which is right, so the reward model has to see the image or to read the facts.
Comparisons of a base's own samples show less of this: which nouns a place suggests is in the text.
Facts were part of the base's training, see `lessons.facts_lesson`.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image, ImageFilter

from aligners.fact_rlhf.files import read_comparisons
from aligners.fact_rlhf.settings import fact_rlhf_settings, reward_model_settings
from aligners.miniature.recipes.rlhf import SETTINGS, conversation, facts_before_question, write_files
from aligners.reward_model.facts import load_facts
from aligners.reward_model.fit import train_reward_model
from evalkit.images import ImageFile
from evalkit.miniature.captions import phrase, true_caption
from evalkit.miniature.drawing import render
from evalkit.miniature.questions import DESCRIBE_PROMPTS
from evalkit.miniature.scenes import Scene, scenes_of
from evalkit.process.progress import Progress
from evalkit.statistics.intervals import Interval

SCENES = 2400
HELD_OUT = 400
_BLUR = 24  # pixels, about a third of an icon: the colours of a cell remain, its shape does not


@dataclass(frozen=True, slots=True)
class FactsExperiment:
    """Held-out accuracy of one reward model, percent with interval; `no_facts`: the same model, facts taken away."""

    accuracy: Interval
    no_facts: Interval | None
    pairs: int
    held_out: int


def reward_model_accuracy(
    base: Path,
    seed: int,
    facts: bool,
    degraded: bool,
    progress: Progress | None = None,
    data: Path | None = None,
    n_scenes: int = SCENES,
) -> FactsExperiment:
    """Train a reward model with or without facts, on clear or blurred images, and measure it on held-out scenes.

    The four runs of a seed see the same comparisons.

    Args:
        base: of `aligners.miniature.base`.
        seed: of scenes and training.
        facts: whether the reward model reads them.
        degraded: blur what the reward model sees until icons cannot be told apart.
        progress: called with (stage, done, total).
        data: folder that keeps images and comparisons between the four runs.
        n_scenes: scenes to describe, about one comparison each.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = data or Path(temporary) / "data"
        if not (folder / "facts.json").is_file():
            write_descriptions(folder, seed, n_scenes)
        trained = train_reward_model(
            base,
            read_comparisons(folder / "comparisons.json", folder / "images"),
            Path(temporary) / "reward",
            reward_model_settings(
                fact_rlhf_settings("fact-rlhf-masked", **SETTINGS | {"seed": seed, "held_out": HELD_OUT})
            ),
            facts=load_facts(folder / "facts.json") if facts else None,
            style=facts_before_question,
            open_image=blurred if degraded else ImageFile.open,
            progress=progress,
        )
    return FactsExperiment(trained.accuracy, trained.accuracy_no_facts, trained.pairs, trained.held_out)


def write_descriptions(folder: Path, seed: int, n_scenes: int) -> None:
    """Draw scenes, describe each twice (rightly, and as another scene), write images/, comparisons.json, facts.json."""
    scenes = list(islice(scenes_of("train", 9_000_000 + seed), n_scenes))
    names = [f"scene_{number:06d}.png" for number in range(len(scenes))]
    rng = Random(f"facts:{seed}")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name, scene in zip(names, scenes, strict=True):
        render(scene).save(folder / "images" / name, compress_level=1)
        others = alike(scene, scenes)
        if not others:
            continue
        outputs = [true_caption(scene, rng), true_caption(rng.choice(others), rng)]
        flipped = rng.random() < 0.5  # the right one comes first as often as second
        first, second = reversed(outputs) if flipped else outputs
        row = conversation(name, name, rng.choice(DESCRIBE_PROMPTS))
        row |= {"output_1": {"from": "gpt", "value": first}, "output_2": {"from": "gpt", "value": second}}
        rows.append(row | {"preference": 2 if flipped else 1})
    facts = {name: [phrase(group) for group in scene.groups] for name, scene in zip(names, scenes, strict=True)}
    write_files(folder, {"comparisons": rows, "facts": facts})


def alike(scene: Scene, scenes: Sequence[Scene]) -> list[Scene]:
    """Scenes of the same place with as many kinds of things, but not the same ones."""
    return [
        other
        for other in scenes
        if other.place == scene.place and len(other.nouns) == len(scene.nouns) and other.nouns != scene.nouns
    ]


def blurred(file: ImageFile) -> Image.Image:
    """The degraded view of an image."""
    return file.open().filter(ImageFilter.GaussianBlur(_BLUR))
