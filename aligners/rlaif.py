"""Online feedback from open models, the policy itself included (RLAIF-V, Yu et al. 2024, arXiv:2405.17220).

    for each iteration: candidates -> claims -> judgements -> pairs -> DPO -> next policy, which is the next reference

In the folder of a run:

    rlaif.json            settings, seed, hashes of start and prompts
    iteration_1/          candidates.jsonl claims.jsonl judgements.jsonl pairs.jsonl stages.json checkpoint/
    iterations.jsonl      one line per finished iteration: counts, scores, lengths, labels, training, seconds
    config.json, ...      the chosen iteration's checkpoint with the card of the whole run

The same call continues after a kill; finished work is not repeated. The label is a count of refuted claims, so shorter
responses win by themselves: lengths stand in every line of iterations.jsonl, and the released length balance is on.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aligners.ddpo import TrainingResult, train_dpo
from aligners.feedback.instructions import Instruction, instructions_hash, read_instructions, rounds
from aligners.feedback.labeling import LABELER_WORDING
from aligners.feedback.roles import OnDemand, rest
from aligners.feedback.round import Oracle, Round, Statistics, collect_pairs, part_seed
from aligners.feedback.selection import Selection
from aligners.feedback.splitting import RuleSplitter, Splitter
from aligners.presets import RLAIF_PRESETS, find_preset
from aligners.settings import RlaifSettings, changed, dpo_json, feedback_json
from aligners.training.checkpoint import Card, read_card, write_card
from aligners.training.run_folder import LOG, read_log
from aligners.training.stages import MANIFEST, Stages, claim_settings
from evalkit.engines.base import Engine, identity
from evalkit.errors import RecordError, TrainingError
from evalkit.process.progress import Progress
from evalkit.runs.lock import locked
from evalkit.runs.records import Journal, read_journal, read_json
from evalkit.schema import Json

RUN = "rlaif.json"
ITERATIONS = "iterations.jsonl"
_POLL = 1.0  # seconds between two looks of a process that waits for the first one
_OWN_FILES = {"training", LOG, "card.json"}  # of one iteration's training, not part of the checkpoint


@dataclass(frozen=True, slots=True)
class RlaifResult:
    """A finished run.

    checkpoint  folder of the chosen policy: the run's folder
    chosen      its iteration, from 1
    iterations  the lines of iterations.jsonl
    pairs, steps, seconds   over all iterations
    """

    checkpoint: Path
    chosen: int
    iterations: tuple[Mapping[str, Any], ...]
    pairs: int
    steps: int
    seconds: float


def rlaif_settings(preset: str | RlaifSettings = "rlaifv", overrides: Mapping[str, Any] | None = None) -> RlaifSettings:
    """A preset with some of its settings changed: those of sampling and labelling, of its DPO, and of training.

    Raises:
        UsageError: if there is no such preset or setting.
    """
    base = find_preset(RLAIF_PRESETS, preset) if isinstance(preset, str) else preset
    settings = changed(base, overrides or {})
    return settings if settings.lora is False else replace(settings, merge_adapter=True)  # a round starts from weights


def align_rlaif(
    start: Path | str,
    prompts: Path | Sequence[Instruction],
    out: Path,
    preset: str | RlaifSettings = "rlaifv",
    overrides: Mapping[str, Any] | None = None,
    *,
    labeler: Engine | None = None,
    splitter: Splitter | None = None,
    wording: str = LABELER_WORDING,
    seed: int = 0,
    open_engine: Callable[[Path | str], Engine] | None = None,
    selection: Selection | None = None,
    oracle: Oracle | None = None,
    progress: Progress | None = None,
    report_to: Sequence[str] = (),
) -> RlaifResult:
    """Align a checkpoint with feedback on its own responses; the same call continues or returns what is finished.

    Under torchrun or accelerate the first process samples and labels, and all of them train.

    Args:
        start: checkpoint folder or hub name.
        prompts: prompts file (see `aligners.feedback.instructions`), or instructions.
        out: folder of the run, and of the new checkpoint.
        preset, overrides: see `rlaif_settings`, e.g. overrides={"iterations": 2, "lora": True, "learning_rate": 1e-5}.
        labeler: an engine that tells probabilities of "yes" and "no"; None: the policy of the iteration itself.
        splitter: None: the rules of `aligners.feedback.claims`.
        wording: how the labeler is asked, with the claim's question in place of {question}.
        seed: of everything that is drawn.
        open_engine: opens a policy to sample from (default: the transformers engine).
        selection: how the best iteration is found; None: the last one is taken.
        oracle: the truth about candidates, where it is known, for the statistics.
        progress: called with (stage, done, total).
        report_to: see `train_dpo`.
    Raises:
        DataError: if prompts or images are missing or malformed.
        RecordError: if `out` is in use or holds a run with other settings.
        TrainingError: if an iteration has no pair left, or training fails.
        StoppedError: after a signal.
    """
    settings = rlaif_settings(preset, overrides)
    instructions = read_instructions(prompts) if isinstance(prompts, Path | str) else list(prompts)
    splitter = splitter or RuleSplitter()
    run = _Run(
        start, instructions, Path(out), settings, labeler, splitter, wording, seed,
        open_engine or _transformers, selection, oracle, progress, tuple(report_to),
    )  # fmt: skip
    if not instructions:
        raise TrainingError("no prompts to sample responses to")
    with locked(run.out) if _first_process() else nullcontext():
        return run.go()


@dataclass(frozen=True)
class _Run:
    """The arguments of `align_rlaif`."""

    start: Path | str
    instructions: Sequence[Instruction]
    out: Path
    settings: RlaifSettings
    labeler: Engine | None
    splitter: Splitter
    wording: str
    seed: int
    open_engine: Callable[[Path | str], Engine]
    selection: Selection | None
    oracle: Oracle | None
    progress: Progress | None
    report_to: tuple[str, ...]

    def go(self) -> RlaifResult:
        """All iterations, then the choice among them."""
        settings = self._settings() if _first_process() else {}
        policy: Path | str = self.start
        for number in range(1, self.settings.iterations + 1):
            policy = self._iteration(number, policy, settings)
        return self._finish(settings)

    def _settings(self) -> dict[str, Json]:
        """What determines the run's results; checked against what lies in the folder."""
        first = self.open_engine(self.start)
        model = identity(first)
        first.close()
        settings: dict[str, Json] = {
            "start": str(self.start),
            "start_content": model.get("content"),
            "prompts": instructions_hash(self.instructions),
            "preset": feedback_json(self.settings),
            "training": dpo_json(self.settings),
            "labeler": "the policy itself" if self.labeler is None else identity(self.labeler),
            "splitter": dict(self.splitter.describe()),
            "wording": self.wording,
            "seed": self.seed,
            "selection": None if self.selection is None else str(self.selection),
        }
        for role in (self.labeler, self.splitter):  # described, and not needed yet
            rest(role)
        claim_settings(self.out / RUN, settings)
        return settings

    def _iteration(self, number: int, policy: Path | str, settings: Mapping[str, Json]) -> Path:
        """One iteration; returns its checkpoint."""
        folder = self.out / f"iteration_{number}"
        done = [row for row in read_journal(self.out / ITERATIONS) if row["iteration"] == number]
        if done:
            return folder / "checkpoint"
        asked = rounds(self.instructions, self.settings.prompts_per_round, number, self.seed)
        round_seed = part_seed(self.seed, "iteration", number)
        if _first_process():
            stages = Stages(folder, {**settings, "iteration": number, "round_seed": round_seed})
        else:
            stages = _wait_for_pairs(folder)
        lazy = OnDemand(lambda: self.open_engine(policy), "policy")
        work = Round(asked, self.settings, round_seed, lazy, self.labeler, self.splitter, self.wording, self.oracle)
        try:
            pairs, statistics = collect_pairs(work, stages, self._named(number))
        finally:
            for role in (lazy, self.labeler, self.splitter):  # their memory is needed for training
                rest(role)
        seed = self.settings.seed
        own = part_seed(round_seed, "training", *([seed] if seed else []))  # as it was where no seed is given
        training = replace(self.settings, seed=own)
        result = train_dpo(
            policy,
            pairs,
            folder / "checkpoint",
            training,
            method="rlaif",
            data={"prompts": instructions_hash(asked)},
            progress=self._named(number),
            report_to=self.report_to,
        )
        if _first_process():
            self._note(number, len(asked), stages, statistics, result)
        return result.checkpoint

    def _note(
        self, number: int, n_prompts: int, stages: Stages, statistics: Statistics, result: TrainingResult
    ) -> None:
        sampling = {name: float(entry["seconds"]) for name, entry in stages.finished.items()}
        log = read_log(result.checkpoint / LOG)
        last = {name: log[-1].get(name) for name in ("loss", "accuracy", "margin", "log_ratio")} if log else {}
        row = {
            "iteration": number,
            "prompts": n_prompts,
            **statistics,
            "trained_pairs": result.pairs,
            "skipped": dict(result.skipped),
            "steps": result.steps,
            "first_loss": result.losses[0] if result.losses else None,
            **{f"last_{name}": value for name, value in last.items()},
            "selection": self.selection.measure(result.checkpoint) if self.selection else None,
            "stage_seconds": sampling | {"training": result.seconds},
            "seconds": round(sum(sampling.values()) + result.seconds, 3),
        }
        with Journal(self.out / ITERATIONS) as journal:
            journal.append(row)

    def _finish(self, settings: Mapping[str, Json]) -> RlaifResult:
        while not _first_process() and read_card(self.out) is None:
            time.sleep(_POLL)
        rows = read_journal(self.out / ITERATIONS)[: self.settings.iterations]
        chosen = best_iteration(rows)
        pairs, steps = sum(row["trained_pairs"] for row in rows), sum(row["steps"] for row in rows)
        seconds = round(sum(row["seconds"] for row in rows), 3)
        if _first_process() and read_card(self.out) is None:
            checkpoint = self.out / f"iteration_{chosen}" / "checkpoint"
            cost = {"pairs": pairs, "steps": steps, "seconds": seconds, "iterations": len(rows)}
            card = self._card(checkpoint, settings, cost, chosen)
            publish(checkpoint, self.out)
            write_card(self.out, card)  # last: a folder with a card is complete
        return RlaifResult(self.out, chosen, tuple(rows), pairs, steps, seconds)

    def _card(self, checkpoint: Path, settings: Mapping[str, Json], cost: Mapping[str, float], chosen: int) -> Card:
        first, last = read_card(self.out / "iteration_1" / "checkpoint"), read_card(checkpoint)
        if first is None or last is None:
            raise RecordError(f"{checkpoint}: its card is gone; remove {self.out} and run again")
        return replace(
            last,
            parent=str(self.start),
            parent_hash=first.parent_hash,
            preset=self._preset_name(),
            data={"prompts": settings["prompts"]},
            settings={**settings, "iteration": chosen},
            seeds={"run": self.seed},
            selection=None if self.selection is None else str(self.selection),
            cost=cost,
        )

    def _preset_name(self) -> str:
        """The preset, and in what this run departs from it: a published name is for labels by a labeler of its own."""
        departures = [
            *(["labels of its own"] if self.labeler is None else []),
            *(["claims by rules"] if isinstance(self.splitter, RuleSplitter) else []),
        ]
        return f"{self.settings.name} ({', '.join(departures)})" if departures else self.settings.name

    def _named(self, number: int) -> Progress | None:
        progress = self.progress
        if progress is None:
            return None
        return lambda what, done, total: progress(
            f"iteration {number} of {self.settings.iterations}: {what}", done, total
        )


def best_iteration(rows: Sequence[Mapping[str, Any]]) -> int:
    """The iteration with the lowest selection value, the later of equals; the last one if nothing was measured."""
    if any(row.get("selection") is None for row in rows):
        return int(rows[-1]["iteration"])
    return int(min(reversed(rows), key=lambda row: row["selection"])["iteration"])


def publish(checkpoint: Path, out: Path) -> None:
    """Put a checkpoint's files into another folder, as hard links where the file system has them."""
    for path in sorted(checkpoint.iterdir()):
        if path.name in _OWN_FILES or path.name.startswith("."):
            continue
        target = out / path.name
        target.unlink(missing_ok=True)
        try:
            os.link(path, target)
        except OSError:
            shutil.copy2(path, target)


# --- processes ----------------------------------------------------------------------------------------------------


def _first_process() -> bool:
    """False in all but one of the processes that torchrun or accelerate started."""
    return int(os.environ.get("RANK", "0")) == 0


def _wait_for_pairs(folder: Path) -> Stages:
    """The stages of a round that the first process works on, once its pairs are there; torchrun ends us if it fails."""
    while True:
        path = folder / MANIFEST
        if path.is_file():
            content = read_json(path)
            if "pairs" in content.get("stages", {}):
                return Stages(folder, content["settings"])
        time.sleep(_POLL)


def _transformers(checkpoint: Path | str) -> Engine:
    from evalkit.engines.transformers import TransformersEngine

    return TransformersEngine(checkpoint, batch_size=32)
