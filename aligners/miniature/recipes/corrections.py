"""Corrected responses in the miniature world: the base describes scenes, an oracle that knows the scenes corrects it.

As in RLHF-V (arXiv:2312.00849): rejected = the model's own response, chosen = the same response with its hallucinated
parts corrected; responses without an error make no such pair. Deletions are most of the corrections here, and a model
that only ever sees the shorter text win learns to say little (down to nothing). So most of the pairs are *omission*
pairs: chosen = a corrected response, rejected = the same without one true mention, of an expected noun where there is
one. Both kinds then differ in the same nouns, and only the image tells whether such a mention is to go or to stay.
Counts are left as they were said: the base nearly always says "one", and repairing that teaches it to say "two".
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from aligners.preference.pairs import Pair, read_pairs, write_pairs
from evalkit.engines.base import Engine
from evalkit.errors import DataError, TrainingError
from evalkit.images import ImageFile
from evalkit.miniature.captions import correct, leave_out, omissible
from evalkit.miniature.drawing import render
from evalkit.miniature.lexicon import expected_nouns
from evalkit.miniature.questions import DESCRIBE_PROMPTS
from evalkit.miniature.scenes import Scene, scenes_of
from evalkit.process.progress import Progress
from evalkit.sampling import Sampling
from evalkit.schema import Prompt

PAIRS, IMAGES, RECIPE = "pairs.jsonl", "images", "recipe.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectionRecipe:
    """How many responses of which kind become how many pairs.

    scenes          training scenes that the base describes
    temperatures    one response per scene and temperature (0: greedy)
    max_pairs       pairs in all; RLHF-V had 1.4k
    omission_share  share of them that are omission pairs
    neighbours      whether wrong neighbours are corrected, where a base states any
    """

    scenes: int = 1200
    temperatures: tuple[float, ...] = (0.0, 0.7)
    max_pairs: int = 1400
    omission_share: float = 0.57
    max_new_tokens: int = 96
    neighbours: bool = True


def build_corrections(
    engine: Engine, folder: Path, seed: int, recipe: CorrectionRecipe | None = None, progress: Progress | None = None
) -> list[Pair]:
    """Pairs of a seed, written to `folder` with their images; read back if they are there already.

    Args:
        engine: the base.
        folder: gets pairs.jsonl, images/ and recipe.json; image paths of the pairs are relative to it.
        seed: of scenes, sampling and choice.
        recipe: other numbers than the defaults.
        progress: called with ("corrections", responses done, responses in all).
    Raises:
        TrainingError: if the base makes no error that could be corrected.
        DataError: if the folder holds pairs of another recipe or base.
    """
    recipe = recipe or CorrectionRecipe()
    identity = json.loads(json.dumps({**asdict(recipe), "seed": seed, "base": engine.describe()["content"]}))
    if (folder / PAIRS).is_file():
        if json.loads((folder / RECIPE).read_text(encoding="utf-8")) != identity:
            raise DataError(f"{folder} holds pairs of another recipe, seed or base; use another folder")
        return list(read_pairs(folder / PAIRS))
    scenes = list(islice(scenes_of("train", seed), recipe.scenes))
    pairs = choose_pairs(scenes, describe(engine, scenes, folder, seed, recipe, progress), seed, recipe)
    (folder / RECIPE).write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")
    write_pairs(folder / PAIRS, pairs)
    return list(read_pairs(folder / PAIRS))


@dataclass(frozen=True, slots=True)
class Described:
    """A response of the base to one prompt about a scene (by index)."""

    scene: int
    prompt: str
    text: str
    temperature: float


def describe(
    engine: Engine,
    scenes: Sequence[Scene],
    folder: Path,
    seed: int,
    recipe: CorrectionRecipe,
    progress: Progress | None = None,
) -> list[Described]:
    """Draw the scenes and let the base describe each at every temperature; failed generations are left out."""
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    prompts = []
    for index, scene in enumerate(scenes):
        render(scene).save(folder / IMAGES / image_name(index), compress_level=1)
        text = DESCRIBE_PROMPTS[index % len(DESCRIBE_PROMPTS)]
        prompts.append(Prompt(str(index), text, (ImageFile(folder / IMAGES, image_name(index)),)))
    described: list[Described] = []
    total = len(prompts) * len(recipe.temperatures)
    for temperature in recipe.temperatures:
        sampling = Sampling(temperature=temperature, max_new_tokens=recipe.max_new_tokens, seed=seed)
        for response in engine.generate(prompts, sampling):
            if response.text is not None:
                index = int(response.prompt_id)
                described.append(Described(index, prompts[index].text, response.text, temperature))
            if progress:
                progress("corrections", len(described), total)
    return sorted(described, key=lambda one: (one.scene, one.temperature))


def choose_pairs(
    scenes: Sequence[Scene], responses: Sequence[Described], seed: int, recipe: CorrectionRecipe
) -> list[Pair]:
    """Corrections and omissions in the recipe's proportion, at most `max_pairs`.

    Raises:
        TrainingError: if no response has an error.
    """
    rng = Random(f"corrections:{seed}")
    corrections = list(_corrections(scenes, responses, recipe.neighbours))
    if not corrections:
        raise TrainingError(f"none of {len(responses)} responses has an error to correct")
    omissions = list(_omissions(scenes, responses, rng, recipe.neighbours))
    n_omissions = min(len(omissions), round(recipe.omission_share * recipe.max_pairs))
    n_corrections = min(len(corrections), recipe.max_pairs - n_omissions)
    if n_corrections < recipe.max_pairs - n_omissions and recipe.omission_share < 1:  # few errors: keep the proportion
        n_omissions = min(n_omissions, round(n_corrections * recipe.omission_share / (1 - recipe.omission_share)))
    pairs = rng.sample(corrections, n_corrections) + rng.sample(omissions, n_omissions)
    rng.shuffle(pairs)
    return pairs


def _corrections(scenes: Sequence[Scene], responses: Sequence[Described], neighbours: bool) -> Iterator[Pair]:
    for one in responses:
        corrected = correct(one.text, scenes[one.scene], counts=False, neighbours=neighbours)
        if corrected != one.text and one.text.strip():
            yield _pair("correction", one, corrected, one.text)


def _omissions(
    scenes: Sequence[Scene], responses: Sequence[Described], rng: Random, neighbours: bool
) -> Iterator[Pair]:
    """Every corrected response with a second mention, once a scene; the first sentence is never emptied."""
    seen: set[int] = set()
    for one in responses:
        scene = scenes[one.scene]
        corrected = correct(one.text, scene, counts=False, neighbours=neighbours)
        nouns = omissible(corrected)
        if nouns and one.scene not in seen:
            seen.add(one.scene)
            expected = [noun for noun in nouns if noun in expected_nouns(scene.place)]
            yield _pair("omission", one, corrected, leave_out(corrected, rng.choice(expected or nouns)))


def _pair(kind: str, one: Described, chosen: str, rejected: str) -> Pair:
    meta: dict[str, Any] = {"kind": kind, "temperature": one.temperature}
    name = f"{IMAGES}/{image_name(one.scene)}"
    return Pair(f"{kind}-{one.scene}-{one.temperature:g}", name, one.prompt, chosen, rejected, meta)


def image_name(index: int) -> str:
    """File name of a scene."""
    return f"{index:05}.png"
