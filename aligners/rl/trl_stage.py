"""The RL stage on TRL's trainers: on several processes and without a value model, for sizes beyond the literal PPO.

    rloo   Ahmadian et al. 2024, arXiv:2402.14740: each response against the others to its prompt; the ratio of whole
           responses is clipped; the KL (k1, summed over a response) is charged to the reward
    grpo   Shao et al. 2024, arXiv:2402.03300: in units of the group's deviation; the ratio of each token is clipped;
           means within responses, then over them; the KL (k3) stands in the loss

Prompts, their order, rewards, learning rate, journal, card: those of `aligners.rl.loop`, which stays the reference for
LLaVA-RLHF. Differs from it: several responses to a prompt take the place of the value model; advantages are whitened
over a rollout (rloo) or within a group (grpo). Sampling is by transformers, or by vLLM inside TRL.

In the run's folder: training.jsonl (one line a rollout); training/steps/checkpoint-N, every `save_rollouts` rollouts.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import PrinterCallback

from aligners.rl.experience import RolloutReward
from aligners.rl.models import without_dropout
from aligners.rl.rollouts import RolloutPrompt, as_prompt
from aligners.rl.trl_trainer import Online, OnlineRun, checked_generation, prompt_rows, reward_function
from aligners.settings import FactRlhfSettings
from aligners.training.policy import (
    Policy,
    adapter_config,
    make_trainable,
    wants_bf16,
    wants_checkpointing,
    wants_lora,
)
from aligners.training.response_logps import end_token
from aligners.training.run_folder import LOG, TrainingLog, claim_folder, last_complete_step, steps_folder
from aligners.training.trainer import quiet_warnings
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import TrainingError, UsageError
from evalkit.process.libraries import library_version
from evalkit.process.progress import Progress
from evalkit.schema import Json

VERSIONS = ("1.16", "1.17")  # of TRL: from, below; its trainers are extended where they have no seam


def require_trl() -> None:
    """Make sure that a TRL is installed whose trainers this was written against.

    Raises:
        UsageError: with what to install.
    """
    version = library_version("trl")
    wanted = f"TRL {VERSIONS[0]} or newer, below {VERSIONS[1]}"
    if version is None:
        raise UsageError(f"rl=rloo and rl=grpo need {wanted}: pip install 'hallu-evalkit[rl]'")
    if _numbers(version) < _numbers(VERSIONS[0]) or _numbers(version) >= _numbers(VERSIONS[1]):
        raise UsageError(f"rl=rloo and rl=grpo need {wanted}, not {version}: pip install 'hallu-evalkit[rl]'")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def train_online(
    policy: Policy,
    prompts: Sequence[RolloutPrompt],
    reward: RolloutReward,
    out: Path,
    settings: FactRlhfSettings,
    *,
    identity: Mapping[str, Json],
    save: Callable[[Any], None],
    keep: Callable[[int, Any], None] | None = None,
    progress: Progress | None = None,
    report_to: Sequence[str] = (),
) -> None:
    """Train with TRL, or continue a run that was killed in this folder, on one process or several.

    Args:
        policy: the start; its model is trained itself.
        prompts: what to roll out on.
        reward: what each response earns, e.g. the reward model with its facts.
        out: folder of the run.
        settings: with rl "rloo" or "grpo".
        identity: what is trained besides the settings; a run of another identity in the same folder is refused.
        save: called with the trainer when done, on every process, to save the model.
        keep: see OnlineRun.
        progress: called with (method, rollouts done, rollouts in all).
        report_to: "wandb", "trackio", "tensorboard".
    Raises:
        TrainingError: if losses, gradients or rewards are not finite, there are no prompts, or TRL would train on other
            prompts or from another model.
        UsageError: if TRL is missing, a rollout cannot be divided over the processes, or sharded policies were to stay.
    """
    require_trl()
    if not prompts:
        raise TrainingError("no prompts to roll out on")
    total = settings.rollouts(len(prompts))
    arguments = _arguments(policy.model, settings, out, total, report_to)
    if arguments.should_save:
        claim_folder(out, identity)
    encoder = PromptEncoder(policy.processor)
    resumed = last_complete_step(out)
    done = resumed[0] // settings.steps_per_rollout if resumed else 0
    end_id = end_token(encoder, policy.model)
    with quiet_warnings():
        trainer = _trainer(
            policy,
            arguments,
            reward_function(reward, prompts, encoder, end_id, settings, policy.model),
            prompt_rows(prompts, settings, total),
            settings,
        )
    if settings.keep_checkpoints and (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        raise UsageError("keep_checkpoints keeps whole policies: leave it 0 with FSDP and DeepSpeed")
    journal = TrainingLog(out / LOG, done, active=arguments.should_save)
    trainer.run = OnlineRun(settings, total, journal, progress, keep)
    _check_reference(trainer)
    _check_prompt(trainer, encoder, prompts[0])
    if settings.vllm:
        trainer.vllm_generation.generate = checked_generation(trainer.vllm_generation.generate)
    trainer.train(resume_from_checkpoint=str(resumed[1]) if resumed else None)
    save(trainer)


def _arguments(model: Any, settings: FactRlhfSettings, out: Path, total: int, report_to: Sequence[str] = ()) -> Any:
    """TRL's configuration; a step is divided over the processes that torchrun or accelerate started.

    Raises:
        UsageError: if it cannot be.
    """
    import trl

    steps = settings.steps_per_rollout
    shared: dict[str, Any] = {
        "output_dir": str(steps_folder(out)),
        "learning_rate": settings.learning_rate,
        "weight_decay": 0.0,
        "max_grad_norm": settings.max_grad_norm,
        "max_steps": total * steps,
        "seed": settings.seed,
        "data_seed": settings.seed,
        "bf16": wants_bf16(settings),
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": wants_checkpointing(model, settings),
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "num_generations": settings.samples_per_prompt,
        "num_iterations": settings.inner_epochs,
        "max_completion_length": settings.response_limit,
        "temperature": settings.temperature,
        "beta": settings.kl_coefficient,
        "epsilon": settings.clip,
        "disable_dropout": True,
        "shuffle_dataset": False,  # the rows stand in the order of the rollouts
        "use_vllm": settings.vllm,
        "logging_steps": steps,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": settings.save_rollouts * steps,
        "save_total_limit": 1,
        "remove_unused_columns": False,
        "report_to": list(report_to) or "none",
        "disable_tqdm": True,
    }
    own: dict[str, dict[str, Any]] = {
        "rloo": {"normalize_advantages": True},
        "grpo": {"loss_type": "grpo", "scale_rewards": "group"},
    }
    config = trl.RLOOConfig if settings.rl == "rloo" else trl.GRPOConfig
    world = PartialState(cpu=shared["use_cpu"]).num_processes
    share, left = divmod(settings.step_size, world)
    micro = min(settings.micro_batch_size or 8, max(1, share))
    if left or share < 1 or share % micro:
        raise UsageError(
            f"step_size {settings.step_size} cannot be divided over {world} processes in micro-batches of {micro}"
        )
    return config(
        **shared,
        **own[settings.rl],
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=share // micro,
        steps_per_generation=settings.rollout_size // (micro * world),
    )


def _trainer(policy: Policy, arguments: Any, reward: Any, rows: Any, settings: FactRlhfSettings) -> Any:
    """TRL's trainer on the policy, with an adapter or with what full training leaves trainable."""
    import trl

    base = trl.RLOOTrainer if settings.rl == "rloo" else trl.GRPOTrainer
    lora = wants_lora(policy.model, settings)
    if not lora and policy.source is None:
        raise UsageError("TRL loads the frozen reference from the start's folder: save the start as a whole model")
    model = policy.model if lora else make_trainable(policy.model, settings)
    kind = type("OnlineTrainer", (Online, base), {})
    trainer = kind(
        model=model,
        reward_funcs=[reward],
        args=arguments,
        train_dataset=rows,
        processing_class=policy.processor,
        peft_config=adapter_config(model, settings) if lora else None,
    )
    trainer.remove_callback(PrinterCallback)
    without_dropout(trainer.model)
    return trainer


def _check_reference(trainer: Any) -> None:
    """TRL loads the frozen reference by the name in the model's configuration: make sure that it is the start.

    Raises:
        TrainingError: if it is not.
    """
    reference = getattr(trainer, "ref_model", None)
    if reference is None or trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return
    theirs = dict(trainer.accelerator.unwrap_model(reference).named_parameters())
    for name, parameter in trainer.accelerator.unwrap_model(trainer.model).named_parameters():
        if not torch.equal(theirs[name].to(parameter), parameter):
            raise TrainingError(f"the reference that TRL loaded is not the start model: {name} differs")


def _check_prompt(trainer: Any, encoder: PromptEncoder, prompt: RolloutPrompt) -> None:
    """Make sure that TRL reads the prompt that every engine here reads.

    Raises:
        TrainingError: if it reads another.
    """
    from trl.data_utils import prepare_multimodal_messages

    image = prompt.image.open()
    messages = prepare_multimodal_messages([{"role": "user", "content": prompt.text}], images=[image])
    ours = encoder.encode([as_prompt(prompt)], [[image]]).inputs["input_ids"][0].tolist()
    theirs = list(trainer._tokenize_prompts([messages])[0][0])
    if ours != theirs:
        raise TrainingError(
            f"TRL reads prompt {prompt.id!r} as {len(theirs)} tokens, the engines here as {len(ours)}: "
            f"{encoder.tokenizer.decode(theirs)[:80]!r} against {encoder.tokenizer.decode(ours)[:80]!r}"
        )
