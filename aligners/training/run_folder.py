"""Bookkeeping of a training run: ownership, log, resume point.

training.jsonl                    one line per logged step: loss, metrics of the method, learning rate, seconds
training/settings.json            what this run trains, so that the same command resumes it and no other
training/steps/checkpoint-N       for going on after a kill; removed when training is finished
checkpoints/step-N                those that were to stay
"""

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aligners.training.checkpoint import Card, read_card
from evalkit.errors import TrainingError
from evalkit.files.atomic import replace_text
from evalkit.schema import Json

LOG = "training.jsonl"
SETTINGS = Path("training") / "settings.json"
KEPT = "checkpoints"


class Journal:
    """training.jsonl; a run that continues at a step drops the lines written after it."""

    def __init__(self, path: Path, resumed_step: int, active: bool = True) -> None:
        self.path, self._active = path, active
        self._begin = time.perf_counter()
        if not active:
            return
        kept = [line for line in read_log(path) if line["step"] <= resumed_step]
        self._before = kept[-1].get("seconds", 0.0) if kept else 0.0
        replace_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, line: Mapping[str, Json]) -> None:
        """Append one line; `seconds` counts the whole run, interruptions left out."""
        if self._active:
            seconds = self._before + time.perf_counter() - self._begin
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**line, "seconds": round(seconds, 3)}) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """Every line so far."""
        return read_log(self.path)

    def losses(self) -> tuple[float, ...]:
        """Loss of every logged step."""
        return tuple(line["loss"] for line in read_log(self.path)) if self._active else ()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a training.jsonl; a torn last line is left out, an absent file has none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise TrainingError(f"{path}:{number}: not JSON: {error}") from error
    return found


def claim_folder(folder: Path, identity: Mapping[str, Json]) -> None:
    """Mark a folder as this run's.

    Raises:
        TrainingError: if it belongs to a run of other settings, data or model.
    """
    path = folder / SETTINGS
    mine = json.loads(json.dumps(identity))
    if path.is_file():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        if theirs != mine:
            differing = sorted(k for k in {*theirs, *mine} if theirs.get(k) != mine.get(k))
            raise TrainingError(
                f"{folder} belongs to a training run that differs in {', '.join(differing)}; "
                "use another folder, or remove this one"
            )
        return
    replace_text(path, json.dumps(mine, indent=1, sort_keys=True) + "\n")


def last_complete_step(folder: Path) -> tuple[int, Path] | None:
    """(step, folder) of the newest training checkpoint that was written to its end."""
    found = []
    for path in steps_folder(folder).glob("checkpoint-*"):
        try:  # the state is the last file of a checkpoint
            found.append((int(json.loads((path / "trainer_state.json").read_text())["global_step"]), path))
        except (OSError, ValueError, KeyError):
            continue
    return max(found, default=None)


def keep_steps(folder: Path, keep: int) -> None:
    """Let the newest training checkpoints stay as `checkpoints/step-N`, without what only resuming needs."""
    complete = sorted(steps_folder(folder).glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in complete[len(complete) - keep :] if keep else ():
        kept = folder / KEPT / f"step-{path.name.rpartition('-')[2]}"
        kept.parent.mkdir(exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        path.rename(kept)
        for name in ("optimizer.pt", "scheduler.pt", "trainer_state.json", "training_args.bin", "rng_state*.pth"):
            for file in kept.glob(name):
                file.unlink()


def steps_folder(folder: Path) -> Path:
    """Where training checkpoints lie."""
    return folder / "training" / "steps"


def finished_card(folder: Path, identity: Mapping[str, Json]) -> Card | None:
    """The card of the run that was finished in this folder; None if it holds no checkpoint yet.

    Raises:
        TrainingError: if the checkpoint is of a run with other settings, data or model.
    """
    card = read_card(folder)
    if card is None:
        return None
    path = folder / SETTINGS
    if not path.is_file() or json.loads(path.read_text(encoding="utf-8")) != json.loads(json.dumps(identity)):
        raise TrainingError(
            f"{folder} holds a checkpoint of another training run; use another folder, or remove this one"
        )
    return card
