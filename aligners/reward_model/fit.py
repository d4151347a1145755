"""The reward model of fact-augmented RLHF: trained on comparisons, measured on held-out images, saved, loaded.

LLaVA-RLHF (Sun et al. 2023, arXiv:2309.14525): loss -log sigmoid(preferred - other) plus a small pull to zero. Facts
are shown in a new order at every use. The folder holds an ordinary checkpoint (or adapter), `reward_head.safetensors`
and `accuracy.json`: the held-out accuracy with facts and with the facts taken away, each with its interval.
A batch counts groups of comparisons (see `aligners.reward_model.comparisons`). Started by torchrun or accelerate it is
divided over their processes; the first one measures and saves. Differs from the released code: the learning rate
follows a cosine.
"""

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aligners.losses import reward_model_loss
from aligners.reward_model.comparisons import (
    Comparison,
    Group,
    comparisons_hash,
    group_comparisons,
    rating_batch,
    ratings_of,
    split_held_out,
    usable_comparisons,
)
from aligners.reward_model.facts import Facts, facts_hash, rating_conversation
from aligners.reward_model.model import ImageOpener, Rating, RatingBatch, RatingEncoder, RatingStyle, RewardModel
from aligners.training.checkpoint import Card, folded, save_checkpoint, weights_hash
from aligners.training.policy import load_policy, make_trainable, wants_lora
from aligners.training.response_logps import bare
from aligners.training.run_folder import finished_card
from aligners.training.settings import LOADING, TrainingSettings, check_range
from aligners.training.trainer import fit, process_share, training_arguments
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.model.loading import load_checkpoint
from evalkit.engines.served.groups import together
from evalkit.errors import DataError, TrainingError, UsageError
from evalkit.files.atomic import replace_text
from evalkit.files.json_values import json_value
from evalkit.images import ImageFile
from evalkit.metrics import Metric
from evalkit.process.progress import Progress, as_stage
from evalkit.schema import Json, Prompt
from evalkit.statistics.intervals import Interval, interval

SHARED_ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-4}  # of a reward, by the precision of the backbone
SHARED_HALF_ROUNDING = 0.03
HEAD, ACCURACY = "reward_head.safetensors", "accuracy.json"
_ACCURACIES = ("accuracy", "accuracy_no_facts")  # with facts, without; the second is None where there are none
_METRIC = Metric("accuracy", "100 * right / pairs", higher_is_better=True, role="rate")


@dataclass(frozen=True, kw_only=True)
class RewardModelSettings(TrainingSettings):
    """How a reward model is trained; epochs count passes over the comparisons.

    centre_weight   pull of the rewards towards zero; 1e-3 in LLaVA-RLHF
    held_out        comparisons kept for measuring (whole images), at most a fifth of all
    missing_facts   "error" or "skip": comparisons whose image has no facts; PPO's prompts alike
    bad_images      "error" or "skip": comparisons whose image does not open; PPO's prompts alike
    """

    centre_weight: float = 1e-3
    held_out: int = 500
    missing_facts: Literal["error", "skip"] = "error"
    bad_images: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        check_range(self, "held_out", inclusive=True)


def reward_model_json(settings: RewardModelSettings) -> dict[str, Json]:
    """Settings as they stand on cards and in a run's folder: those of training, and the model's own beside them."""
    training = {field.name for field in fields(TrainingSettings)}
    whole = {name: value for name, value in asdict(settings).items() if name not in LOADING or value is not None}
    return {
        "training": {name: whole[name] for name in sorted(training & whole.keys())},
        **{name: value for name, value in whole.items() if name not in training},
    }


@dataclass(frozen=True, slots=True)
class RewardModelResult:
    """A trained reward model.

    accuracy           held-out comparisons whose preferred response earns more, percent, as it was trained
    accuracy_no_facts  the same model with the facts taken out of its prompt; None if it was trained without
    pairs              comparisons trained on
    skipped            reason -> comparisons left out
    """

    folder: Path
    accuracy: Interval
    accuracy_no_facts: Interval | None
    pairs: int
    held_out: int
    seconds: float
    skipped: Mapping[str, int]


# --- training -----------------------------------------------------------------------------------------------------


def train_reward_model(
    start: Path | str,
    comparisons: Sequence[Comparison],
    out: Path,
    settings: RewardModelSettings,
    *,
    facts: Facts | None,
    style: RatingStyle = rating_conversation,
    open_image: ImageOpener = ImageFile.open,
    progress: Progress | None = None,
    report_to: Sequence[str] = (),
) -> RewardModelResult:
    """Train a reward model; the same call continues a run that was killed, or returns a finished one.

    Args:
        start: checkpoint of the backbone.
        comparisons: the data.
        out: becomes the reward model's folder.
        settings: how to train.
        facts: image file name -> true sentences; None trains without.
        style, open_image: see RatingEncoder; a reward model must be used with the style it was trained with.
        progress: called with (stage, done, total).
        report_to: "wandb", "trackio", "tensorboard".
    Raises:
        DataError, TrainingError, EngineError: see `usable_comparisons`, `training.fit`, `load_checkpoint`.
    """
    out, begin = Path(out), time.perf_counter()
    arguments = training_arguments(settings, out, len(comparisons))  # also joins the other processes
    usable, skipped = usable_comparisons(comparisons, facts, settings.missing_facts, settings.bad_images)
    seed = settings.seed
    training, held = split_held_out(usable, settings.held_out, seed)
    policy = load_policy(start, settings, arguments.device)
    model, processor = policy.model, policy.processor
    start_hash = weights_hash(model)
    identity = {
        "model": start_hash,
        "comparisons": comparisons_hash(usable),
        "facts": facts_hash(facts),
        **reward_model_json(settings),
    }
    done = _finished(out, identity)
    if done is not None:
        return done
    lora = wants_lora(model, settings)
    reward_model = _new_model(model, settings)
    encoder = RatingEncoder(PromptEncoder(processor), style, open_image)
    epochs = range(math.ceil(settings.epochs))
    rows = [group_comparisons(training, facts, seed=seed, use=str(epoch)) for epoch in epochs]
    _fit_groups(reward_model, encoder, rows, settings, out, identity, progress, report_to)
    card = Card(
        parent=str(start),
        parent_hash=start_hash,
        method="reward model",
        preset="",
        data={"comparisons": identity["comparisons"], "facts": identity["facts"]},
        settings=reward_model_json(settings),
        seeds={"training": seed},
        cost={"pairs": len(training), "held_out": len(held)},
        skipped=skipped,
        adapter=lora and not settings.merge_adapter,
    )
    if arguments.should_save:
        _measure_and_save(reward_model, encoder, held, facts, out, card, begin)
    PartialState().wait_for_everyone()
    result = _finished(out, identity)
    if result is None:
        raise TrainingError(f"{out}: training ended without a reward model")
    return result


def _fit_groups(
    model: RewardModel,
    encoder: RatingEncoder,
    epochs: Sequence[Sequence[Group]],
    settings: RewardModelSettings,
    out: Path,
    identity: Mapping[str, Json],
    progress: Progress | None,
    report_to: Sequence[str],
) -> None:
    """Train on the groups of each epoch in turn.

    Raises:
        UsageError: if weights would be sharded: the head lies outside the layers that are.
    """
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" or os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        raise UsageError("the reward model trains on whole weights: start it with torchrun, without FSDP or DeepSpeed")
    fit(
        model,
        [group for groups in epochs for group in groups],
        partial(rating_batch, encoder=encoder),
        _objective(settings.centre_weight),
        _whole_run(settings, len(epochs[0])),
        out,
        identity=identity,
        progress=as_stage("reward model", progress),
        report_to=report_to,
    )


def _new_model(backbone: Any, settings: TrainingSettings) -> RewardModel:
    """A reward model to train, its head drawn by the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = RewardModel(make_trainable(backbone, settings))
    _freeze(bare(model.backbone).get_output_embeddings(), model.backbone)
    return model


def _objective(centre_weight: float) -> Any:
    def objective(model: Any, batch: RatingBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        rewards = model(batch.inputs)[batch.pairs]  # (P, 2)
        comparison = reward_model_loss(rewards, batch.choice, centre_weight)
        loss = comparison.loss * process_share(len(batch.choice), rewards.device)  # groups hold unlike numbers of pairs
        rows = rewards.detach()
        preferred = rows.gather(1, batch.choice[:, None])[:, 0]
        other = rows.gather(1, 1 - batch.choice[:, None])[:, 0]
        metrics = {"accuracy": (preferred > other).float(), "margin": preferred - other, "reward": rows.mean(1)}
        return loss, metrics

    return objective


def _whole_run(settings: TrainingSettings, n_rows: int) -> TrainingSettings:
    """The rows already hold every epoch, each with its own order of facts; the number of steps stays the same."""
    steps = settings.max_steps or math.ceil(settings.epochs * math.ceil(n_rows / settings.batch_size))
    return replace(settings, epochs=1, max_steps=steps)


def _freeze(unused: nn.Module | None, backbone: Any) -> None:
    """The language-model head gets no gradient; where it is tied to the input embeddings it stays as they are."""
    embeddings = bare(backbone).get_input_embeddings()
    if unused is not None and unused.weight is not embeddings.weight:
        unused.requires_grad_(False)


# --- measuring ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def rewards_of(model: RewardModel, encoder: RatingEncoder, ratings: Sequence[Rating], batch_size: int = 32) -> Tensor:
    """Rewards of ratings, on the CPU, (N,); what ratings about one image have in common is read once."""
    ordered = together([Prompt(rating.id, "", (rating.image,)) for rating in ratings])
    rewards: dict[int, Tensor] = {}
    for start in range(0, len(ordered), batch_size):
        places = ordered[start : start + batch_size]
        batch = _rewards(model, encoder, [ratings[place] for place in places])
        rewards.update(zip(places, batch.cpu(), strict=True))
    return torch.stack([rewards[place] for place in range(len(ratings))]) if rewards else torch.zeros(0)


def _rewards(model: RewardModel, encoder: RatingEncoder, ratings: Sequence[Rating]) -> Tensor:
    """Rewards of a batch; the first one that shares images is read one by one too, and decides whether they may."""
    shared = encoder.encode_by_image(ratings) if model.shares_images is not False else None
    if shared is None:
        plain: Tensor = model(encoder.encode(ratings))
        return plain
    rewards = model.rate_shared(shared)
    if model.shares_images is None:
        plain = model(encoder.encode(ratings))
        limit = SHARED_ROUNDING.get(bare(model.backbone).dtype, SHARED_HALF_ROUNDING)
        model.shares_images = bool((rewards - plain).abs().max() <= limit * max(1.0, float(plain.abs().max())))
        return plain
    return rewards


def measure(
    model: RewardModel,
    encoder: RatingEncoder,
    comparisons: Sequence[Comparison],
    facts: Facts | None,
    *,
    seed: int = 0,
) -> Interval:
    """Share of comparisons whose preferred response earns strictly more, percent; images are resampled."""
    pairs = [ratings_of(row, facts, seed=seed, use="measured") for row in comparisons]
    first, second = rewards_of(model, encoder, [rating for pair in pairs for rating in pair]).view(-1, 2).T
    choice = torch.tensor([row.preference for row in comparisons], dtype=torch.bool)
    right = torch.where(choice, second > first, first > second)
    rows = [{"right": float(value), "pairs": 1.0} for value in right.tolist()]
    return interval(_METRIC, rows, [row.image.name for row in comparisons]) if rows else Interval(None)


# --- folder -------------------------------------------------------------------------------------------------------


def _measure_and_save(
    model: RewardModel,
    encoder: RatingEncoder,
    held: Sequence[Comparison],
    facts: Facts | None,
    out: Path,
    card: Card,
    begin: float,
) -> None:
    """The held-out accuracies, then the folder; the card comes last, with the seconds since `begin`."""
    model.eval()
    seed = card.seeds["training"]
    accuracy = measure(model, encoder, held, facts, seed=seed)
    without = measure(model, encoder, held, None, seed=seed) if facts is not None else None
    head = {name: value.detach().cpu().contiguous() for name, value in model.head.state_dict().items()}
    save_file(head, out / HEAD)
    report = {"accuracy": accuracy.as_dict(), "accuracy_no_facts": without.as_dict() if without else None}
    replace_text(out / ACCURACY, json.dumps(report, indent=1) + "\n")
    backbone, processor, cost = model.backbone, encoder.encoder.processor, dict(card.cost)
    if not card.adapter and hasattr(backbone, "merge_and_unload"):
        backbone, difference = folded(backbone, processor, backbone.merge_and_unload)
        cost |= difference.as_cost()
    cost["seconds"] = round(time.perf_counter() - begin, 3)
    save_checkpoint(backbone, processor, out, replace(card, cost=cost))


def load_reward_model(folder: Path, device: torch.device | None = None) -> tuple[RewardModel, Any]:
    """(reward model in evaluation mode without gradients, processor) of a folder written by `train_reward_model`.

    Raises:
        DataError: if the folder has no reward head, or it belongs to a backbone of another width.
        EngineError: if the backbone does not load.
    """
    path = Path(folder) / HEAD
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{folder}: not a reward model, its {HEAD} cannot be read ({error})") from error
    checkpoint = load_checkpoint(folder, device=None if device is None else str(device))
    model = RewardModel(checkpoint.model)
    if weights["weight"].shape != model.head.weight.shape:
        raise DataError(
            f"{folder}: the reward head reads {weights['weight'].shape[1]} numbers, the backbone has others"
        )
    nn.Module.load_state_dict(model.head, weights)
    return model.eval().requires_grad_(False), checkpoint.processor


def _finished(out: Path, identity: Mapping[str, Json]) -> RewardModelResult | None:
    card = finished_card(out, identity)
    if card is None:
        return None
    try:
        report = json_value((out / ACCURACY).read_text(encoding="utf-8"))
        accuracy, without = (None if stored is None else Interval(**stored) for stored in map(report.get, _ACCURACIES))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{out / ACCURACY}: cannot be read: {error}; remove {out} to train it again") from error
    if accuracy is None:
        raise DataError(f"{out / ACCURACY}: holds no accuracy; remove {out} to train it again")
    return RewardModelResult(
        out,
        accuracy,
        without,
        int(card.cost["pairs"]),
        int(card.cost["held_out"]),
        card.cost["seconds"],
        card.skipped,
    )
