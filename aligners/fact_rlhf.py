"""Fact-augmented RLHF: supervised start -> reward model that reads facts -> PPO -> checkpoint.

LLaVA-RLHF (Sun et al. 2023, arXiv:2309.14525). Facts (captions of the image) stand in the reward model's prompt and
nowhere else. In the output folder:

    supervised/     the supervised start, if there is data for it
    reward/         the reward model with its held-out accuracy
    training.jsonl  one line a rollout
    stages.json     what is finished, for the same command to go on from
    card.json and the checkpoint itself
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aligners.checkpoint import Card, merged, save_checkpoint, weights_hash
from aligners.encoding import end_token
from aligners.facts import Turn, facts_of, load_facts, rating_conversation
from aligners.llava_rlhf import Comparison, RolloutPrompt, read_comparisons, read_rollout_prompts
from aligners.logprobs import IGNORE
from aligners.ppo_settings import PpoSettings, settings_json
from aligners.ppo_training import clear_state, train_ppo
from aligners.presets import FACT_RLHF_PRESETS, FactRlhfPreset, find_preset
from aligners.rating import ImageOpener, Rating, RatingEncoder, RatingStyle, RewardModel
from aligners.reference_logps import Progress
from aligners.reward import RewardSettings
from aligners.reward_model import (
    Facts,
    RewardModelResult,
    RewardModelSettings,
    facts_hash,
    load_reward_model,
    rewards_of,
    train_reward_model,
)
from aligners.rollouts import Rollouts, as_prompt
from aligners.run_folder import LOG, finished_card, read_log
from aligners.scoring import scoring
from aligners.trainable import make_trainable, wants_lora
from aligners.training import TrainingSettings, fit
from evalkit.engines.encoding import PromptEncoder
from evalkit.engines.loading import load_checkpoint
from evalkit.errors import DataError, TrainingError, UsageError
from evalkit.images import ImageFile
from evalkit.schema import Json

STAGES = "stages.json"
_PPO_OPTIONS = tuple(
    field.name for field in fields(PpoSettings) if field.name not in ("preset", "training", "seed", "micro_batch_size")
)
_TRAINING_OPTIONS = tuple(
    name
    for name in (field.name for field in fields(TrainingSettings))
    if name not in ("learning_rate", "epochs", "max_steps", "batch_size", "warmup_ratio", "max_grad_norm")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactRlhfSettings:
    """Settings of the three stages; see `fact_rlhf_settings`.

    ppo                    the preset and the options of PPO
    reward                 of the reward model
    supervised             of the supervised start
    use_facts              False: plain RLHF, the reward model goes without
    missing_facts          "error" or "skip": comparisons and prompts whose image has no facts
    """

    ppo: PpoSettings
    reward: RewardModelSettings
    supervised: TrainingSettings
    use_facts: bool = True
    missing_facts: str = "error"


@dataclass(frozen=True, slots=True)
class FactRlhfResult:
    """A finished run.

    reward_model  its folder, accuracies, counts
    rollouts      PPO rollouts in all; log: their lines
    skipped       reason -> prompts left out
    """

    checkpoint: Path
    reward_model: RewardModelResult
    rollouts: int
    seconds: float
    log: tuple[Mapping[str, Json], ...]
    skipped: Mapping[str, int]


def fact_rlhf_settings(preset: str | FactRlhfPreset = "fact-rlhf-masked", **overrides: Any) -> FactRlhfSettings:
    """Settings of a preset with some changed, e.g. fact_rlhf_settings("fact-rlhf-masked", advantage="rloo").

    Overrides are fields of the preset, of RewardSettings (end_penalty, length_weight ...), of PpoSettings, of
    RewardModelSettings (held_out, missing_facts ...), of TrainingSettings (lora, micro_batch_size, seed ...; they hold
    for every stage), and use_facts, supervised_learning_rate, supervised_epochs.

    Raises:
        UsageError: if there is no such preset or setting.
    """
    base = find_preset(FACT_RLHF_PRESETS, preset) if isinstance(preset, str) else preset
    own = {field.name for field in fields(FactRlhfPreset)} - {"name", "sources", "reward"}
    parts = {field.name for field in fields(RewardSettings)}
    rating = {"held_out", "missing_facts", "bad_images"}
    rest = {"use_facts", "supervised_learning_rate", "supervised_epochs"}
    known = own | parts | rating | rest | set(_PPO_OPTIONS) | set(_TRAINING_OPTIONS)
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise UsageError(f"unknown settings {', '.join(unknown)}; known: {', '.join(sorted(known))}")

    def given(names: Any) -> dict[str, Any]:
        return {name: value for name, value in overrides.items() if name in names}

    base = replace(base, reward=replace(base.reward, **given(parts)), **given(own))
    lora = {name: getattr(base, name) for name in ("lora_rank", "lora_alpha", "lora_dropout")}
    shared = {**lora, **given(_TRAINING_OPTIONS)}
    micro = shared.get("micro_batch_size") or min(8, base.step_size)
    if "micro_batch_size" in shared:
        shared["micro_batch_size"] = min(micro, base.reward_batch_size)
    reward_training = TrainingSettings(
        learning_rate=base.reward_learning_rate,
        epochs=base.reward_epochs,
        batch_size=base.reward_batch_size,
        max_grad_norm=0.3,
        **shared,
    )
    supervised = TrainingSettings(
        learning_rate=overrides.get("supervised_learning_rate", 1e-4),
        epochs=overrides.get("supervised_epochs", 1.0),
        batch_size=base.reward_batch_size,
        **{**shared, "merge_adapter": True},
    )
    ppo = PpoSettings(
        preset=base,
        training=TrainingSettings(learning_rate=base.learning_rate, **shared),
        seed=overrides.get("seed", 0),
        micro_batch_size=micro,
        **given(_PPO_OPTIONS),
    )
    return FactRlhfSettings(
        ppo=ppo,
        reward=RewardModelSettings(training=reward_training, centre_weight=base.centre_weight, **given(rating)),
        supervised=supervised,
        use_facts=overrides.get("use_facts", True),
        missing_facts=overrides.get("missing_facts", "error"),
    )


# --- the pipeline -------------------------------------------------------------------------------------------------


def align_fact_rlhf(
    start: Path | str,
    comparisons: Path | Sequence[Comparison],
    prompts: Path | Sequence[RolloutPrompt],
    facts: Path | Facts | None,
    out: Path,
    preset: str | FactRlhfPreset = "fact-rlhf-masked",
    overrides: Mapping[str, Any] | None = None,
    *,
    image_folder: Path = Path("."),
    supervised: Path | None = None,
    style: RatingStyle = rating_conversation,
    open_image: ImageOpener = ImageFile.open,
    progress: Progress | None = None,
) -> FactRlhfResult:
    """Align a checkpoint with fact-augmented RLHF; the same call goes on after a kill, or returns a finished run.

    Args:
        start: checkpoint folder or hub name of the policy and of the reward model's backbone.
        comparisons: LLaVA-RLHF's comparison file, or its rows.
        prompts: its PPO prompt file, or its rows.
        facts: caption file (image file name -> sentences), or the table; None only with use_facts=False.
        out: becomes the aligned checkpoint.
        preset: "fact-rlhf-masked" or "fact-rlhf-reference".
        overrides: see `fact_rlhf_settings`.
        image_folder: where image names begin.
        supervised: LLaVA conversations (JSON list of {image, conversations}) for the supervised start; None: as it is.
        style, open_image: how and on what the reward model rates, see `aligners.rating.RatingEncoder`.
        progress: called with (stage, done, total).
    Raises:
        DataError, TrainingError, EngineError, UsageError: each says what to change.
    """
    settings = fact_rlhf_settings(preset, **(overrides or {}))
    out, begin = Path(out), time.perf_counter()
    table = _facts_table(facts, settings)
    rows = read_comparisons(comparisons) if isinstance(comparisons, Path) else list(comparisons)
    asked = read_rollout_prompts(prompts) if isinstance(prompts, Path) else list(prompts)
    out.mkdir(parents=True, exist_ok=True)
    policy_start: Path | str = start
    if supervised is not None:
        policy_start = supervised_start(
            start, supervised, out / "supervised", settings.supervised, image_folder=image_folder, progress=progress
        )
    reward_model = train_reward_model(
        policy_start,
        rows,
        out / "reward",
        settings.reward,
        facts=table,
        image_folder=image_folder,
        style=style,
        open_image=open_image,
        progress=progress,
    )
    _note_stage(out, "reward", {"accuracy": reward_model.accuracy.as_dict(), "seconds": reward_model.seconds})
    result = _ppo_stage(
        policy_start, start, asked, table, out, settings, reward_model, image_folder, style, open_image, progress, begin
    )
    _note_stage(out, "ppo", {"rollouts": result.rollouts, "seconds": result.seconds})
    return result


def _facts_table(facts: Path | Facts | None, settings: FactRlhfSettings) -> Facts | None:
    if not settings.use_facts:
        return None
    if facts is None:
        raise UsageError("fact-augmented RLHF needs a facts file; for plain RLHF set use_facts to False")
    return load_facts(facts) if isinstance(facts, Path) else facts


def _note_stage(out: Path, stage: str, result: Mapping[str, Json]) -> None:
    path = out / STAGES
    stages = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if stage not in stages:
        stages[stage] = dict(result)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(stages, indent=1) + "\n", encoding="utf-8")
        partial.replace(path)


def _ppo_stage(
    policy_start: Path | str,
    start: Path | str,
    prompts: Sequence[RolloutPrompt],
    facts: Facts | None,
    out: Path,
    settings: FactRlhfSettings,
    reward_model: RewardModelResult,
    image_folder: Path,
    style: RatingStyle,
    open_image: ImageOpener,
    progress: Progress | None,
    begin: float,
) -> FactRlhfResult:
    ppo = settings.ppo
    checkpoint = load_checkpoint(policy_start)
    policy, processor = merged(checkpoint.model), checkpoint.processor
    stored = policy.dtype
    encoder = PromptEncoder(processor)
    usable, skipped = usable_prompts(prompts, facts, encoder, image_folder, settings)
    start_hash = weights_hash(policy)
    rater, rater_processor = load_reward_model(reward_model.folder)
    identity = {
        "model": start_hash,
        "reward_model": hashlib.sha256(
            (Path(reward_model.folder) / "reward_head.safetensors").read_bytes()
        ).hexdigest(),
        "prompts": prompts_hash(usable),
        "facts": facts_hash(facts),
        **settings_json(ppo),
    }
    finished = _finished(out, identity, reward_model)
    if finished is not None:
        return finished
    lora = wants_lora(policy, ppo.training)
    trained = train_ppo(
        policy if lora else policy.float(),
        processor,
        rater.backbone,
        usable,
        reward_scorer(
            rater,
            RatingEncoder(PromptEncoder(rater_processor), style, open_image),
            facts,
            image_folder,
            batch_size=4 * ppo.micro_batch_size,
        ),
        out,
        ppo,
        image_folder=image_folder,
        end_id=end_token(encoder, policy),
        identity=identity,
        progress=progress,
    )
    log = read_log(out / LOG)
    seconds = round(time.perf_counter() - begin, 3)
    adapter = lora and not ppo.training.merge_adapter
    card = Card(
        parent=str(start),
        parent_hash=start_hash,
        method="fact-rlhf" if facts is not None else "rlhf",
        preset=ppo.preset.name,
        data={"prompts": identity["prompts"], "facts": identity["facts"], "reward_model": identity["reward_model"]},
        settings=settings_json(ppo),
        seeds={"ppo": ppo.seed, "reward_model": settings.reward.training.seed},
        cost={
            "pairs": reward_model.pairs,
            "rollouts": len(log),
            "steps": sum(line["optimizer_steps"] for line in log),
            "seconds": seconds,
            "tokens": round(sum(line["tokens"] * line["responses"] for line in log)),
        },
        skipped={**{f"comparisons: {k}": v for k, v in reward_model.skipped.items()}, **skipped},
        adapter=adapter,
    )
    save_checkpoint(trained if adapter else merged(trained).to(stored), processor, out, card)
    clear_state(out)
    return FactRlhfResult(out, reward_model, len(log), seconds, tuple(log), card.skipped)


def _finished(out: Path, identity: Mapping[str, Json], reward_model: RewardModelResult) -> FactRlhfResult | None:
    card = finished_card(out, identity)
    if card is None:
        return None
    log = tuple(read_log(out / LOG))
    return FactRlhfResult(out, reward_model, len(log), card.cost["seconds"], log, card.skipped)


def usable_prompts(
    prompts: Sequence[RolloutPrompt],
    facts: Facts | None,
    encoder: PromptEncoder,
    image_folder: Path,
    settings: FactRlhfSettings,
) -> tuple[list[RolloutPrompt], dict[str, int]]:
    """Prompts to roll out on, and how many were left out for which reason: no facts, too long, no readable image.

    `query_limit` counts text tokens of the prompt; image tokens are not part of it.

    Raises:
        DataError: if facts or an image are missing and the settings say "error".
    """
    kept: list[RolloutPrompt] = []
    skipped: dict[str, int] = {}
    for prompt in prompts:
        reason = None
        if facts is not None and facts_of(facts, prompt.image, prompt.kind) is None:
            reason = "prompts: no facts for their image"
            if settings.missing_facts == "error":
                raise DataError(
                    f"prompt {prompt.id!r}: the facts file has nothing on {prompt.image!r} "
                    "(set missing_facts to 'skip' to leave such rows out)"
                )
        text_tokens = len(encoder.tokenizer(encoder.render(as_prompt(prompt, image_folder))).input_ids)
        if reason is None and text_tokens > settings.ppo.preset.query_limit:
            reason = f"prompts: longer than {settings.ppo.preset.query_limit} tokens"
        if reason is None:
            try:
                ImageFile(image_folder, prompt.image).open()
            except DataError as error:
                reason = "prompts: image does not open"
                if settings.reward.bad_images == "error":
                    raise DataError(f"prompt {prompt.id!r}: {error}") from error
        if reason is None:
            kept.append(prompt)
        else:
            skipped[reason] = skipped.get(reason, 0) + 1
    if not kept:
        raise TrainingError(f"no prompt is left to roll out on, of {len(prompts)}: {skipped or 'there were none'}")
    return kept, skipped


def reward_scorer(
    model: RewardModel,
    encoder: RatingEncoder,
    facts: Facts | None,
    image_folder: Path,
    batch_size: int = 32,
) -> Callable[[Rollouts], Tensor]:
    """The reward model as PPO calls it; facts in an order drawn for each image (rationales for multiple choice)."""

    def score(rollouts: Rollouts) -> Tensor:
        ratings = []
        for prompt, text in zip(rollouts.prompts, rollouts.texts, strict=True):
            found = facts_of(facts, prompt.image, prompt.kind) if facts is not None else None
            image = ImageFile(image_folder, prompt.image)
            ratings.append(Rating(prompt.id, image, (Turn("user", prompt.text),), text, found))
        return rewards_of(model, encoder, ratings, batch_size)

    return score


def prompts_hash(prompts: Sequence[RolloutPrompt]) -> str:
    """Hash of prompts, 16 hexadecimals."""
    content = [[p.id, p.image, p.text, int(p.kind), p.length_multiplier] for p in prompts]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


# --- supervised start ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelledBatch:
    """Model inputs with the tokens to learn; `labels` (B, T) are IGNORE elsewhere."""

    inputs: Mapping[str, Tensor]
    labels: Tensor

    def to(self, device: torch.device) -> "LabelledBatch":
        """The batch on another device."""
        return LabelledBatch({n: v.to(device) for n, v in self.inputs.items()}, self.labels.to(device))


def supervised_start(
    start: Path | str,
    conversations: Path,
    out: Path,
    settings: TrainingSettings,
    *,
    image_folder: Path,
    progress: Progress | None = None,
) -> Path:
    """Supervised training on the first question and answer of conversations; returns the folder of the checkpoint.

    Raises:
        DataError: if the file is not a list of conversations with an answer.
    """
    rows = read_answered(conversations)
    checkpoint = load_checkpoint(start)
    model, processor = merged(checkpoint.model), checkpoint.processor
    stored, start_hash = model.dtype, weights_hash(model)
    data = hashlib.sha256(json.dumps([[p.image, p.text, answer] for p, answer in rows]).encode()).hexdigest()[:16]
    identity = {"model": start_hash, "conversations": data, **asdict(settings)}
    if finished_card(out, identity) is not None:
        return out
    encoder = PromptEncoder(processor)
    end_id = end_token(encoder, model)
    lora = wants_lora(model, settings)
    model = make_trainable(model if lora else model.float(), settings)

    def collate(some: list[tuple[RolloutPrompt, str]]) -> LabelledBatch:
        asked = [as_prompt(prompt, image_folder) for prompt, _ in some]
        answers = [[*encoder.continuation_ids(answer), end_id] for _, answer in some]
        encoded = encoder.encode(asked, None, answers, padding_side="right")
        labels = torch.full_like(encoded.inputs["input_ids"], IGNORE)
        for b, (first, last) in enumerate(zip(encoded.starts, encoded.ends, strict=True)):
            labels[b, first:last] = encoded.inputs["input_ids"][b, first:last]
        inputs = {name: value for name, value in encoded.inputs.items() if isinstance(value, Tensor)}
        return LabelledBatch(inputs, labels)

    def loss(model: Any, batch: LabelledBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        logps = model(**batch.inputs, score_labels=batch.labels)["token_logps"]
        return -logps.mean(), {"nll": -logps.detach().mean().repeat(len(batch.labels))}

    with scoring(model):
        done = fit(model, rows, collate, loss, settings, out, identity=identity, progress=_staged(progress))
    card = Card(
        parent=str(start),
        parent_hash=start_hash,
        method="supervised",
        preset="",
        data={"conversations": data},
        settings=asdict(settings),
        seeds={"training": settings.seed},
        cost={"rows": len(rows), "steps": done.steps, "seconds": done.seconds},
    )
    save_checkpoint(merged(model).to(stored), processor, out, card)
    return out


def _staged(progress: Progress | None) -> Progress | None:
    if progress is None:
        return None
    report = progress
    return lambda _, done, total: report("supervised start", done, total)


def read_answered(path: Path) -> list[tuple[RolloutPrompt, str]]:
    """(prompt, answer) of each conversation of a LLaVA-style file: its first user turn and the reply.

    Raises:
        DataError: if the file is not of that form (the row is named).
    """
    prompts = read_rollout_prompts(path)
    found = []
    for number, (prompt, row) in enumerate(zip(prompts, json.loads(path.read_text(encoding="utf-8")), strict=True)):
        turns = row["conversations"]
        answer = turns[1]["value"].strip() if len(turns) > 1 and turns[1]["from"] == "gpt" else ""
        if not answer:
            raise DataError(f"{path}: row {number}: no answer to learn: the second turn must come from 'gpt'")
        found.append((prompt, answer))
    return found
