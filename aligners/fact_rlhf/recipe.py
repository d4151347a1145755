"""Fact-augmented RLHF: supervised start -> reward model that reads facts -> RL -> checkpoint.

LLaVA-RLHF (Sun et al. 2023, arXiv:2309.14525). Facts (captions of the image) stand in the reward model's prompt and
nowhere else. RL is the paper's PPO, in one process, or with rl=rloo and rl=grpo TRL's trainers; the stages before it
train on as many processes as torchrun or accelerate start. In the output folder:

    supervised/     the supervised start, if there is data for it
    reward/         the reward model with its held-out accuracy
    training.jsonl  one line a rollout
    checkpoints/    rollout-N: policies along the way, if `keep_checkpoints` asks for them
    stages.json     what is finished, so that the same command resumes there
    card.json and the checkpoint itself
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import Tensor

from aligners.fact_rlhf.files import read_comparisons, read_rollout_prompts
from aligners.fact_rlhf.inputs import fact_rlhf_reward, prompts_hash, reward_of_model, usable_prompts
from aligners.fact_rlhf.settings import fact_rlhf_settings, reward_model_settings, supervised_settings
from aligners.fact_rlhf.supervised import supervised_start
from aligners.reward_model.comparisons import Comparison
from aligners.reward_model.facts import Facts, facts_hash, load_facts, rating_conversation
from aligners.reward_model.fit import HEAD, RewardModelResult, load_reward_model, train_reward_model
from aligners.reward_model.model import ImageOpener, RatingEncoder, RatingStyle
from aligners.rl.loop import clear_state, train_ppo
from aligners.rl.rollouts import RolloutPrompt, Rollouts
from aligners.rl.trl_stage import require_trl, train_online
from aligners.settings import FactRlhfSettings, ppo_json
from aligners.training.checkpoint import Card, rename_for_vllm, software, weights_hash
from aligners.training.policy import hold_base, load_policy, save_policy, save_trained, wants_lora
from aligners.training.response_logps import end_token
from aligners.training.run_folder import KEPT, LOG, finished_card, read_log
from aligners.training.settings import ModelSettings
from aligners.training.stages import MANIFEST, note_stage
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import TrainingError, UsageError
from evalkit.images import ImageFile
from evalkit.process.libraries import library_version
from evalkit.process.progress import Progress
from evalkit.schema import Json

__all__ = ["FactRlhfResult", "align_fact_rlhf", "fact_rlhf_settings"]


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


def align_fact_rlhf(
    start: Path | str,
    comparisons: Path | Sequence[Comparison],
    prompts: Path | Sequence[RolloutPrompt],
    facts: Path | Facts | None,
    out: Path,
    preset: str | FactRlhfSettings = "fact-rlhf-masked",
    overrides: Mapping[str, Any] | None = None,
    *,
    image_folder: Path = Path("."),
    supervised: Path | None = None,
    style: RatingStyle = rating_conversation,
    open_image: ImageOpener = ImageFile.open,
    progress: Progress | None = None,
    report_to: Sequence[str] = (),
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
        image_folder: where the image names of these files begin; rows hold their images.
        supervised: LLaVA conversations (JSON list of {image, conversations}) for the supervised start; None: as it is.
        style, open_image: how and on what the reward model rates, see `aligners.reward_model.model.RatingEncoder`.
        progress: called with (stage, done, total).
        report_to: "wandb", "trackio", "tensorboard"; each stage is a run there.
    Raises:
        DataError, TrainingError, EngineError, UsageError: each says what to change.
    """
    settings = fact_rlhf_settings(preset, **(overrides or {}))
    if settings.rl != "ppo":
        require_trl()
    out, begin = Path(out), time.perf_counter()
    table = _facts_table(facts, settings)
    rows = read_comparisons(comparisons, image_folder) if isinstance(comparisons, Path) else list(comparisons)
    asked = read_rollout_prompts(prompts, image_folder) if isinstance(prompts, Path) else list(prompts)
    out.mkdir(parents=True, exist_ok=True)
    policy_start: Path | str = start
    if supervised is not None:
        stage = supervised_settings(settings)
        policy_start = supervised_start(
            start, supervised, out / "supervised", stage, image_folder=image_folder, progress=progress,
            report_to=report_to,
        )  # fmt: skip
    reward_model = train_reward_model(
        policy_start,
        rows,
        out / "reward",
        reward_model_settings(settings),
        facts=table,
        style=style,
        open_image=open_image,
        progress=progress,
        report_to=report_to,
    )
    processes = PartialState()
    if processes.is_main_process:
        note = {"accuracy": reward_model.accuracy.as_dict(), "seconds": reward_model.seconds}
        note_stage(out / MANIFEST, "reward", note)
    if settings.rl == "ppo" and processes.num_processes > 1:
        raise UsageError(
            f"{reward_model.folder}: the reward model is ready; PPO trains in one process: the same command without "
            "torchrun or accelerate goes on from here (rl=rloo and rl=grpo train on several)"
        )
    inputs = _Inputs(asked, table, style, open_image, tuple(report_to))
    result = _rl_stage(policy_start, str(start), inputs, out, settings, reward_model, progress, begin)
    if processes.is_main_process:
        note_stage(out / MANIFEST, settings.rl, {"rollouts": result.rollouts, "seconds": result.seconds})
    return result


def _facts_table(facts: Path | Facts | None, settings: FactRlhfSettings) -> Facts | None:
    if not settings.use_facts:
        return None
    if facts is None:
        raise UsageError("fact-augmented RLHF needs a facts file; for plain RLHF set use_facts to False")
    return load_facts(facts) if isinstance(facts, Path) else facts


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What RL works on; see `align_fact_rlhf`."""

    prompts: Sequence[RolloutPrompt]
    facts: Facts | None
    style: RatingStyle
    open_image: ImageOpener
    report_to: tuple[str, ...]


def _usable(
    inputs: _Inputs, encoder: PromptEncoder, settings: FactRlhfSettings
) -> tuple[list[RolloutPrompt], dict[str, int]]:
    """Prompts that can be rolled out, and how many are left out for which reason."""
    return usable_prompts(
        inputs.prompts, inputs.facts, encoder, settings.query_limit, settings.missing_facts, settings.bad_images
    )


def _rl_stage(
    policy_start: Path | str,
    parent: str,
    inputs: _Inputs,
    out: Path,
    settings: FactRlhfSettings,
    reward_model: RewardModelResult,
    progress: Progress | None,
    begin: float,
) -> FactRlhfResult:
    """RL from the policy's start to its checkpoint; `begin` is when the whole run did, by time.perf_counter."""
    start = load_policy(policy_start, settings, None if settings.rl == "ppo" else PartialState().device)
    policy, processor = start.model, start.processor
    encoder = PromptEncoder(processor)
    usable, skipped = _usable(inputs, encoder, settings)
    identity = _identity(weights_hash(policy), reward_model, usable, inputs.facts, settings)
    finished = _finished(out, identity, reward_model)
    if finished is not None:
        return finished
    lora = wants_lora(policy, settings)
    backbone, rate = _rater(reward_model, inputs, 4 * settings.responses_at_once, settings if lora else None, policy)
    reward = fact_rlhf_reward(rate, settings, encoder.pad_id)

    def card() -> Card:
        log, seconds = read_log(out / LOG), round(time.perf_counter() - begin, 3)
        adapter = lora and not settings.merge_adapter
        return _card(settings, parent, identity, reward_model, log, seconds, skipped, adapter)

    def keep(number: int, model: Any) -> None:
        _keep(model, processor, out / KEPT / f"rollout-{number}")

    if settings.rl == "ppo":
        trained = train_ppo(
            policy, processor, backbone, usable, reward, out, settings,
            end_id=end_token(encoder, policy), identity=identity, keep=keep, progress=progress,
            report_to=inputs.report_to,
        )  # fmt: skip
        save_trained(trained, start, out, card())
    else:
        train_online(
            start, usable, reward, out, settings, identity=identity,
            save=lambda trainer: save_policy(trainer, start, out, card()), keep=keep, progress=progress,
            report_to=inputs.report_to,
        )  # fmt: skip
    if PartialState().is_main_process:
        clear_state(out)
    finished = _finished(out, identity, reward_model)
    if finished is None:
        raise TrainingError(f"{out}: training ended without a checkpoint")
    return finished


def _keep(policy: Any, processor: Any, folder: Path) -> None:
    """A policy along the way, as a checkpoint (or adapter) that can be scored."""
    policy.save_pretrained(folder)
    processor.save_pretrained(folder)
    rename_for_vllm(folder)


def _identity(
    start_hash: str,
    reward_model: RewardModelResult,
    prompts: Sequence[RolloutPrompt],
    facts: Facts | None,
    settings: FactRlhfSettings,
) -> dict[str, Json]:
    head = (reward_model.folder / HEAD).read_bytes()
    return {
        "model": start_hash,
        "reward_model": hashlib.sha256(head).hexdigest(),
        "prompts": prompts_hash(prompts),
        "facts": facts_hash(facts),
        **ppo_json(settings),
    }


def _rater(
    reward_model: RewardModelResult, inputs: _Inputs, batch_size: int, shared: ModelSettings | None, policy: Any
) -> tuple[Any, Callable[[Rollouts], Tensor]]:
    """The reward model's backbone, for the value model to copy, and the reward model as RL calls it.

    It lies beside the policy. With adapters the value model shares the backbone's weights; `shared` are the settings of
    that training.
    """
    model, processor = load_reward_model(reward_model.folder, policy.device)
    if shared is not None:
        hold_base(model.backbone, shared)
    encoder = RatingEncoder(PromptEncoder(processor), inputs.style, inputs.open_image)
    return model.backbone, reward_of_model(model, encoder, inputs.facts, batch_size=batch_size)


def _card(
    settings: FactRlhfSettings,
    parent: str,
    identity: Mapping[str, Json],
    reward_model: RewardModelResult,
    log: Sequence[Mapping[str, Any]],
    seconds: float,
    skipped: Mapping[str, int],
    adapter: bool,
) -> Card:
    return Card(
        parent=parent,
        parent_hash=identity["model"],
        method="fact-rlhf" if settings.use_facts else "rlhf",
        preset=settings.name,
        data={name: identity[name] for name in ("prompts", "facts", "reward_model")},
        settings=ppo_json(settings),
        seeds={settings.rl: settings.seed, "reward_model": settings.seed},
        cost={
            "pairs": reward_model.pairs,
            "rollouts": len(log),
            "steps": sum(line["optimizer_steps"] for line in log),
            "seconds": seconds,
            "tokens": round(sum(line["tokens"] * line["responses"] for line in log)),
        },
        skipped={**{f"comparisons: {k}": v for k, v in reward_model.skipped.items()}, **skipped},
        adapter=adapter,
        software=software() | ({} if settings.rl == "ppo" else {"trl": library_version("trl") or ""}),
    )


def _finished(out: Path, identity: Mapping[str, Json], reward_model: RewardModelResult) -> FactRlhfResult | None:
    card = finished_card(out, identity)
    if card is None:
        return None
    log = tuple(read_log(out / LOG))
    return FactRlhfResult(out, reward_model, len(log), card.cost["seconds"], log, card.skipped)
