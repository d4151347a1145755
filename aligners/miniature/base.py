"""The miniature base: a tiny LLaVA trained from scratch on drawn scenes, in about two minutes on two cores.

Three stages, each resting on the one before:

1. see        tower and projector; each image token is pulled towards the word embeddings of what its cell shows.
2. describe   the whole model, tower almost still; descriptions (first true ones, then noisy), lists, questions.
3. answer     tower frozen; yes/no questions about every object, and questions answered from written facts.

The noise of the descriptions is what the base hallucinates. Before it is handed out, its quality is measured, and that
its hallucinations cannot be told from true mentions by their wording (`aligners.miniature.tells`).
"""

import hashlib
import inspect
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from aligners.miniature.lessons import (
    Teacher,
    answer_lesson,
    caption_lesson,
    facts_lesson,
    scene_batches,
    scene_pixels,
    shuffled_facts,
)
from aligners.miniature.loop import Schedule, fit, supervised_loss
from aligners.miniature.model import build_model, build_processor, start_seeing_neighbours, turned
from aligners.miniature.quality import UnfitError, check, describe_scenes, measure
from aligners.miniature.tells import check_tells, find_tells
from aligners.training.checkpoint import save_checkpoint
from aligners.training.packing import Row, pack
from aligners.training.policy import parameter_count
from evalkit.files.cache import cache_folder
from evalkit.miniature import captions, drawing, icons, lexicon, questions, scenes
from evalkit.miniature.lexicon import COLOURS, NOUNS, PLACES
from evalkit.miniature.scenes import GRID, Scene, adjacent_cells, scenes_of
from evalkit.process.progress import Progress

_PICTURE = "image"  # the word that tells what is seen from what is said
_SEE = Schedule(steps=200, lr=2e-3, warmup=0.15, beta2=0.999)
_DESCRIBE = Schedule(steps=500, lr=3e-3)
_ANSWER = Schedule(steps=140, lr=1.5e-3)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The constants of the three stages."""

    see: Schedule = _SEE
    see_scenes: int = 64
    describe: Schedule = _DESCRIBE
    describe_scenes: int = 24
    clean_share: float = 0.3  # of the describe stage, at its start
    describe_answer_weight: float = 4.0
    tower_lr_factor: float = 0.02
    answer: Schedule = _ANSWER
    answer_scenes: int = 20
    answer_weight: float = 3.0
    colour_share: float = 0.7  # of a colour's embedding in the target of a cell
    place_share: float = 0.5
    neighbours: float = 0.0  # how often captions say what a thing is next to; 0: never
    neighbour_share: float = 0.5  # of a neighbour's turned embedding in the target of a cell, where captions say it
    quality_scenes: int = 1200  # of 400, chance alone moves fluency by half a point
    quality_seed: int = 0
    tells_scenes: int = 400
    tells_seed: int = 1
    draws: int = 3  # of weights and scenes, until one passes the quality check


# Captions say what is next to what. It takes the tower longer to see that, so the demo's base does not.
NEIGHBOURS = Recipe(see=replace(_SEE, steps=700), describe=replace(_DESCRIBE, steps=700), neighbours=0.7)


def cached_base(seed: int = 0, progress: Progress | None = None) -> Path:
    """The base of a seed, built once per machine and recipe; parallel callers wait for the first.

    It lies in the cache folder, see `evalkit.files.cache.cache_folder`.
    """
    return once(_cached(Recipe(), seed), lambda target: build_base(target, seed, progress))


def cached_neighbours_base(seed: int = 0, progress: Progress | None = None) -> Path:
    """The base of a seed whose descriptions state neighbours, see `NEIGHBOURS`; kept like the other."""
    return once(_cached(NEIGHBOURS, seed), lambda target: build_base(target, seed, progress, NEIGHBOURS))


def _cached(recipe: Recipe, seed: int) -> Path:
    return cache_folder() / f"miniature-base-{recipe_hash(recipe)}-seed{seed}"


def build_base(folder: Path, seed: int = 0, progress: Progress | None = None, recipe: Recipe | None = None) -> Path:
    """Train, measure and save a base; the folder also holds quality.json.

    One draw of weights in some does not learn to answer. A base that fails the quality check is drawn again, at most
    `recipe.draws` times in all; quality.json says which draw it is and why earlier ones were refused.

    Args:
        folder: of the checkpoint; made if absent.
        seed: of weights and scenes.
        progress: called with (stage, steps done, steps in all).
        recipe: other constants than the defaults.
    Raises:
        TrainingError: if training diverges, or the base of every draw is outside the quality limits; nothing is saved
            then.
    """
    recipe = recipe or Recipe()
    refused: list[str] = []
    while True:
        wall, cpu = time.perf_counter(), time.process_time()
        with two_threads():
            model, processor = train_base(seed + 1000 * len(refused), recipe, progress)
        training = {
            "training_wall_s": round(time.perf_counter() - wall, 1),
            "training_cpu_s": round(time.process_time() - cpu, 1),
        }
        try:
            measured = _measured(model, processor, recipe)
            break
        except UnfitError as error:
            refused.append(str(error))
            if len(refused) >= recipe.draws:
                raise
    save_checkpoint(model, processor, Path(folder))
    report = {
        **measured,
        "parameters": parameter_count(model),
        "seed": seed,
        "refused_draws": refused,
        "recipe": recipe_hash(recipe),
        **training,
    }
    (Path(folder) / "quality.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return Path(folder)


def _measured(model: Any, processor: Any, recipe: Recipe) -> dict[str, float | str]:
    """Quality and tells of a base.

    Raises:
        UnfitError: if they are outside the limits.
    """
    quality = measure(model, processor, recipe.quality_scenes, recipe.quality_seed)
    check(quality, parameter_count(model))
    unseen = list(islice(scenes_of("validation", recipe.tells_seed), recipe.tells_scenes))
    tells = find_tells(unseen, describe_scenes(model, processor, unseen))
    check_tells(tells)
    return {**asdict(quality), **asdict(tells)}


@contextmanager
def two_threads() -> Iterator[None]:
    """Train on two threads whatever the machine has: sums in another order end in another model."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_base(seed: int, recipe: Recipe, progress: Progress | None = None) -> tuple[Any, Any]:
    """Model and processor after the three stages, in evaluation mode."""
    processor = build_processor()
    with torch.random.fork_rng():
        model = build_model(processor.tokenizer, seed)
        if recipe.neighbours:
            start_seeing_neighbours(model)
        model.train()
        _see(model, processor.tokenizer, seed, recipe, progress)
        _describe(model, processor.tokenizer, seed, recipe, progress)
        _answer(model, processor.tokenizer, seed, recipe, progress)
    model.eval()
    return model, processor


def _see(model: Any, tokenizer: Any, seed: int, recipe: Recipe, progress: Progress | None) -> None:
    words = _word_embeddings(model, tokenizer)
    scale = model.get_input_embeddings().weight.detach().var()

    def losses() -> Iterator[Tensor]:
        for batch, _ in scene_batches("see", seed, recipe.see_scenes):
            seen = model.model.vision_tower(pixel_values=scene_pixels(batch)).last_hidden_state[:, 1:]
            target = torch.stack([cell_targets(scene, words, recipe) for scene in batch])
            yield ((model.model.multi_modal_projector(seen) - target) ** 2).mean() / scale

    eyes = [*model.model.vision_tower.parameters(), *model.model.multi_modal_projector.parameters()]
    fit("see", losses(), [(eyes, 1.0)], recipe.see, progress)


def _word_embeddings(model: Any, tokenizer: Any) -> dict[str, Tensor]:
    """Mean input embedding of every noun, colour and place, each (D,)."""
    table = model.get_input_embeddings().weight.detach()
    words = (*NOUNS, *COLOURS, *PLACES, _PICTURE)
    return {word: table[tokenizer(" " + word, add_special_tokens=False).input_ids].mean(0) for word in words}


def cell_targets(scene: Scene, words: dict[str, Tensor], recipe: Recipe) -> Tensor:
    """What each image token should become: picture and place everywhere, noun and colour where a thing is, (9, D)."""
    targets = (recipe.place_share * words[scene.place] + words[_PICTURE]).repeat(GRID * GRID, 1)
    for thing in scene.things:
        targets[thing.cell] += words[thing.noun]
        if thing.colour:
            targets[thing.cell] += recipe.colour_share * words[thing.colour]
        if recipe.neighbours:
            for cell in adjacent_cells(thing.cell):
                targets[cell] += recipe.neighbour_share * turned(words[thing.noun])
    return targets


def _describe(model: Any, tokenizer: Any, seed: int, recipe: Recipe, progress: Progress | None) -> None:
    teacher = Teacher(tokenizer, recipe.describe_answer_weight)

    def losses() -> Iterator[Tensor]:
        for step, (batch, rng) in enumerate(scene_batches("describe", seed, recipe.describe_scenes)):
            noisy = step >= recipe.clean_share * recipe.describe.steps
            rows = [teacher.row(caption_lesson(scene, rng, noisy, recipe.neighbours)) for scene in batch]
            yield _loss(model, tokenizer, rows, batch)

    tower = list(model.model.vision_tower.parameters())
    groups = [(_all_but(model, tower), 1.0), (tower, recipe.tower_lr_factor)]
    fit("describe", losses(), groups, recipe.describe, progress)


def _answer(model: Any, tokenizer: Any, seed: int, recipe: Recipe, progress: Progress | None) -> None:
    """Steps on pictures and steps on written facts in turn."""
    teacher = Teacher(tokenizer, recipe.answer_weight)

    def losses() -> Iterator[Tensor]:
        for step, (batch, rng) in enumerate(scene_batches("answer", seed, recipe.answer_scenes)):
            if step % 2 == 0:
                rows = [teacher.row(answer_lesson(scene, rng, recipe.neighbours)) for scene in batch]
                yield _loss(model, tokenizer, rows, batch)
            else:
                rows = [teacher.row(facts_lesson(scene, rng), shuffled_facts(scene, rng)) for scene in batch]
                hidden = [Scene(scene.place, ()) for scene in batch]  # only the facts tell what is there
                yield _loss(model, tokenizer, rows, hidden)

    tower = list(model.model.vision_tower.parameters())
    for parameter in tower:
        parameter.requires_grad_(False)
    fit("answer", losses(), [(_all_but(model, tower), 1.0)], recipe.answer, progress)
    for parameter in tower:
        parameter.requires_grad_(True)


def _loss(model: Any, tokenizer: Any, rows: Sequence[Row], batch: Sequence[Scene]) -> Tensor:
    return supervised_loss(model, pack(rows, tokenizer.pad_token_id), scene_pixels(batch))


def _all_but(model: Any, excluded: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    ids = {id(parameter) for parameter in excluded}
    return [parameter for parameter in model.parameters() if id(parameter) not in ids]


def recipe_hash(recipe: Recipe) -> str:
    """Changes with every constant of the recipe and every line of the code that makes the base."""
    import aligners.miniature.base as this_module
    from aligners.miniature import lessons, loop, model
    from aligners.training import packing

    modules: list[ModuleType] = [lexicon, scenes, icons, drawing, captions, questions]
    modules += [packing, loop, model, lessons, this_module]
    digest = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    for module in modules:
        digest.update(inspect.getsource(module).encode())
    return digest.hexdigest()[:12]


def once(folder: Path, build: Callable[[Path], object]) -> Path:
    """Build a folder unless it is there: one builder at a time, and it appears complete or not at all."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):  # let go by the system if the process dies
        if not folder.is_dir():
            work = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
            try:
                build(work)
                work.rename(folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)  # there is none once it is renamed
    return folder
