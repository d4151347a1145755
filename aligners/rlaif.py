"""Online feedback from open models, the policy itself included (RLAIF-V, Yu et al. 2024, arXiv:2405.17220).

    for each iteration: candidates -> claims -> judgements -> pairs -> DPO -> next policy, which is the next reference

In the folder of a run:

    rlaif.json            settings, seed, hash of the prompts; who played which role
    iteration_1/          candidates.jsonl claims.jsonl judgements.jsonl pairs.jsonl stages.json checkpoint/
    iterations.jsonl      one line per finished iteration: counts, scores, lengths, labels, training, seconds
    config.json, ...      the chosen iteration's checkpoint with the card of the whole run

The same call continues after a kill; finished work is not repeated. Each stage can also be a process of its own, on
another machine or device than the others, see `RlaifRun.stage`. The label is a count of refuted claims, so shorter
responses win by themselves: lengths stand in every line of iterations.jsonl, and the released length balance is on.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aligners.ddpo import TrainingResult, train_dpo
from aligners.feedback.instructions import Instruction, instructions_hash, read_instructions, rounds
from aligners.feedback.labeling import LABELER_WORDING
from aligners.feedback.roles import OnDemand, rest
from aligners.feedback.round import OWN_LABELS, SAMPLING, Oracle, Round, Statistics, collect_pairs, part_seed
from aligners.feedback.run_file import claim_run, note_role, roles_of
from aligners.feedback.selection import Selection, best_iteration
from aligners.feedback.splitting import RuleSplitter, Splitter
from aligners.presets import RLAIF_PRESETS, find_preset
from aligners.settings import RlaifSettings, changed, dpo_json, feedback_json
from aligners.training.checkpoint import Card, read_card, write_card
from aligners.training.run_folder import LOG, publish, read_log
from aligners.training.stages import MANIFEST, Stages
from evalkit.engines.base import Engine
from evalkit.errors import RecordError, TrainingError, UsageError
from evalkit.process.progress import Progress
from evalkit.runs.lock import locked
from evalkit.runs.records import Journal, read_journal, read_json
from evalkit.schema import Json

TRAINING = "training"
STAGES = (*SAMPLING, TRAINING)
ITERATIONS = "iterations.jsonl"
_POLL = 1.0  # seconds between two looks of a process that waits for the first one


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


def rlaif_run(
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
    launch: Callable[[int], None] | None = None,
) -> "RlaifRun":
    """A run that aligns a checkpoint with feedback on its own responses; nothing is done yet.

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
        launch: trains an iteration in processes of its own, see `RlaifRun`.
    Raises:
        DataError: if prompts or images are missing or malformed.
        UsageError: if there is no such preset or setting.
    """
    return RlaifRun(
        start=start,
        instructions=read_instructions(prompts) if isinstance(prompts, Path | str) else list(prompts),
        out=Path(out),
        settings=rlaif_settings(preset, overrides),
        labeler=labeler,
        splitter=splitter or RuleSplitter(),
        wording=wording,
        seed=seed,
        open_engine=open_engine or _transformers,
        selection=selection,
        oracle=oracle,
        progress=progress,
        report_to=tuple(report_to),
        launch=launch,
    )


def align_rlaif(
    start: Path | str,
    prompts: Path | Sequence[Instruction],
    out: Path,
    preset: str | RlaifSettings = "rlaifv",
    overrides: Mapping[str, Any] | None = None,
    **options: Any,
) -> RlaifResult:
    """Align a checkpoint with feedback on its own responses; the same call continues or returns what is finished.

    Under torchrun or accelerate the first process samples and labels, and all of them train.

    Args:
        start, prompts, out, preset, overrides, options: see `rlaif_run`.
    Raises:
        DataError: if prompts or images are missing or malformed.
        RecordError: if `out` is in use or holds a run with other settings.
        TrainingError: if an iteration has no pair left, or training fails.
        StoppedError: after a signal.
    """
    return rlaif_run(start, prompts, out, preset, overrides, **options).go()


@dataclass(frozen=True, slots=True)
class StageResult:
    """A stage that is done: of which iteration, and what comes next (None: the run is finished)."""

    iteration: int
    stage: str
    following: tuple[int, str] | None


@dataclass(frozen=True, kw_only=True)
class RlaifRun:
    """A run of online feedback, whole or a stage at a time; see `rlaif_run` for the fields.

    launch   trains the iteration of that number, e.g. as `torchrun ... --stage training` would: this process holds
             no model meanwhile and does not lock the folder
    """

    start: Path | str
    instructions: Sequence[Instruction]
    out: Path
    settings: RlaifSettings
    labeler: Engine | None
    splitter: Splitter
    wording: str
    seed: int
    open_engine: Callable[[Path | str], Engine]
    selection: Selection | None = None
    oracle: Oracle | None = None
    progress: Progress | None = None
    report_to: tuple[str, ...] = ()
    launch: Callable[[int], None] | None = None

    def go(self) -> RlaifResult:
        """All iterations, then the choice among them."""
        numbers = range(1, self.settings.iterations + 1)
        with self._held():
            settings = self._claimed()
            if self.launch is None:
                for number in numbers:
                    if number not in self._finished():
                        self._iteration(number, TRAINING, settings)
                return self._finish(settings)
        for number in numbers:
            if number in self._finished():
                continue
            with self._held():
                self._iteration(number, SAMPLING[-1], settings)
            self.launch(number)
            if number not in self._finished():
                raise TrainingError(f"{self.out}: iteration {number} was launched and ended without a checkpoint")
        with self._held():
            return self._finish(settings)

    def stage(self, name: str, number: int | None = None) -> StageResult:
        """One stage of an iteration, whose earlier stages are finished; no model but those of the stage is opened.

        Args:
            name: one of STAGES.
            number: of the iteration, from 1 (default: the first that is not finished).
        Raises:
            RecordError: if an earlier stage or iteration is not finished; and see `align_rlaif`.
        """
        with self._held():
            settings = self._claimed()
            finished = self._finished()
            number = number or min(len(finished) + 1, self.settings.iterations)
            if number > self.settings.iterations:
                raise UsageError(f"there are {self.settings.iterations} iterations, not {number}")
            if number not in finished:
                self._check_earlier(name, number)
                self._iteration(number, name, settings)
            if len(self._finished()) == self.settings.iterations:
                self._finish(settings)
        return StageResult(number, name, self._following(name, number))

    def _following(self, name: str, number: int) -> tuple[int, str] | None:
        if name != TRAINING:
            return number, STAGES[STAGES.index(name) + 1]
        return None if number == self.settings.iterations else (number + 1, STAGES[0])

    def _check_earlier(self, name: str, number: int) -> None:
        lacking = [(earlier, TRAINING) for earlier in range(1, number) if earlier not in self._finished()]
        path = self._folder(number) / MANIFEST
        done = read_json(path).get("stages", {}) if path.is_file() else {}
        lacking += [(number, stage) for stage in STAGES[: STAGES.index(name)] if stage not in done]
        if lacking:
            earlier, stage = lacking[0]
            raise RecordError(
                f"{self.out}: iteration {earlier} has no {stage} yet, and {name} need them; "
                f"run --stage {stage} --iteration {earlier} first"
            )

    def _held(self) -> AbstractContextManager[None]:
        return locked(self.out) if _first_process() else nullcontext()

    def _folder(self, number: int) -> Path:
        return self.out / f"iteration_{number}"

    def _finished(self) -> dict[int, Mapping[str, Any]]:
        """Lines of iterations.jsonl by number."""
        return {int(row["iteration"]): row for row in read_journal(self.out / ITERATIONS)}

    def _claimed(self) -> dict[str, Json]:
        """What determines the run's results and is known without opening a model; checked against the folder."""
        if not self.instructions:
            raise TrainingError("no prompts to sample responses to")
        settings: dict[str, Json] = {
            "start": str(self.start),
            "prompts": instructions_hash(self.instructions),
            "preset": feedback_json(self.settings),
            "training": dpo_json(self.settings),
            "wording": self.wording,
            "seed": self.seed,
            "selection": None if self.selection is None else str(self.selection),
        }
        if _first_process():
            claim_run(self.out, settings)
            if self.labeler is None:
                note_role(self.out, "labeler", OWN_LABELS)
            if isinstance(self.splitter, RuleSplitter):
                note_role(self.out, "splitter", dict(self.splitter.describe()))
        return settings

    def _iteration(self, number: int, until: str, settings: Mapping[str, Json]) -> None:
        """One iteration up to a stage."""
        folder = self._folder(number)
        policy = self.start if number == 1 else self._folder(number - 1) / "checkpoint"
        asked = rounds(self.instructions, self.settings.prompts_per_round, number, self.seed)
        round_seed = part_seed(self.seed, "iteration", number)
        if _first_process():
            stages = Stages(folder, {**settings, "iteration": number, "round_seed": round_seed})
        else:
            stages = _wait_for_pairs(folder)
        lazy = OnDemand(lambda: self.open_engine(policy), "policy")

        def note(role: str, identity: Json) -> None:
            if role != "policy":
                note_role(self.out, role, identity)
            elif number == 1:  # later ones are the run's own
                note_role(self.out, role, identity.get("content") or identity)

        work = Round(
            asked, self.settings, round_seed, lazy, self.labeler, self.splitter, self.wording, self.oracle, note
        )
        try:
            collected = collect_pairs(work, stages, self._named(number), until if until in SAMPLING else SAMPLING[-1])
        finally:
            for role in (lazy, self.labeler, self.splitter):  # their memory is needed for training
                rest(role)
        if collected is None or until != TRAINING:
            return
        pairs, statistics = collected
        seed = self.settings.seed
        own = part_seed(round_seed, "training", *([seed] if seed else []))  # as it was where no seed is given
        result = train_dpo(
            policy,
            pairs,
            folder / "checkpoint",
            replace(self.settings, seed=own),
            method="rlaif",
            data={"prompts": instructions_hash(asked)},
            progress=self._named(number),
            report_to=self.report_to,
        )
        if _first_process():
            self._note(number, len(asked), stages, statistics, result)

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
        finished = self._finished()
        rows = [finished[number] for number in range(1, self.settings.iterations + 1)]
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
            settings={**settings, **roles_of(self.out), "iteration": chosen},
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
