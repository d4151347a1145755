"""Bookkeeping of a training run: ownership, log, resume point.

training.jsonl                    one line per logged step: loss, metrics of the method, learning rate, seconds
training/settings.json            what this run trains, so that rerunning the same command resumes this run and no other
training/steps/checkpoint-N       for going on after a kill; removed when training is finished
checkpoints/step-N                those that were to stay
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aligners.training.checkpoint import Card, read_card
from evalkit.errors import EvalkitError, TrainingError
from evalkit.files.atomic import replace_text
from evalkit.files.json_values import json_value
from evalkit.runs.checksums import SUM, unsealed
from evalkit.runs.records import Journal, read_json, write_json
from evalkit.schema import Json

LOG = "training.jsonl"
SETTINGS = Path("training") / "settings.json"
KEPT = "checkpoints"
_NOT_PUBLISHED = {LOG, "card.json"}  # of one training of several, not part of its checkpoint
_SHARDED = "pytorch_model_fsdp"
_FOR_RESUMING = (
    *("optimizer.pt", "optimizer.bin", "scheduler.pt", "trainer_state.json", "training_args.bin", "rng_state*.pth"),
    f"{_SHARDED}.bin",
)
# how a step is cut up and noted, not what it is
HOW = {
    *("micro_batch_size", "gradient_checkpointing", "training_gradient_checkpointing", "generation_batch", "workers"),
    *("log_steps", "save_steps", "save_rollouts", "keep_checkpoints"),
}


class TrainingLog:
    """training.jsonl: the journal of a run, which drops the lines behind the step that it resumes from."""

    def __init__(self, path: Path, resumed_step: int, active: bool = True) -> None:
        self.path, self._journal = path, None
        self._begin = time.perf_counter()
        if not active:
            return
        kept = [line for line in read_log(path) if line["step"] <= resumed_step]
        self._before = kept[-1].get("seconds", 0.0) if kept else 0.0
        replace_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._journal = Journal(path)

    def write(self, line: Mapping[str, Json]) -> None:
        """Append one line; `seconds` counts the whole run, interruptions left out."""
        if self._journal is not None:
            seconds = self._before + time.perf_counter() - self._begin
            self._journal.append({**line, "seconds": round(seconds, 3)})

    def lines(self) -> list[dict[str, Any]]:
        """Every line so far; none where another process writes them."""
        return read_log(self.path) if self._journal is None else list(self._journal.rows)

    def losses(self) -> tuple[float, ...]:
        """Loss of every logged step; none where another process writes them."""
        return () if self._journal is None else tuple(line["loss"] for line in self._journal.rows)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a training.jsonl; a torn last line is left out, an absent file has none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row, _ = unsealed(line.encode("utf-8"))
            rows.append({name: value for name, value in row.items() if name != SUM})
        except ValueError as error:
            if number < len(lines):
                raise TrainingError(f"{path}:{number}: cannot be read: {error}") from error
    return rows


def settings_hash(settings: Mapping[str, Json]) -> str:
    """Hash of settings as JSON, 16 hex digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def claim(path: Path, settings: Mapping[str, Json], error: type[EvalkitError] = TrainingError) -> dict[str, Any]:
    """Make a folder this run's: write its settings into a new file, or make sure that an existing one holds the same.

    Settings that say how a step is cut up and not what is trained (HOW) may differ: a run that ran out of memory
    continues with a smaller micro-batch. Files of 0.1.0, which held the settings alone, are read.

    Returns:
        The file's content: settings, settings_hash, and what others noted there.
    Raises:
        EvalkitError: the one given, if the folder belongs to a run of other settings, data or model.
    """
    mine = json.loads(json.dumps(settings, default=str))
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {"settings": mine, "settings_hash": settings_hash(mine)}
        write_json(path, content)
        return content
    content = read_json(path)
    if differing := _differing(content.get("settings", content), mine):
        folder = path.parent.parent if path.parent.name == SETTINGS.parent.name else path.parent
        how = "training run that differs in" if error is TrainingError else "run with other"
        raise error(f"{folder} belongs to a {how} {', '.join(differing)}; use another folder, or remove this one")
    return content


def _differing(theirs: Mapping[str, Json], mine: Mapping[str, Json]) -> list[str]:
    """Settings that differ, but for HOW, on any level."""

    def what(settings: Json) -> Json:
        if not isinstance(settings, dict):
            return settings
        return {name: what(value) for name, value in settings.items() if name not in HOW}

    old, new = what(theirs), what(mine)
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def claim_folder(folder: Path, identity: Mapping[str, Json]) -> None:
    """Mark the folder of a training as this run's, see `claim`."""
    claim(folder / SETTINGS, identity)


def last_complete_step(folder: Path) -> tuple[int, Path] | None:
    """(step, folder) of the newest training checkpoint that was written to its end."""
    complete = []
    for path in steps_folder(folder).glob("checkpoint-*"):
        try:  # the state is the last file of a checkpoint
            complete.append((int(json_value((path / "trainer_state.json").read_text())["global_step"]), path))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return max(complete, default=None)


def check_shards(checkpoint: Path, sharded: bool) -> None:
    """A training checkpoint continues as it was written: whole, or from weights in shards (FSDP).

    Raises:
        TrainingError: if it cannot be continued so; what to do is said.
    """
    written = any(checkpoint.glob(f"{_SHARDED}*"))
    if written and not sharded:
        raise TrainingError(f"{checkpoint} was written with FSDP: continue with it, or remove it to begin again")
    if sharded and not written:
        raise TrainingError(f"{checkpoint} was written without FSDP: continue without, or remove it to begin again")


def keep_steps(folder: Path, keep: int) -> None:
    """Let the newest training checkpoints stay as `checkpoints/step-N`, without what only resuming needs."""
    complete = sorted(steps_folder(folder).glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for path in complete[len(complete) - keep :] if keep else ():
        kept = folder / KEPT / f"step-{path.name.rpartition('-')[2]}"
        kept.parent.mkdir(exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        path.rename(kept)
        for name in _FOR_RESUMING:
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
    path, mine = folder / SETTINGS, json.loads(json.dumps(identity, default=str))
    content = read_json(path) if path.is_file() else None
    if content is None or _differing(content.get("settings", content), mine):
        raise TrainingError(
            f"{folder} holds a checkpoint of another training run; use another folder, or remove this one"
        )
    return card


def publish(checkpoint: Path, out: Path) -> None:
    """Put a checkpoint's files into another folder, as hard links where the file system has them.

    Folders stay where they are: what training left, checkpoints along the way.
    """
    for path in sorted(checkpoint.iterdir()):
        if path.name in _NOT_PUBLISHED or path.name.startswith(".") or path.is_dir():
            continue
        target = out / path.name
        target.unlink(missing_ok=True)
        try:
            os.link(path, target)
        except OSError:
            shutil.copy2(path, target)
