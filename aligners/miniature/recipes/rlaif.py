"""Online feedback on the miniature base: the policy's own yes/no answers are the labels, nobody tells it the truth.

The oracle of the world only measures the labels (`pair_precision` in iterations.jsonl).
"""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from aligners.miniature.recipes.claims import Oracle, lexicon_splitter
from aligners.presets import RLAIFV
from aligners.rlaif import RlaifResult, align_rlaif
from aligners.settings import RlaifSettings
from evalkit.engines.base import Engine
from evalkit.engines.transformers import TransformersEngine
from evalkit.miniature.drawing import render
from evalkit.miniature.questions import DESCRIBE_PROMPTS
from evalkit.miniature.scenes import Scene, scenes_of
from evalkit.process.progress import Progress
from evalkit.runs.records import write_jsonl

# Chosen on base 0, on scenes of the validation split; a million parameters need a larger step than 7e9.
RECIPE = replace(
    RLAIFV,
    name="rlaif-miniature",
    iterations=4,
    prompts_per_round=250,
    candidates=8,
    temperature=0.9,
    max_new_tokens=96,
    pairs_per_image=8,
    confirmed_weight=1.0,
    repeated_weight=1.5,  # without it the policy learns to end on something it has said before
    soft_labels=True,
    min_gap=0.9,  # leaving out a false claim makes a pair, and so does leaving out a true one: only the image tells
    balance_lengths=False,
    learning_rate=2e-4,
    lora_learning_rate=4e-3,
    batch_size=32,
    epochs=1,
    nll_weight=1.5,
    max_length=512,
)
_BATCH = 256  # sequences decoded at once


def align_miniature_rlaif(
    base: Path,
    out: Path,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    recipe: RlaifSettings = RECIPE,
    **options: Any,
) -> RlaifResult:
    """Align the miniature base with its own feedback; the same call continues or returns what is finished.

    Args:
        base: of `aligners.miniature.base.cached_base`.
        out: folder of the run and of the new checkpoint; its scenes are drawn below out/scenes.
        seed: of scenes, sampling and training.
        progress: called with (stage, done, total).
        recipe: `RECIPE` or another.
        options: more for `align_rlaif`.
    """
    prompts, scenes = write_scenes(Path(out) / "scenes", recipe.prompts_per_round * recipe.iterations, seed)
    return align_rlaif(
        base,
        prompts,
        out,
        recipe,
        {"lora": False},
        splitter=lexicon_splitter(),
        wording="{question}",  # the base was never told how to answer
        seed=seed,
        open_engine=_open,
        oracle=Oracle(scenes),
        progress=progress,
        **options,
    )


def single_pass(recipe: RlaifSettings) -> RlaifSettings:
    """The same number of prompts in one iteration, so as many steps: all feedback is on the base's responses."""
    return replace(
        recipe,
        name=f"{recipe.name}-single",
        iterations=1,
        prompts_per_round=recipe.prompts_per_round * recipe.iterations,
    )


def write_scenes(folder: Path, count: int, seed: int) -> tuple[Path, dict[str, Scene]]:
    """Draw training scenes with a prompt each; returns the prompts file and image name -> scene."""
    scenes = list(islice(scenes_of("train", Random(f"rlaif:{seed}").getrandbits(32)), count))
    names = [f"images/{index:05}.png" for index in range(count)]
    prompts = folder / "prompts.jsonl"
    if not prompts.is_file():
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for name, scene in zip(names, scenes, strict=True):
            render(scene).save(folder / name, compress_level=1)
        rows = [
            {"id": f"{index:05}", "image": name, "prompt": DESCRIBE_PROMPTS[index % len(DESCRIBE_PROMPTS)]}
            for index, name in enumerate(names)
        ]
        write_jsonl(prompts, iter(rows))
    return prompts, dict(zip(names, scenes, strict=True))


def _open(checkpoint: Path | str) -> Engine:
    return TransformersEngine(checkpoint, dtype="float32", batch_size=_BATCH)
