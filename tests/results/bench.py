"""Where results are measured: bases, test scenes, and checkpoints scored through the harness.

FOLDER/world                 scenes of the test split, which nothing trains on
FOLDER/ability               fewer of them, for the benchmarks that ask questions
FOLDER/base0/TASK            runs of the base of seed 0
FOLDER/ENTRY/base0/ARM       what an entry trains there, and runs/STEP/TASK of its checkpoints
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from filelock import FileLock

from aligners.miniature.base import NEIGHBOURS, cached_base, cached_neighbours_base
from benchmarks.cli.registry import build
from evalkit.analysis.front import Curve, RunFront
from evalkit.analysis.front_file import read_fronts
from evalkit.engines.base import Engine
from evalkit.engines.transformers import TransformersEngine
from evalkit.harness.asked import Asked
from evalkit.harness.stages import generate, plan, score
from evalkit.metrics import Metric
from evalkit.miniature.files import write_world
from evalkit.runs.run import Run, load_run

SCENES, SCENE_SEED = 400, 2026
ABILITY_SCENES = 100
BATCH_SIZE = 100
CHAIR = "chair"
LIST = "list"
# task -> benchmark, its options, and whether it is asked about the few scenes
TASKS: Mapping[str, tuple[str, Mapping[str, str], bool]] = {
    CHAIR: ("chair", {}, False),
    LIST: ("chair", {"question": "List the objects."}, False),
    "pope": ("pope", {"splits": "adversarial"}, True),
    "amber": ("amber", {"dimensions": "existence,attribute,relation"}, True),
}
PER_100 = Metric("per_100", "100 * hallucinated_mentions / responses", False, "points", "rate")
LIST_F1 = Metric("list_f1", "200 * covered_objects / (mentions + reference_objects)", True)


@dataclass(frozen=True)
class Bench:
    """The place of one series of results.

    folder  of everything that is made
    seeds   of the bases
    scenes  test scenes; fewer only to try an entry out
    neighbours  whether descriptions state neighbours, the bases' and the world's
    """

    folder: Path
    seeds: tuple[int, ...]
    scenes: int = SCENES
    neighbours: bool = False

    def stating_neighbours(self) -> Self:
        """The place of entries whose bases state neighbours; the test scenes are the same."""
        return replace(self, folder=self.folder / "stating-neighbours", neighbours=True)

    @cached_property
    def worlds(self) -> Mapping[bool, Path]:
        """The test scenes in the official formats: all (False) and few (True); drawn once."""
        wanted = {False: (self.folder / "world", self.scenes), True: (self.folder / "ability", ABILITY_SCENES)}
        for world, count in wanted.values():
            if not (world / "scenes.jsonl").exists():
                stated = NEIGHBOURS.neighbours if self.neighbours else 0.0
                write_world(world, min(count, self.scenes), SCENE_SEED, neighbours=stated)
        return {few: world for few, (world, _) in wanted.items()}

    def base(self, seed: int) -> Path:
        """The checkpoint of a base; trained if this machine has none yet."""
        return cached_neighbours_base(seed) if self.neighbours else cached_base(seed)

    def home(self, entry: str, seed: int, arm: str) -> Path:
        """Folder of one arm of an entry on one base."""
        return self.folder / entry / f"base{seed}" / arm.replace(" ", "-").replace("%", "")

    def base_run(self, seed: int, task: str = CHAIR) -> Run:
        """The base itself on a task; scored once for all entries, whichever process needs it first."""
        runs = self.folder / f"base{seed}"
        runs.mkdir(parents=True, exist_ok=True)
        with FileLock(runs / f"{task}.lock"):
            return self.score(self.base(seed), runs, "base", (task,))[task]

    def score(
        self,
        model: Path | Engine,
        runs: Path,
        label: str,
        tasks: Sequence[str] = (CHAIR,),
        asked: Asked | None = None,
    ) -> dict[str, Run]:
        """Score a checkpoint, or an engine; what is finished is not done again.

        Args:
            runs: folder of the runs, one below it for each task.
            asked: another way of asking than the benchmark's own.
        """
        missing = [task for task in tasks if not (runs / task / "metrics.json").exists()]
        if missing:
            engine = opened(model) if isinstance(model, Path) else model
            for task in missing:
                name, options, few = TASKS[task]
                work = plan(build(name, options, self.worlds[few]), asked=asked or Asked())
                generate(work, engine, runs / task, label)
                score(work, runs / task)
            if isinstance(engine, TransformersEngine) and isinstance(model, Path):
                engine.close()
        return {task: load_run(runs / task) for task in tasks}


def opened(checkpoint: Path) -> TransformersEngine:
    """An engine on a checkpoint, in 32 bits."""
    return TransformersEngine(checkpoint, dtype="float32", batch_size=BATCH_SIZE)


def pooled(runs: Mapping[int, Run], label: str) -> Run:
    """One arm's runs on all bases (by seed) as one run; the scenes are the same, so a scene is one cluster."""
    rows = [
        {**row, "id": f"{seed}/{row['id']}", "cluster": row.get("cluster") or row["id"]}
        for seed, run in runs.items()
        for row in run.rows
    ]
    manifest = {**next(iter(runs.values())).manifest, "label": label}
    if manifest["benchmark"] == CHAIR:
        manifest["metrics"] = [PER_100.as_dict(), *manifest["metrics"]]
    return Run(manifest, rows)


def pooled_front(runs: Mapping[int, Run]) -> RunFront:
    """The truncation fronts of one arm on all bases as one front, over the rows of `pooled`."""
    fronts = {seed: read_fronts(run)[0] for seed, run in runs.items()}
    first = next(iter(fronts.values()))
    curves = []
    for index, curve in enumerate(first.curves):
        longest = max((front.curves[index] for front in fronts.values()), key=lambda one: len(one.cuts))
        counts = [_padded(front.curves[index].counts, len(longest.cuts)) for front in fronts.values()]
        curves.append(Curve(curve.name, longest.cuts, np.concatenate(counts)))
    keys = tuple((f"{seed}/{item}", sample) for seed, front in fronts.items() for item, sample in front.keys)
    clusters = tuple(cluster for front in fronts.values() for cluster in front.clusters)
    return replace(first, keys=keys, clusters=clusters, curves=tuple(curves))


def _padded(counts: np.ndarray, cuts: int) -> np.ndarray:
    """Counts at more cuts: beyond the last sentence a response is whole."""
    return np.concatenate([counts, np.repeat(counts[:, -1:], cuts - counts.shape[1], axis=1)], axis=1)
