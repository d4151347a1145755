"""Dense DPO and plain DPO: preference pairs -> checkpoint.

RLHF-V (Yu et al. 2024, arXiv:2312.00849): the tokens that a correction changed count gamma times in the
log-probabilities that DPO compares; gamma = 1 is DPO (Rafailov et al. 2023, arXiv:2305.18290).

    pairs -> tokens -> weights of changed tokens -> reference log-probabilities (once) -> training -> folder with card
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from aligners.preference.datasets import read_preferences
from aligners.preference.dpo import DpoRow, dpo_batch, dpo_objective, usable_pairs, weighted_rows
from aligners.preference.encoding import PairEncoder, TokenPair
from aligners.preference.layouts import find_layout
from aligners.preference.pairs import Pair
from aligners.preference.reference_logps import reference_logps
from aligners.presets import DPO_PRESETS, find_preset
from aligners.quick import QuickEvaluation
from aligners.settings import DpoSettings, changed, dpo_json
from aligners.training.checkpoint import Card, rename_for_vllm
from aligners.training.evaluation import HeldOut, Probe, split_rows
from aligners.training.policy import (
    Policy,
    hash_of_start,
    load_policy,
    make_trainable,
    save_policy,
    sharded,
    trains_adapter,
    wants_bf16,
)
from aligners.training.processes.sharding import sharding_accelerator
from aligners.training.response_logps import end_token, measuring
from aligners.training.run_folder import KEPT, LOG, finished_card, read_log
from aligners.training.trainer import fit, training_arguments
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import TrainingError
from evalkit.process.progress import Progress
from evalkit.schema import Json


def dpo_settings(preset: str | DpoSettings = "ddpo-paper", **overrides: Any) -> DpoSettings:
    """Settings of a preset with some changed, e.g. dpo_settings("ddpo-paper", gamma=2.0, lora=True, seed=3).

    Raises:
        UsageError: if there is no such preset or setting.
    """
    return changed(find_preset(DPO_PRESETS, preset) if isinstance(preset, str) else preset, overrides)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A finished training run.

    checkpoint  folder of the trained model (or adapter), with card.json and training.jsonl
    seconds     wall time of training, reference log-probabilities included, over all attempts
    losses      of every logged step
    skipped     reason -> pairs left out; also remarks on pairs that stayed, marked "(kept)"
    """

    checkpoint: Path
    steps: int
    seconds: float
    losses: tuple[float, ...]
    pairs: int
    skipped: Mapping[str, int]


# --- the run ------------------------------------------------------------------------------------------------------


def train_dpo(
    start: Path | str | tuple[Any, Any],
    pairs: Sequence[Pair],
    out: Path,
    settings: DpoSettings,
    *,
    reference: Path | None = None,
    method: str = "ddpo",
    data: Mapping[str, str] | None = None,
    selection: str | None = None,
    progress: Progress | None = None,
    report_to: Sequence[str] = (),
    quick: QuickEvaluation | None = None,
) -> TrainingResult:
    """Train a model on preference pairs; the same call continues a run that was killed, or returns a finished one.

    Args:
        start: checkpoint folder or hub name, or (model, processor) in memory; that model is changed then.
        pairs: the data.
        out: becomes an ordinary checkpoint folder; see `aligners.training.run_folder` for what else lies there.
        settings: of `dpo_settings`.
        reference: folder that keeps reference log-probabilities (default: out/training).
        method, data, selection: for the card; see `aligners.training.checkpoint.Card`.
        progress: called with (stage, done, total).
        report_to: "wandb", "trackio", "tensorboard".
        quick: a benchmark on a few items every few steps.
    Raises:
        DataError, TrainingError, EngineError, UsageError: see `usable_pairs`, `training.fit`, `load_policy`.
    """
    out = Path(out)
    arguments = training_arguments(settings, out, len(pairs), report_to)  # also joins the other processes
    policy = load_policy(start, settings, arguments.device, sharding_accelerator(arguments))
    prompts = PromptEncoder(policy.processor, settings.chat_template)
    encoder = PairEncoder(prompts, end_token(prompts, policy.model))
    usable, skipped = usable_pairs(pairs, encoder, settings)
    start_hash = hash_of_start(policy, settings)
    identity = _identity(settings, start_hash, usable)
    finished = finished_run(out, identity)
    if finished is not None:
        return finished
    card = Card(
        parent=policy.parent,
        parent_hash=start_hash,
        method=method,
        preset=settings.name,
        data={"pairs": pairs_hash(pairs), **(data or {})},
        settings=dpo_json(settings),
        seeds={"training": settings.seed},
        selection=selection,
        skipped=skipped,
        adapter=trains_adapter(policy, settings),
    )
    probe = None if quick is None else quick.probe(policy.processor, out, settings.chat_template)
    _fit_pairs(policy, encoder, usable, card, out, settings, reference, identity, progress, report_to, probe)
    done = finished_run(out, identity)
    if done is None:
        raise TrainingError(f"{out}: training ended without a checkpoint")
    return done


def _fit_pairs(
    policy: Policy,
    encoder: PairEncoder,
    pairs: list[TokenPair],
    card: Card,
    out: Path,
    settings: DpoSettings,
    reference: Path | None,
    identity: Mapping[str, Json],
    progress: Progress | None,
    report_to: Sequence[str],
    probe: Probe | None,
) -> None:
    """Reference log-probabilities, training, and the checkpoint with its card, costs filled in."""
    policy = sharded(policy, settings)
    layout = find_layout(policy.model, encoder, pairs[:2])
    logps = reference_logps(
        policy.model,
        encoder,
        pairs,
        reference or out / "training",
        layout=layout,
        bf16=wants_bf16(settings),
        batch_size=settings.micro_batch_size or min(settings.batch_size, 16),
        progress=progress,
        model_hash=card.parent_hash,
    )
    card = replace(card, settings={**card.settings, "layout": str(layout)})

    def save(trainer: Any) -> None:
        cost = _cost(trainer.state, pairs, logps.seconds, read_log(out / LOG))
        save_policy(trainer, policy, out, replace(card, cost=cost))

    model = make_trainable(policy.model, settings) if policy.sharding is None else policy.model
    rows = weighted_rows(pairs, logps.pairs, settings)
    groups = [pair.prompt.images[0].name if pair.prompt.images else pair.prompt.text for pair in pairs]
    training, held = split_rows(rows, groups, settings.held_out, settings.seed)
    if settings.select == "best":
        card = replace(card, selection=f"{len(held)} held-out pairs")
    arguments = training_arguments(settings, out, len(training), report_to)
    with measuring(model):
        fit(
            model,
            training,
            partial(dpo_batch, encoder=encoder, layout=layout),
            dpo_objective(settings, layout),
            settings,
            out,
            identity=identity,
            arguments=arguments,
            progress=progress,
            report_to=report_to,
            save=save,
            held_out=_held_out(held, settings, arguments),
            probe=probe,
            keep=settings.keep_checkpoints,
        )
    if arguments.should_save:
        for kept in sorted((out / KEPT).glob("step-*")):
            policy.processor.save_pretrained(kept)
            rename_for_vllm(kept)


def _held_out(rows: list[DpoRow], settings: DpoSettings, arguments: Any) -> HeldOut | None:
    """What is measured during training, if anything."""
    if not rows:
        return None
    return HeldOut(
        rows=rows,
        batch_size=arguments.per_device_train_batch_size,
        steps=settings.eval_steps or arguments.save_steps,
        select=settings.select,
        patience=settings.patience,
    )


def _cost(state: Any, pairs: Sequence[TokenPair], seconds: float, log: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What a run took; `seconds` went into the reference log-probabilities, those of training stand in its log."""
    return {
        "pairs": len(pairs),
        "steps": state.global_step,
        "seconds": round((log[-1]["seconds"] if log else 0.0) + seconds, 3),
        "tokens": round(sum(pair.tokens for pair in pairs) * (state.epoch or 0.0)),
    }


def finished_run(out: Path, identity: Mapping[str, Json]) -> TrainingResult | None:
    """The result of a run that was finished in this folder, or None.

    Raises:
        TrainingError: if what is there is another run's.
    """
    card = finished_card(out, identity)
    if card is None:
        return None
    losses = tuple(line["loss"] for line in read_log(out / LOG))
    cost = card.cost
    return TrainingResult(out, int(cost["steps"]), cost["seconds"], losses, int(cost["pairs"]), card.skipped)


def _identity(settings: DpoSettings, start_hash: str, pairs: Sequence[TokenPair]) -> dict[str, Json]:
    content: list[Any] = [
        [p.id, p.prompt.text, [i.name for i in p.prompt.images], p.chosen_ids, p.rejected_ids] for p in pairs
    ]
    if settings.label_confidence:
        content.append([p.confidence for p in pairs])
    data = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    return {"model": start_hash, "pairs": data, **dpo_json(settings)}


def pairs_hash(pairs: Sequence[Pair]) -> str:
    """Hash of the pairs' texts and image names, 16 hex digits."""
    content = [[pair.image, pair.prompt, pair.chosen, pair.rejected] for pair in pairs]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def align_ddpo(
    model: str,
    data: str | Path,
    out: Path,
    preset: str = "ddpo-paper",
    overrides: Mapping[str, Any] | None = None,
    *,
    omissions: int = 0,
    progress: Progress | None = None,
    report_to: Sequence[str] = (),
    quick: QuickEvaluation | None = None,
) -> TrainingResult:
    """What `evalkit align ddpo` does: read pairs (see `aligners.preference.datasets`), train with a preset, save.

    Args:
        model: checkpoint folder or hub name.
        data: pairs file, RLHF-V- or RLAIF-V-Dataset rows, folder of Parquet files, a study, or a data set's name on the
            Hub.
        out: folder of the new checkpoint.
        preset: "ddpo-paper", "ddpo-release" or "dpo".
        overrides: settings to change, see `dpo_settings`.
        omissions: of a study of corrections, pairs per correction that leave an accepted sentence out; see
            `evalkit.annotation.omissions`.
        progress, report_to, quick: see `train_dpo`.
    """
    settings = dpo_settings(preset, **(overrides or {}))
    pairs = read_preferences(data, Path(out) / "training" / "images", omissions)
    return train_dpo(
        model,
        pairs,
        out,
        settings,
        data={"source": str(data)} | ({"omissions": str(omissions)} if omissions else {}),
        progress=progress,
        report_to=report_to,
        quick=quick,
    )
