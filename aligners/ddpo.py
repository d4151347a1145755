"""Dense DPO and plain DPO: preference pairs -> checkpoint.

RLHF-V (Yu et al. 2024, arXiv:2312.00849): the tokens that a correction changed count gamma times in the
log-probabilities that DPO compares; gamma = 1 is DPO (Rafailov et al. 2023, arXiv:2305.18290).

    pairs -> tokens -> weights of changed tokens -> reference log-probabilities (once) -> training -> folder with card
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from aligners.changed import changed_spans, token_weights
from aligners.checkpoint import Card, merged, rename_for_vllm, save_checkpoint, weights_hash, write_card
from aligners.datasets import read_preferences
from aligners.encoding import Layout, PairBatch, PairEncoder, TokenPair, end_token
from aligners.logprobs import spread_rows
from aligners.losses import dpo_loss, sequence_logps, with_nll
from aligners.pairs import Pair
from aligners.presets import DPO_PRESETS, DpoPreset, find_preset
from aligners.reference_logps import PairLogps, Progress, reference_logps
from aligners.run_folder import LOG, finished_card, read_log
from aligners.scoring import find_layout, move, response_logps, scoring
from aligners.trainable import make_trainable, wants_lora
from aligners.training import TrainingSettings, fit, training_arguments
from evalkit.engines.encoding import PromptEncoder
from evalkit.engines.loading import load_checkpoint
from evalkit.errors import DataError, TrainingError, UsageError
from evalkit.images import ImageFile
from evalkit.schema import Json

_PRESET_FIELDS_OF_TRAINING = ("learning_rate", "warmup_ratio", "weight_decay", "batch_size", "epochs")
UNCHANGED_CHOSEN = "no changed token in chosen (kept)"


@dataclass(frozen=True, slots=True, kw_only=True)
class DpoSettings:
    """Loss settings (a preset, perhaps altered), training settings, and what to do with unfit pairs.

    chat_template     Jinja text that replaces the checkpoint's own
    bad_images        "error" or "skip": pairs whose image does not open
    """

    preset: DpoPreset
    training: TrainingSettings
    chat_template: str | None = None
    bad_images: str = "error"


def dpo_settings(preset: str | DpoPreset = "ddpo-paper", **overrides: Any) -> DpoSettings:
    """Settings of a preset with some changed, e.g. dpo_settings("ddpo-paper", gamma=2.0, lora=True, seed=3).

    Raises:
        UsageError: if there is no such preset or setting.
    """
    base = find_preset(DPO_PRESETS, preset) if isinstance(preset, str) else preset
    own = {field.name for field in fields(DpoPreset)} - {"name", "sources"}
    training = {field.name for field in fields(TrainingSettings)}
    rest = {"chat_template", "bad_images"}
    unknown = sorted(set(overrides) - own - training - rest)
    if unknown:
        raise UsageError(f"unknown settings {', '.join(unknown)}; known: {', '.join(sorted(own | training | rest))}")
    base = replace(base, **{name: value for name, value in overrides.items() if name in own})
    shared = {name: getattr(base, name) for name in _PRESET_FIELDS_OF_TRAINING}
    chosen = {name: value for name, value in overrides.items() if name in training}
    return DpoSettings(
        preset=base,
        training=TrainingSettings(**(shared | chosen)),
        **{name: value for name, value in overrides.items() if name in rest},
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


@dataclass(frozen=True, slots=True)
class DpoRow:
    """A pair ready for training: tokens, their weights, their reference log-probabilities."""

    tokens: TokenPair
    chosen_weights: Sequence[float]
    rejected_weights: Sequence[float]
    reference: PairLogps


@dataclass(frozen=True, slots=True)
class DpoBatch:
    """Pairs as tensors; `weights` and `reference` are (2n, L): rows chosen 1..n, then rejected 1..n."""

    pairs: PairBatch
    weights: Tensor
    reference: Tensor

    def to(self, device: torch.device) -> "DpoBatch":
        """The batch on another device."""
        return DpoBatch(move(self.pairs, device), self.weights.to(device), self.reference.to(device))


# --- pairs --------------------------------------------------------------------------------------------------------


def usable_pairs(
    pairs: Sequence[Pair], encoder: PairEncoder, image_folder: Path, settings: DpoSettings
) -> tuple[list[TokenPair], dict[str, int]]:
    """Token pairs that can be trained on, and how many were left out for which reason.

    Left out: an empty response, twice the same text or tokens, more than `max_length` tokens of prompt and response, an
    image that does not open (if the settings say so). A pair in which nothing of the *chosen* response changed (a pure
    deletion) stays and is counted.

    Raises:
        DataError: if an image does not open and the settings do not say to skip it.
        TrainingError: if nothing is left.
    """
    if settings.bad_images not in ("error", "skip"):
        raise UsageError(f"bad_images is 'error' or 'skip', not {settings.bad_images!r}")
    counts: dict[str, int] = {}
    kept: list[TokenPair] = []
    candidates = [(pair, encoder.tokenize(pair, image_folder)) for pair in pairs]
    longest = _length_measure(encoder)
    with ThreadPoolExecutor() as pool:
        problems = list(pool.map(_image_problem, (tokens for _, tokens in candidates)))
    for (pair, tokens), problem in zip(candidates, problems, strict=True):
        reason = pair.defect()
        if reason is None and tokens.chosen_ids == tokens.rejected_ids:
            reason = "chosen and rejected are the same tokens"
        if reason is None and problem is not None:
            if settings.bad_images == "error":
                raise DataError(f"pair {pair.id!r}: {problem} (set bad_images to 'skip' to leave such pairs out)")
            reason = "image does not open"
        if reason is None and longest(tokens) > settings.preset.max_length:
            reason = f"longer than {settings.preset.max_length} tokens"
        if reason is None:
            kept.append(tokens)
            spans = changed_spans(tokens.rejected_ids, tokens.chosen_ids, settings.preset.diff)
            reason = None if any(span.chosen for span in spans) else UNCHANGED_CHOSEN
        if reason is not None:
            counts[reason] = counts.get(reason, 0) + 1
    if not kept:
        raise TrainingError(f"no pair is left to train on, of {len(pairs)}: {counts or 'there were none'}")
    return kept, counts


def _length_measure(encoder: PairEncoder) -> Callable[[TokenPair], int]:
    """Tokens of a pair's prompt and longer response; prompts of one text and image size are encoded once."""
    known: dict[tuple[str, tuple[tuple[int, int], ...]], int] = {}

    def measure(pair: TokenPair) -> int:
        key = (pair.prompt.text, tuple(image_size(image) for image in pair.prompt.images))
        if key not in known:
            known[key] = encoder.prompt_tokens(pair.prompt)
        return known[key] + max(len(pair.chosen_ids), len(pair.rejected_ids))

    return measure


def image_size(image: ImageFile) -> tuple[int, int]:
    """Width and height by the file's header, pixels."""
    with Image.open(image.path) as opened:
        return opened.size


def _image_problem(pair: TokenPair) -> str | None:
    try:
        for image in pair.prompt.images:
            image.open()
    except DataError as error:
        return str(error)
    return None


def weighted_rows(pairs: Sequence[TokenPair], logps: Sequence[PairLogps], preset: DpoPreset) -> list[DpoRow]:
    """Attach token weights and reference log-probabilities."""
    rows = []
    for pair, reference in zip(pairs, logps, strict=True):
        rejected, chosen = token_weights(pair.rejected_ids, pair.chosen_ids, preset.gamma, preset.diff)
        rows.append(DpoRow(pair, chosen, rejected, reference))
    return rows


def dpo_batch(rows: Sequence[DpoRow], encoder: PairEncoder, layout: Layout) -> DpoBatch:
    """Rows as one batch."""
    batch = encoder.batch([row.tokens for row in rows], layout)
    weights = [row.chosen_weights for row in rows] + [row.rejected_weights for row in rows]
    reference = [row.reference.chosen for row in rows] + [row.reference.rejected for row in rows]
    longest = max(map(len, weights))
    mask = torch.arange(longest) < torch.tensor([len(row) for row in weights])[:, None]
    return DpoBatch(batch, spread_rows(weights, mask), spread_rows([row.tolist() for row in reference], mask))


# --- loss ---------------------------------------------------------------------------------------------------------


def dpo_objective(preset: DpoPreset, layout: Layout) -> Callable[[Any, DpoBatch], tuple[Tensor, Mapping[str, Tensor]]]:
    """The loss function of a preset, for `training.fit`."""

    def objective(model: Any, batch: DpoBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        logps, mask = response_logps(model, batch.pairs, layout)
        policy = sequence_logps(logps, mask, batch.weights, average=preset.average)
        reference = sequence_logps(batch.reference, mask, batch.weights, average=preset.average)
        half = len(policy) // 2
        found = dpo_loss(policy[:half], policy[half:], reference[:half], reference[half:], preset.beta)
        mean_chosen = sequence_logps(logps[:half], mask[:half], average=True)
        lengths = mask.sum(-1).float()
        metrics = {
            "accuracy": found.accuracies,
            "margin": found.margins,
            "chosen_reward": found.chosen_rewards,
            "rejected_reward": found.rejected_rewards,
            "chosen_nll": -mean_chosen.detach(),
            "chosen_tokens": lengths[:half],
            "rejected_tokens": lengths[half:],
            # mean of log pi - log pi_ref over the pair's tokens: how far the policy has moved on this data
            "log_ratio": ((logps.detach() - batch.reference) * mask).sum(-1).view(2, -1).sum(0)
            / lengths.view(2, -1).sum(0),
        }
        return with_nll(found.losses, mean_chosen, preset.nll_weight), metrics

    return objective


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
        out: becomes an ordinary checkpoint folder; see `aligners.run_folder` for what else lies there.
        settings: of `dpo_settings`.
        image_folder: where relative image paths of pairs begin.
        reference: folder that keeps reference log-probabilities (default: out/training).
        method, data, selection: for the card; see `aligners.checkpoint.Card`.
        progress: called with (stage, done, total).
        report_to: "wandb", "trackio", "tensorboard".
    Raises:
        DataError, TrainingError, EngineError, UsageError: see `usable_pairs`, `training.fit`, `load_checkpoint`.
    """
    out = Path(out)
    arguments = training_arguments(settings.training, out, len(pairs), report_to)  # also joins the other processes
    begin = _start(start, settings, arguments.device)
    model, processor = begin.model, begin.processor
    encoder = PairEncoder(prompts := PromptEncoder(processor, settings.chat_template), end_token(prompts, model))
    usable, skipped = usable_pairs(pairs, encoder, image_folder, settings)
    start_hash = weights_hash(model)
    identity = _identity(settings, start_hash, usable)
    finished = finished_run(out, identity)
    if finished is not None:
        return finished
    if (lora := wants_lora(model, settings.training)) and begin.source is None and not settings.training.merge_adapter:
        raise UsageError("an adapter of a model in memory, or of a merged one, has no base to name: set merge_adapter")
    layout = find_layout(model, encoder, usable[:2])
    logps = reference_logps(
        model,
        encoder,
        usable,
        reference or out / "training",
        layout=layout,
        batch_size=settings.training.micro_batch_size or min(settings.training.batch_size, 16),
        progress=progress,
        model_hash=start_hash,
    )
    arguments = training_arguments(settings.training, out, len(usable), report_to)
    model = make_trainable(model, settings.training)
    tokens = sum(pair.tokens for pair in usable)

    def save(trainer: Any) -> None:
        log = read_log(out / LOG)
        cost = {
            "pairs": len(usable),
            "steps": trainer.state.global_step,
            "seconds": round((log[-1]["seconds"] if log else 0.0) + logps.seconds, 3),
            "tokens": round(tokens * (trainer.state.epoch or 0.0)),
        }
        card = Card(
            parent=begin.parent,
            parent_hash=start_hash,
            method=method,
            preset=settings.preset.name,
            data={"pairs": pairs_hash(pairs), **(data or {})},
            settings=settings_json(settings) | {"layout": str(layout)},
            seeds={"training": settings.training.seed},
            selection=selection,
            cost=cost,
            skipped=skipped,
            adapter=lora and not settings.training.merge_adapter,
        )
        _save(trainer, processor, out, card, begin.dtype)

    with scoring(model):
        fit(
            model,
            weighted_rows(usable, logps.pairs, settings.preset),
            lambda rows: dpo_batch(rows, encoder, layout),
            dpo_objective(settings.preset, layout),
            settings.training,
            out,
            identity=identity,
            arguments=arguments,
            progress=progress,
            report_to=report_to,
            save=save,
        )
    done = finished_run(out, identity)
    if done is None:
        raise TrainingError(f"{out}: training ended without a checkpoint")
    return done


@dataclass(frozen=True, slots=True)
class _Start:
    """The model that training begins with.

    source  folder or hub name whose weights these are; None for a model in memory and for a merged adapter, which an
            adapter could not name as its base
    parent  for the card; dtype: in which the weights are stored, and the trained ones will be
    """

    model: Any
    processor: Any
    source: str | None
    parent: str
    dtype: torch.dtype


def _start(start: Path | str | tuple[Any, Any], settings: DpoSettings, device: torch.device) -> _Start:
    """Load what is to be trained; full training keeps float32 weights, whatever is stored."""
    if isinstance(start, tuple):
        model, processor = start
        return _Start(model, processor, None, "a model in memory", model.dtype)
    checkpoint = load_checkpoint(start, dtype="auto", device=str(device))
    model, dtype = merged(checkpoint.model), checkpoint.model.dtype
    if not wants_lora(model, settings.training):
        model = model.float()
    source = str(start) if checkpoint.adapter is None else None
    return _Start(model, checkpoint.processor, source, str(start), dtype)


def _save(trainer: Any, processor: Any, out: Path, card: Card, dtype: torch.dtype) -> None:
    """Write the trained model; with sharded weights the Trainer gathers them, on every process."""
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        trainer.save_model(str(out))
        if trainer.args.should_save:
            processor.save_pretrained(out)
            rename_for_vllm(out)
            write_card(out, card)
    elif trainer.args.should_save:
        model = trainer.accelerator.unwrap_model(trainer.model)
        model = model if card.adapter else merged(model)
        save_checkpoint(model.to(dtype), processor, out, card)
    trainer.accelerator.wait_for_everyone()


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
    """Hash of the pairs' texts and image names, 16 hexadecimals."""
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
    """What `evalkit align ddpo` does: read pairs (see `aligners.datasets`), train with a preset, save.

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
