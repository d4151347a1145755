"""`evalkit demo`: the whole loop on a miniature world, without any download beyond the packages.

world -> tiny LLaVA (trained here, and it hallucinates) -> five benchmarks of hallucination, three of ability
      -> dense DPO, online RLAIF, fact-augmented RLHF -> the same benchmarks -> one comparison
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from aligners.compare import comparison_tables, render_all
from benchmarks.cli.registry import build
from evalkit.files.cache import cache_folder
from evalkit.harness.judge import Judge
from evalkit.harness.results import Summary
from evalkit.harness.stages import generate, plan, score
from evalkit.process.progress import Progress

ABILITY = ("llava_bench", "refomb", "hallusionbench")
TASKS = ("chair", "object_halbench", "mmhal", "amber", "pope", *ABILITY)
OPTIONS = {"pope": {"splits": "adversarial"}}  # the hardest third of the questions: the demo is to be short
BATCH_SIZE = 64


@dataclass(frozen=True, slots=True)
class Method:
    """An alignment method with its miniature recipe: `function(base, folder of the new checkpoint, seed, progress)`."""

    label: str
    about: str
    function: str


METHODS = (
    Method(
        "ddpo",
        "dense DPO on the base's own descriptions, corrected",
        "aligners.miniature.recipes.ddpo:align_miniature_ddpo",
    ),
    Method("rlaif", "online RLAIF, the policy labels itself", "aligners.miniature.recipes.rlaif:align_miniature_rlaif"),
    Method(
        "fact-rlhf", "reward model with facts, then PPO", "aligners.miniature.recipes.rlhf:align_miniature_fact_rlhf"
    ),
)


def language_data_is_ready() -> str | None:
    """See to it that text can be read: with NLTK's data where this machine has it, else with the miniature's own.

    Returns:
        What the miniature's data is called in signatures; None if NLTK's own is used.
    """
    from evalkit.miniature.language import language_folder
    from evalkit.text import has_language_data, language_data

    if not has_language_data():
        folders = (os.environ.get("NLTK_DATA"), str(language_folder(cache_folder())))
        os.environ["NLTK_DATA"] = os.pathsep.join(filter(None, folders))
    return language_data()


def world_folder(folder: Path, scenes: int, seed: int) -> Path:
    """The test scenes on disk in the official file formats; drawn once."""
    from evalkit.miniature.files import write_world

    world = folder / "world"
    if not all((world / name).exists() for name in ("scenes.jsonl", *ABILITY)):  # older worlds lack the last ones
        write_world(world, scenes, seed)
    return world


def score_checkpoint(
    checkpoint: Path, label: str, world: Path, runs: Path, tasks: Sequence[str], progress: Progress
) -> list[Summary]:
    """Generate and score one checkpoint on the miniature world; what is finished is not done again."""
    from benchmarks.judges.rules import RulesJudge
    from evalkit.engines.transformers import TransformersEngine

    summaries = []
    engine = TransformersEngine(checkpoint, dtype="float32", batch_size=BATCH_SIZE)
    try:
        for name in tasks:
            options = dict(OPTIONS.get(name, {}))
            origin = {"name": name, "options": options, "world": str(world.resolve())}
            work = plan(build(name, options, world), origin=origin)
            run_dir = runs / label / work.benchmark.name
            generate(work, engine, run_dir, label, progress)
            summaries.append(score(work, run_dir, Judge(RulesJudge()), progress))
    finally:
        engine.close()
    return summaries


def align(method: Method, base: Path, out: Path, seed: int, progress: Progress) -> object:
    """Train one method's miniature recipe; the same call continues what was interrupted."""
    module, _, name = method.function.partition(":")
    function: Callable[..., object] = getattr(import_module(module), name)
    return function(base, out, seed, progress)


def comparison(runs: Path, labels: Sequence[str], tasks: Sequence[str], checkpoints: Path) -> str:
    """One table per benchmark: base and checkpoints, the paired differences, what training took."""
    base, *others = (runs / label for label in labels)
    return render_all(comparison_tables(base, others, {label: checkpoints / label for label in labels}, tasks))
