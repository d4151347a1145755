"""Does human feedback made on the page train a better model? 200 corrections against 200 comparisons, miniature bases.

    python -m tests.results.feedback [--folder feedback] [--seeds 0,1,2] [--arms ARM;ARM] [--no-report]

A scripted annotator that knows the scenes answers two studies of the base's descriptions through `submit`, which is
what the page Annotate calls: it corrects responses, and it says which of two hallucinates less. `align ddpo --data
STUDY` takes each study as it is, or with `--omissions`. The scenes of the studies are not those of the test; how many
omissions was decided on validation scenes of base 0. Writes the table of docs/annotation.md; what is finished is not
done again.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
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
from evalkit.files.atomic import replace_text
from evalkit.harness.stages import generate, plan, score
from evalkit.miniature.captions import correct
from evalkit.miniature.files import read_scenes, write_world
from evalkit.miniature.scenes import Scene
from evalkit.runs.run import Run, load_run
from evalkit.sampling import Sampling

ANSWERS, STUDY_SCENES, TEST_SCENES = 200, 700, 200
ANNOTATOR = "oracle"
# name -> task of the study, omissions per correction
ARMS: Mapping[str, tuple[Task, int]] = {
    "200 corrections": ("correct", 2),
    "200 corrections, no omissions": ("correct", 0),
    "200 comparisons": ("compare", 0),
}
METRICS = ("chair_s", "chair_i", "recall", "wrong_numbers")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "annotation.md"
BEGIN, END = "<!-- feedback -->", "<!-- end -->"


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


def train(base: Path, study: Study, omissions: int, out: Path, seed: int) -> None:
    """`align ddpo --data STUDY --omissions N` with the miniature's settings."""
    pairs = read_preferences(study.folder, out.parent, omissions)
    settings = replace(SETTINGS, seed=seed)
    train_dpo(base, pairs, out, settings, data={"source": f"study {study.name}", "omissions": str(omissions)})


def scored(folder: Path, label: str, checkpoint: Path, world: Path) -> Run:
    """A checkpoint's run on the test scenes; done once."""
    run_dir = folder / "runs" / label
    if not (run_dir / "metrics.json").exists():
        engine = TransformersEngine(checkpoint, dtype="float32", batch_size=64)
        work = plan(build("chair", {}, world))
        generate(work, engine, run_dir, label)
        score(work, run_dir)
        engine.close()
    return load_run(run_dir)


def measure(folder: Path, base: Path, seed: int, arms: Sequence[str]) -> None:
    """Studies, trainings and runs of one base; what is there is not done again."""
    worlds = {"study": folder / "study_world", "test": folder / "test_world"}
    for name, scenes, world_seed in (("study", STUDY_SCENES, 1000 + seed), ("test", TEST_SCENES, 2026)):
        if not (worlds[name] / "scenes.jsonl").exists():
            write_world(worlds[name], scenes, world_seed)
    runs = describe(base, worlds["study"], folder / "descriptions", seed)
    scenes = {str(image): scene for image, scene in read_scenes(worlds["study"]).items()}
    scored(folder, "base", base, worlds["test"])
    for arm in arms:
        task, omissions = ARMS[arm]
        place = folder / task
        if not is_study(place):
            used = runs[:1] if task == "correct" else runs
            write_study(draw_study(place, used, task, TYPES["rlhf-v"], annotators=[ANNOTATOR], seed=seed), "")
        study = read_study(place)
        print(f"base {seed}: {arm}, {annotate(study, scenes)} answers", flush=True)
        out = folder / f"after_{_file_name(arm)}"
        if not (out / "card.json").exists():
            train(base, study, omissions, out, seed)
        scored(folder, _file_name(arm), out, worlds["test"])


def report(folder: Path, seeds: Sequence[int]) -> str:
    """A table of all bases and arms, and where each stands beside its base that stops earlier."""
    lines = [
        "| base | trained on | pairs | chair_s | chair_i | recall | wrong_numbers | at equal recall |",
        "|:---|:---|---:|---:|---:|---:|---:|:---|",
    ]
    for seed in seeds:
        runs = folder / str(seed) / "runs"
        base = load_run(runs / "base")
        values = base.intervals()
        shown = " | ".join(values[name].text() for name in METRICS)
        lines.append(f"| {seed} | (the base) | | {shown} | |")
        for arm in ARMS:
            compared = compare(base, load_run(runs / _file_name(arm)), groups=False, metrics=list(METRICS))
            (pair,) = compared.pairs
            differences = {effect.metric.name: effect.difference.text() for effect in pair.effects}
            card = json.loads((folder / str(seed) / f"after_{_file_name(arm)}" / "card.json").read_text())
            (placed,) = (front for front in pair.fronts if not front.shifted)
            position = placed.headline.positions[0]
            verdict = f"{placed.headline.verdict}: {position.difference.text()}"
            cells = " | ".join(differences[name] for name in METRICS)
            lines.append(f"| {seed} | {arm} | {card['cost']['pairs']} | {cells} | {verdict} |")
    return "\n".join(lines)


def write_section(table: str, page: Path = PAGE) -> None:
    """Put the table between its marks in the documentation."""
    before, rest = page.read_text("utf-8").split(BEGIN)
    after = rest.split(END)[1]
    replace_text(page, f"{before}{BEGIN}\n{table}\n{END}{after}")


def _file_name(arm: str) -> str:
    return arm.replace(" ", "_").replace(",", "")


def main(words: Sequence[str] | None = None) -> int:
    """Measure every base, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("feedback"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--arms", default="; ".join(ARMS), help="some of them, divided by semicolons")
    parser.add_argument("--no-report", action="store_true", help="measure only")
    options = parser.parse_args(words)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    for seed in seeds:
        measure(options.folder / str(seed), cached_base(seed), seed, [arm.strip() for arm in options.arms.split(";")])
    if not options.no_report:
        table = report(options.folder, seeds)
        write_section(table)
        print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
