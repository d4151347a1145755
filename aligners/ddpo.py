"""Dense DPO and plain DPO: preference pairs -> checkpoint.

RLHF-V (Yu et al. 2024, arXiv:2312.00849): the tokens that a correction changed count gamma times in the
log-probabilities that DPO compares; gamma = 1 is DPO (Rafailov et al. 2023, arXiv:2305.18290).

    pairs -> tokens -> weights of changed tokens -> reference log-probabilities (once) -> training -> folder with card
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from aligners.preference.datasets import read_preferences
from aligners.preference.dpo import dpo_batch, dpo_objective, usable_pairs, weighted_rows
from aligners.preference.encoding import PairEncoder, TokenPair
from aligners.preference.layouts import find_layout
from aligners.preference.pairs import Pair
from aligners.preference.reference_logps import reference_logps
from aligners.presets import DPO_PRESETS, DpoPreset, find_preset
from aligners.training.checkpoint import Card, weights_hash
from aligners.training.policy import Policy, load_policy, make_trainable, save_policy, trains_adapter
from aligners.training.response_logps import end_token, scoring
from aligners.training.run_folder import LOG, finished_card, read_log
from aligners.training.settings import TrainingSettings, check_kinds
from aligners.training.trainer import fit, training_arguments, wants_bf16
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import TrainingError, UsageError
from evalkit.process.progress import Progress
from evalkit.schema import Json

_OF_PRESET = {field.name for field in fields(DpoPreset)} - {"name", "sources"}
_OF_TRAINING = {field.name for field in fields(TrainingSettings)}
_OTHERS = {"chat_template", "bad_images"}
DPO_SETTINGS = _OF_PRESET | _OF_TRAINING | _OTHERS  # what `dpo_settings` can change
_PRESET_FIELDS_OF_TRAINING = ("learning_rate", "warmup_ratio", "weight_decay", "batch_size", "epochs")


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoSettings:
    """Loss settings (a preset, perhaps altered), training settings, and what to do with unfit pairs.

    chat_template     Jinja text that replaces the checkpoint's own
    bad_images        "error" or "skip": pairs whose image does not open
    """

    preset: DpoPreset
    training: TrainingSettings
    chat_template: str | None = None
    bad_images: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        check_kinds(self)


def dpo_settings(preset: str | DpoPreset = "ddpo-paper", **overrides: Any) -> DpoSettings:
    """Settings of a preset with some changed, e.g. dpo_settings("ddpo-paper", gamma=2.0, lora=True, seed=3).

    Raises:
        UsageError: if there is no such preset or setting.
    """
    base = find_preset(DPO_PRESETS, preset) if isinstance(preset, str) else preset
    unknown = sorted(set(overrides) - DPO_SETTINGS)
    if unknown:
        raise UsageError(f"unknown settings {', '.join(unknown)}; known: {', '.join(sorted(DPO_SETTINGS))}")
    base = replace(base, **{name: value for name, value in overrides.items() if name in _OF_PRESET})
    shared = {name: getattr(base, name) for name in _PRESET_FIELDS_OF_TRAINING}
    chosen = {name: value for name, value in overrides.items() if name in _OF_TRAINING}
    return DpoSettings(
        preset=base,
        training=TrainingSettings(**(shared | chosen)),
        **{name: value for name, value in overrides.items() if name in _OTHERS},
    )


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
    image_folder: Path = Path("."),
    reference: Path | None = None,
    method: str = "ddpo",
    data: Mapping[str, str] | None = None,
    selection: str | None = None,
    progress: Progress | None = None,
    report_to: Sequence[str] = (),
) -> TrainingResult:
    """Train a model on preference pairs; the same call continues a run that was killed, or returns a finished one.

    Args:
        start: checkpoint folder or hub name, or (model, processor) in memory; that model is changed then.
        pairs: the data.
        out: becomes an ordinary checkpoint folder; see `aligners.training.run_folder` for what else lies there.
        settings: of `dpo_settings`.
        image_folder: where relative image paths of pairs begin.
        reference: folder that keeps reference log-probabilities (default: out/training).
        method, data, selection: for the card; see `aligners.training.checkpoint.Card`.
        progress: called with (stage, done, total).
        report_to: "wandb", "trackio", "tensorboard".
    Raises:
        DataError, TrainingError, EngineError, UsageError: see `usable_pairs`, `training.fit`, `load_policy`.
    """
    out = Path(out)
    arguments = training_arguments(settings.training, out, len(pairs), report_to)  # also joins the other processes
    policy = load_policy(start, settings.training, arguments.device)
    prompts = PromptEncoder(policy.processor, settings.chat_template)
    encoder = PairEncoder(prompts, end_token(prompts, policy.model))
    usable, skipped = usable_pairs(pairs, encoder, image_folder, settings.preset, settings.bad_images)
    start_hash = weights_hash(policy.model)
    identity = _identity(settings, start_hash, usable)
    finished = finished_run(out, identity)
    if finished is not None:
        return finished
    card = Card(
        parent=policy.parent,
        parent_hash=start_hash,
        method=method,
        preset=settings.preset.name,
        data={"pairs": pairs_hash(pairs), **(data or {})},
        settings=settings_json(settings),
        seeds={"training": settings.training.seed},
        selection=selection,
        skipped=skipped,
        adapter=trains_adapter(policy, settings.training),
    )
    _fit_pairs(policy, encoder, usable, card, out, settings, reference, identity, progress, report_to)
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
) -> None:
    """Reference log-probabilities, training, and the checkpoint with its card, costs filled in."""
    layout = find_layout(policy.model, encoder, pairs[:2])
    logps = reference_logps(
        policy.model,
        encoder,
        pairs,
        reference or out / "training",
        layout=layout,
        bf16=wants_bf16(settings.training),
        batch_size=settings.training.micro_batch_size or min(settings.training.batch_size, 16),
        progress=progress,
        model_hash=card.parent_hash,
    )
    card = replace(card, settings={**card.settings, "layout": str(layout)})

    def save(trainer: Any) -> None:
        cost = _cost(trainer.state, pairs, logps.seconds, read_log(out / LOG))
        save_policy(trainer, policy, out, replace(card, cost=cost))

    model = make_trainable(policy.model, settings.training)
    with scoring(model):
        fit(
            model,
            weighted_rows(pairs, logps.pairs, settings.preset),
            lambda rows: dpo_batch(rows, encoder, layout),
            dpo_objective(settings.preset, layout),
            settings.training,
            out,
            identity=identity,
            arguments=training_arguments(settings.training, out, len(pairs), report_to),
            progress=progress,
            report_to=report_to,
            save=save,
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
    content = [[p.id, p.prompt.text, [i.name for i in p.prompt.images], p.chosen_ids, p.rejected_ids] for p in pairs]
    data = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    return {"model": start_hash, "pairs": data, **settings_json(settings)}


def settings_json(settings: DpoSettings) -> dict[str, Json]:
    """All settings, flat, without the sources of constants."""
    preset = {name: value for name, value in asdict(settings.preset).items() if name != "sources"}
    shared = {name: preset.pop(name) for name in _PRESET_FIELDS_OF_TRAINING}
    preset["preset"] = preset.pop("name")
    return {**shared, **preset, **asdict(settings.training), "chat_template": settings.chat_template}


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
    progress: Progress | None = None,
    report_to: Sequence[str] = (),
) -> TrainingResult:
    """What `evalkit align ddpo` does: read pairs (see `aligners.preference.datasets`), train with a preset, save.

    Args:
        model: checkpoint folder or hub name.
        data: pairs file, RLHF-V- or RLAIF-V-Dataset rows, folder of Parquet files, or a data set's name on the Hub.
        out: folder of the new checkpoint.
        preset: "ddpo-paper", "ddpo-release" or "dpo".
        overrides: settings to change, see `dpo_settings`.
        progress, report_to: see `train_dpo`.
    """
    settings = dpo_settings(preset, **(overrides or {}))
    pairs, image_folder = read_preferences(data, Path(out) / "training" / "images")
    return train_dpo(
        model,
        pairs,
        out,
        settings,
        image_folder=image_folder,
        data={"source": str(data)},
        progress=progress,
        report_to=report_to,
    )
