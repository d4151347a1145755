"""Measuring a model on held-out rows while it trains: lines of the log, the best step, and a rule to stop early.

The numbers stand in training.jsonl as held_out_loss, held_out_accuracy, ... on the lines of the steps at which they
were taken, so that a run that was killed knows what its best step was. The weights of the best step lie beside the
training checkpoints until the run is finished.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from aligners.training.processes.sharding import gathered, keep_part, reshard
from aligners.training.processes.shared import computed_once
from evalkit.errors import TrainingError
from evalkit.files.atomic import replaced

T = TypeVar("T")
PREFIX = "held_out_"
BEST = Path("training") / "best.safetensors"


def as_input(collate: Callable[[list[Any]], Any], rows: list[Any]) -> dict[str, Any]:
    """Rows as the keyword argument of a loss; not a closure, since workers that are spawned get it pickled."""
    return {"batch": collate(rows)}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What is measured, and what follows from it.

    rows        held-out rows
    batch_size  of them in a forward pass
    steps       optimiser steps between two measurements; the last step is always measured
    select      "best": the run ends with the weights of the lowest held-out loss; "last": with those of its last step
    patience    measurements in a row without a lower loss, after which training stops; None: never
    """

    rows: Sequence[Any]
    batch_size: int
    steps: int
    select: Literal["last", "best"] = "last"
    patience: int | None = None


QUICK = "quick_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A measurement of what the model says while it trains.

    measure  (model, step) -> numbers; called in the first process only, the others wait at their next step
    steps    optimiser steps between two measurements; None: at every training checkpoint. The last step is measured too
    """

    measure: Callable[[Any, int], Mapping[str, float]]
    steps: int | None = None

    def due(self, step: int, steps: int, save_steps: int) -> bool:
        """Whether this step is measured."""
        return step % (self.steps or save_steps) == 0 or step >= steps


class Watch:
    """Measures, remembers the best, and says when to stop.

    Args:
        held_out: what and when.
        collate, loss: as for training.
        folder: of the run.
        log: lines of the run so far: a continued run knows what it measured before.
    """

    def __init__(
        self,
        held_out: HeldOut,
        collate: Callable[[list[Any]], Any],
        loss: Callable[[Any, Any], tuple[Tensor, Mapping[str, Tensor]]],
        folder: Path,
        log: Sequence[Mapping[str, Any]],
    ) -> None:
        self._held_out, self._collate, self._loss, self._path = held_out, collate, loss, folder / BEST
        self._losses = [float(line[f"{PREFIX}loss"]) for line in log if f"{PREFIX}loss" in line]

    def due(self, step: int, steps: int) -> bool:
        """Whether this step is measured."""
        return step % self._held_out.steps == 0 or step >= steps

    @torch.no_grad()
    def measure(self, model: Any, unwrapped: Any, device: torch.device, first: bool) -> dict[str, float]:
        """Means over the held-out rows; every process measures all of them.

        Args:
            model: as it is called in training.
            unwrapped: the module whose trained parameters are kept if this is the best step.
            device: for the batches.
            first: whether this is the process that writes.
        """
        was_training = model.training
        model.eval()
        sums: dict[str, float] = {}
        rows = self._held_out.rows
        for start in range(0, len(rows), self._held_out.batch_size):
            some = list(rows[start : start + self._held_out.batch_size])
            loss, metrics = self._loss(model, self._collate(some).to(device))
            sums["loss"] = sums.get("loss", 0.0) + loss.item() * len(some)
            for name, values in metrics.items():
                sums[name] = sums.get(name, 0.0) + values.float().mean().item() * len(some)
        model.train(was_training)
        means = {f"{PREFIX}{name}": value / len(rows) for name, value in sums.items()}
        self._losses.append(means[f"{PREFIX}loss"])
        if self._held_out.select == "best" and computed_once(lambda: self._losses[-1] <= min(self._losses)):
            self._keep(unwrapped, first)
        return means

    def reason_to_stop(self) -> str | None:
        """In words, once the held-out loss has not fallen for as many measurements as the settings allow."""
        patience = self._held_out.patience
        if patience is None or len(self._losses) <= patience:
            return None
        if min(self._losses[-patience:]) < min(self._losses[:-patience]):
            return None
        return f"the held-out loss has not fallen for {patience} measurements"

    def restore_best(self, unwrapped: Any) -> None:
        """Put the best step's weights back, if that is what was asked for.

        Raises:
            TrainingError: if they are gone.
        """
        if self._held_out.select != "best":
            return
        if not self._path.is_file():
            raise TrainingError(f"{self._path}: the weights of the best step are gone; remove the folder and run again")
        kept = load_file(self._path)
        reshard(unwrapped)
        with torch.no_grad():
            for name, parameter in unwrapped.named_parameters():
                if parameter.requires_grad:
                    keep_part(parameter, kept[name])

    def _keep(self, unwrapped: Any, write: bool) -> None:
        """Write the trained parameters; what is sharded is gathered, one after another, by every process."""
        reshard(unwrapped)
        trained = {}
        for name, parameter in unwrapped.named_parameters():
            if parameter.requires_grad:
                whole = gathered(parameter)
                if write:
                    trained[name] = whole.cpu().contiguous()
        if not write:
            return
        with replaced(self._path) as beside:
            save_file(trained, beside)


def split_rows(rows: Sequence[T], groups: Sequence[str], held_out: int, seed: int) -> tuple[list[T], list[T]]:
    """(training, held out): whole groups (images) are held out, drawn by the seed, at most a fifth of the rows.

    Raises:
        TrainingError: if rows are to be held out and none can be: there are too few, or one group holds them all.
    """
    if not held_out:
        return list(rows), []
    wanted = min(held_out, len(rows) // 5)
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    order = sorted(members)
    random.Random(f"held out:{seed}").shuffle(order)
    held: set[int] = set()
    for group in order:
        if len(held) + len(members[group]) <= wanted:
            held.update(members[group])
    if not held:
        raise TrainingError(f"none of {len(rows)} rows can be held out: a fifth of them at most, whole images only")
    return [row for i, row in enumerate(rows) if i not in held], [row for i, row in enumerate(rows) if i in held]
