"""A small online-feedback run on a tiny random checkpoint, for tests of its mechanics.

python rlaif_world.py FOLDER STAGE N      continues the run in FOLDER and kills itself at the N-th piece of a stage
python rlaif_world.py FOLDER alone STAGE [N]    the same for the stage alone; without N to its end
python rlaif_world.py FOLDER together     the whole run; FOLDER/opened gets a line "role rank" for each model opened
"""

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preference_data import write_images
from tiny_models import save_tiny

from aligners.feedback.claims import Claim
from aligners.feedback.splitting import RuleSplitter
from evalkit.process.ending import end_process
from evalkit.runs.records import read_journal

OVERRIDES: Mapping[str, Any] = {
    "iterations": 2,
    "prompts_per_round": 4,
    "candidates": 3,
    "temperature": 1.0,
    "max_new_tokens": 8,
    "learning_rate": 1e-3,
    "epochs": 1,
    "batch_size": 2,
    "balance_lengths": False,
    "confirmed_weight": 1.0,  # an untrained labeler says the same to every question
    "lora": False,
    "max_length": 512,
}


def letters(text: str) -> list[Claim]:
    """A claim for every letter of a text: random models write no English."""
    found = dict.fromkeys(letter for letter in text if letter.isalpha())
    return [Claim(f"There is {letter}.", f"Is there {letter}?") for letter in found]


SPLITTER = RuleSplitter("letters", letters)


def write_world(folder: Path, prompts: int = 6) -> tuple[Path, Path]:
    """(checkpoint, prompts file) in a folder."""
    write_images(folder / "images")
    rows = [
        {"id": f"p{i}", "image": f"images/{i % 3}.png", "prompt": f"What is in picture {i}?"} for i in range(prompts)
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return save_tiny("llava", folder / "start"), folder / "prompts.jsonl"


def run(world: Path, out: Path, **options: Any) -> Any:
    """The run, or what is left of it."""
    return prepared(world, out, **options).go()


def prepared(world: Path, out: Path, **options: Any) -> Any:
    """The run, nothing done yet."""
    from aligners.rlaif import rlaif_run

    overrides = {**OVERRIDES, **options.pop("overrides", {})}
    arguments = {"splitter": SPLITTER, **options}
    return rlaif_run(world / "start", world / "prompts.jsonl", out, "rlaifv", overrides, **arguments)


def contents(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of all stage files by id: whatever their order and folder, without the float noise of batching."""
    return {
        str(path.relative_to(out)): sorted(map(_rounded, read_journal(path)), key=lambda row: str(row["id"]))
        for path in sorted(out.glob("iteration_*/*.jsonl"))
    }


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    rounded = {name: round(value, 5) if isinstance(value, float) else value for name, value in row.items()}
    return rounded | {"image": Path(row["image"]).name} if row.get("image") else rounded


def assert_same(out: Path, other: Path) -> None:
    """Two runs have the same rows, and the same weights but for float noise."""
    from safetensors.torch import load_file

    assert contents(out) == contents(other)
    ours, theirs = load_file(out / "model.safetensors"), load_file(other / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(ours[name].allclose(theirs[name], atol=1e-5) for name in ours)


def deadly(stage: str, count: int) -> Any:
    """A progress callback that ends this process without any chance to tidy up."""

    def progress(what: str, done: int, total: int) -> None:
        if what.endswith(stage) and done >= count:
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


def die_before_pairs_are_noted() -> None:
    """Pairs are made in one piece and report no progress: end this process once their file is there."""
    from aligners.training.stages import Stages

    finish: Any = Stages.finish

    def dying(stages: Stages, name: str, *arguments: Any, **facts: Any) -> None:
        if name == "pairs":
            os.kill(os.getpid(), signal.SIGKILL)
        finish(stages, name, *arguments, **facts)

    Stages.finish = dying  # type: ignore[method-assign]


def noted(folder: Path, role: str) -> Any:
    """Opens an engine and notes in which of several processes."""
    from evalkit.engines.transformers import TransformersEngine

    def open_engine(checkpoint: Path | str = folder / "start") -> TransformersEngine:
        with (folder / "opened").open("a") as file:
            file.write(f"{role} {os.environ.get('RANK', '0')}\n")
        return TransformersEngine(checkpoint, batch_size=4)

    return open_engine


if __name__ == "__main__":
    world, *words = sys.argv[1:]
    if words[0] == "together":
        from aligners.feedback.roles import OnDemand

        labeler = OnDemand(noted(Path(world), "labeler"), "labeler")
        run(Path(world), Path(world) / "out", labeler=labeler, open_engine=noted(Path(world), "policy"))
    elif words[0] == "alone":
        _, stage, *count = words
        progress = deadly(stage, int(count[0])) if count else None
        if stage == "pairs" and count:
            die_before_pairs_are_noted()
        prepared(Path(world), Path(world) / "out", progress=progress, overrides={"save_steps": 1}).stage(stage)
    else:
        where, times = words
        run(Path(world), Path(world) / "out", progress=deadly(where, int(times)))
    end_process()
