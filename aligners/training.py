"""One training run of any of the methods, on transformers.Trainer: its settings and what happens around the loss.

A method gives `fit` its rows, a collate function and a loss; a run that was killed goes on (see `aligners.run_folder`).
"""

import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from aligners.loss_trainer import LossFunction, LossTrainer, Reporter, quiet_warnings
from aligners.reference_logps import Progress
from aligners.run_folder import LOG, Journal, claim_folder, last_complete_step, steps_folder
from aligners.settings import check_kinds, check_range
from evalkit.errors import TrainingError, UsageError
from evalkit.schema import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How to train, whatever the loss.

    learning_rate          peak; cosine schedule after `warmup_ratio` of the steps
    epochs, max_steps      passes over the rows, or a number of steps instead
    batch_size             rows per optimiser step, over all devices
    micro_batch_size       rows in one forward pass on one device; None: all of a device's share
    lora                   train an adapter; None: for models beyond 1e9 parameters
    lora_rank, lora_alpha, lora_dropout   of the adapter
    merge_adapter          fold the adapter into the weights when done, so that a whole model is saved
    train_vision           train the vision tower too (full training only)
    train_projector        train what joins tower and language model (full training only)
    bf16                   autocast to bfloat16; None: on a GPU that has it
    save_steps             steps between training checkpoints; None: a quarter of the run
    log_steps              steps between lines of the log
    workers                processes that prepare batches
    """

    learning_rate: float
    epochs: float = 1.0
    max_steps: int | None = None
    batch_size: int = 32
    micro_batch_size: int | None = None
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    seed: int = 0
    lora: bool | None = None
    lora_rank: int = 64
    lora_alpha: int = 16
    lora_dropout: float = 0.05
    merge_adapter: bool = False
    train_vision: bool = False
    train_projector: bool = True
    bf16: bool | None = None
    gradient_checkpointing: bool = False
    save_steps: int | None = None
    log_steps: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        check_kinds(self)
        check_range(self, "learning_rate", "epochs", "max_steps", "batch_size", "micro_batch_size", "lora_rank")
        check_range(self, "lora_alpha", "save_steps", "log_steps")
        check_range(self, "warmup_ratio", "weight_decay", "max_grad_norm", "lora_dropout", "workers", inclusive=True)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `fit` did: optimiser steps in all, seconds of this process, loss of each logged step of the whole run."""

    steps: int
    seconds: float
    losses: tuple[float, ...]


def fit(
    model: Any,
    rows: Sequence[Any],
    collate: Callable[[list[Any]], Any],
    loss: LossFunction,
    settings: TrainingSettings,
    folder: Path,
    *,
    identity: Mapping[str, Json],
    arguments: TrainingArguments | None = None,
    progress: Progress | None = None,
    report_to: Sequence[str] = (),
    save: Callable[[Any], None] | None = None,
) -> Fitted:
    """Train, or continue a run that was killed in this folder.

    Args:
        model: as returned by `make_trainable`.
        rows: training data; `collate` makes a batch (an object with `.to(device)`) of some.
        loss: see LossFunction.
        settings: how to train.
        folder: of the run.
        identity: what is trained besides the settings (hashes of model and data): a run under another identity in the
            same folder is refused.
        arguments: of `training_arguments`, if they were needed before (they start torch.distributed).
        progress: called with ("training", steps done, steps in all).
        report_to: "wandb", "trackio", "tensorboard".
        save: called with the trainer when done, on every process, to save the model.
    Raises:
        TrainingError: if loss or gradients are not finite (the last good training checkpoint is kept and named), the
            folder belongs to another run, or there are no rows.
    """
    if not rows:
        raise TrainingError("no rows to train on")
    arguments = arguments or training_arguments(settings, folder, len(rows), report_to)
    if arguments.should_save:
        claim_folder(folder, identity)
    resumed = last_complete_step(folder)
    journal = Journal(folder / LOG, resumed[0] if resumed else 0, active=arguments.should_save)
    with quiet_warnings():
        trainer = LossTrainer(model, arguments, rows, collate, loss, journal, folder)
    if progress is not None and arguments.should_save:
        trainer.add_callback(Reporter(progress))
    # checkpoints written within a second of each other are no reason to doubt the file system's clock aloud
    logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)
    begin = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(resumed[1]) if resumed else None)
    if save is not None:
        save(trainer)
    if arguments.should_save:
        shutil.rmtree(steps_folder(folder), ignore_errors=True)
    return Fitted(trainer.state.global_step, time.perf_counter() - begin, journal.losses())


def wants_bf16(settings: TrainingSettings) -> bool:
    """Whether forward passes are autocast to bfloat16."""
    if settings.bf16 is not None:
        return settings.bf16
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def training_arguments(
    settings: TrainingSettings, folder: Path, n_rows: int, report_to: Sequence[str] = ()
) -> TrainingArguments:
    """The Trainer's arguments; the batch is divided over the processes that torchrun or accelerate started.

    Raises:
        UsageError: if the batch size cannot be divided so.
    """
    on_gpu = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(steps_folder(folder)),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=wants_bf16(settings),
        use_cpu=not on_gpu,
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if settings.gradient_checkpointing else None,
        logging_steps=settings.log_steps,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_total_limit=1,
        remove_unused_columns=False,
        dataloader_num_workers=settings.workers,
        report_to=list(report_to) or "none",
        disable_tqdm=True,
    )
    world = arguments.world_size
    share, left = divmod(settings.batch_size, world)
    micro = settings.micro_batch_size or share
    if left or share < 1 or share % micro:
        raise UsageError(
            f"batch size {settings.batch_size} cannot be divided over {world} processes in micro-batches of {micro}"
        )
    steps = settings.max_steps or math.ceil(settings.epochs * math.ceil(n_rows / settings.batch_size))
    arguments.per_device_train_batch_size = micro
    arguments.gradient_accumulation_steps = share // micro
    arguments.save_steps = settings.save_steps or max(1, math.ceil(steps / 4))
    return arguments


def as_stage(stage: str, progress: Progress | None) -> Progress | None:
    """A progress callback that reports everything under the name of one stage of a pipeline."""
    if progress is None:
        return None
    report = progress
    return lambda _, done, total: report(stage, done, total)
