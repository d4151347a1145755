"""Does human feedback made on the page train a better model? 200 corrections against 200 comparisons, miniature bases.

    python -m tests.results.feedback [--folder feedback] [--seeds 0,1,2] [--base DIR]

A scripted annotator that knows the scenes answers two studies of the base's descriptions through `submit`, which is
what the page Annotate calls: it corrects responses, and it says which of two hallucinates less. `align ddpo --data
STUDY` takes each study as it is. The scenes of the studies are not those of the test.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from aligners.ddpo import train_dpo
from aligners.miniature.base import cached_base
from aligners.miniature.recipes.ddpo import SETTINGS
from aligners.preference.datasets import read_preferences
from benchmarks.cli.registry import build
from evalkit.analysis.comparison import compare
from evalkit.annotation.answers import Task
from evalkit.annotation.draw import draw_study
from evalkit.annotation.journal import read_state, submit
from evalkit.annotation.segments import changed_segments
from evalkit.annotation.study import TYPES, Study, StudyItem, is_study, read_study, write_study
from evalkit.engines.transformers import TransformersEngine
from evalkit.harness.stages import generate, plan, score
from evalkit.miniature.captions import correct
from evalkit.miniature.files import read_scenes, write_world
from evalkit.miniature.scenes import Scene
from evalkit.reports.comparisons import comparison_report
from evalkit.runs.run import Run, load_run
from evalkit.sampling import Sampling

ANSWERS, STUDY_SCENES, TEST_SCENES = 200, 700, 200
TASKS: tuple[Task, ...] = ("correct", "compare")
ANNOTATOR = "oracle"


def describe(base: Path, world: Path, runs: Path, seed: int) -> list[Run]:
    """The base's descriptions of the study's scenes: greedy, and sampled to compare with."""
    engine = TransformersEngine(base, dtype="float32", batch_size=64)
    for label, temperature in (("greedy", 0.0), ("sampled", 0.7)):
        if not (runs / label / "metrics.json").exists():
            sampling = Sampling(temperature=temperature, max_new_tokens=96, seed=seed)
            work = plan(build("chair", {}, world), sampling=sampling)
            generate(work, engine, runs / label, label)
            score(work, runs / label)
    engine.close()
    return [load_run(runs / label) for label in ("greedy", "sampled")]


def annotate(study: Study, scenes: dict[str, Scene]) -> int:
    """Let the scripted annotator answer until there are ANSWERS that say something; returns how many there are."""
    said = 0
    standing = read_state(study, ANNOTATOR).answers
    for item in study.assigned(ANNOTATOR):
        if said == ANSWERS:
            break
        answer = _answer(study, item, scenes[item.id])
        if answer is not None:
            said += 1
            if item.key not in standing:
                submit(study, ANNOTATOR, item.key, answer)
    return said


def _answer(study: Study, item: StudyItem, scene: Scene) -> dict[str, object] | None:
    """What somebody who sees the scene says; None where there is nothing to correct or to prefer."""
    fixed = [correct(text, scene) for text in item.texts]
    changes = [len(changed_segments(text, better)) for text, better in zip(item.texts, fixed, strict=True)]
    if study.task == "correct":
        if not changes[0] or not fixed[0].strip():
            return None
        return {"text": fixed[0], "types": ["object"] * changes[0]}
    if changes[0] == changes[1]:
        return None
    less = "first" if changes[0] < changes[1] else "second"
    return {"less_hallucinated": less, "better": less}


def train(base: Path, study: Study, out: Path, seed: int) -> None:
    """`align ddpo --data STUDY` with the miniature's settings."""
    pairs = read_preferences(study.folder, out.parent)
    settings = replace(SETTINGS, seed=seed)
    train_dpo(base, pairs, out, settings, data={"source": f"study {study.name}"})


def measure(folder: Path, base: Path, seed: int) -> str:
    """All of it for one base; the comparison as a report."""
    worlds = {"study": folder / "study_world", "test": folder / "test_world"}
    for name, scenes, world_seed in (("study", STUDY_SCENES, 1000 + seed), ("test", TEST_SCENES, 2026)):
        if not (worlds[name] / "scenes.jsonl").exists():
            write_world(worlds[name], scenes, world_seed)
    runs = describe(base, worlds["study"], folder / "descriptions", seed)
    scenes = {str(image): scene for image, scene in read_scenes(worlds["study"]).items()}
    for task in TASKS:
        place = folder / task
        if not is_study(place):
            used = runs[:1] if task == "correct" else runs
            write_study(draw_study(place, used, task, TYPES["rlhf-v"], annotators=[ANNOTATOR], seed=seed), "")
        study = read_study(place)
        print(f"base {seed}: {task}, {annotate(study, scenes)} answers", flush=True)
        if not (folder / f"after_{task}" / "card.json").exists():
            train(base, study, folder / f"after_{task}", seed)
    scored = []
    for label, checkpoint in (("base", base), *((task, folder / f"after_{task}") for task in TASKS)):
        engine = TransformersEngine(checkpoint, dtype="float32", batch_size=64)
        work = plan(build("chair", {}, worlds["test"]))
        generate(work, engine, folder / "runs" / label, label)
        score(work, folder / "runs" / label)
        engine.close()
        scored.append(load_run(folder / "runs" / label))
    return comparison_report(compare(*scored, groups=False, metrics=["chair_s", "chair_i", "recall"]), "markdown")


def main(words: Sequence[str] | None = None) -> int:
    """Measure every base and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("feedback"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--base", type=Path, help="this checkpoint instead of the miniature base of the seed")
    options = parser.parse_args(words)
    for seed in map(int, options.seeds.split(",")):
        print(measure(options.folder / str(seed), options.base or cached_base(seed), seed), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
