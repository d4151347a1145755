"""One training run of any of the methods, on transformers.Trainer: its settings and what happens around the loss.

A method gives `fit` its rows, a collate function and a loss; the trainer adds metrics, a log, a NaN guard, and training
checkpoints from which a killed run resumes (see `aligners.training.run_folder`).
"""

import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from aligners.training.evaluation import BEST, QUICK, HeldOut, Probe, Watch, as_input
from aligners.training.policy import rate_of, say_if_adapter, wants_bf16, wants_checkpointing
from aligners.training.processes.changes import Fingerprint, changed_since, fingerprint
from aligners.training.processes.sharding import fit_plugin, is_sharded
from aligners.training.processes.shared import process_share as process_share
from aligners.training.run_folder import (
    LOG,
    TrainingLog,
    check_shards,
    claim_folder,
    keep_steps,
    last_complete_step,
    steps_folder,
)
from aligners.training.settings import TrainingSettings, halved
from evalkit.engines.model.batching import free_memory, is_out_of_memory
from evalkit.errors import TrainingError, UsageError
from evalkit.process.progress import Progress
from evalkit.schema import Json


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `fit` did: optimiser steps in all, seconds of this process, loss of each logged step of the whole run."""

    steps: int
    seconds: float
    losses: tuple[float, ...]


# (model, batch on the model's device) -> (scalar loss, name -> one number per row of the batch)
LossFunction = Callable[[Any, Any], tuple[Tensor, Mapping[str, Tensor]]]


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
    held_out: HeldOut | None = None,
    probe: Probe | None = None,
    keep: int = 0,
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
        held_out: rows to measure during training, and what follows from it.
        probe: what else is measured; its numbers stand in the log as quick_...
        keep: training checkpoints that stay, as folders `checkpoints/step-N`; the newest.
    Raises:
        TrainingError: if loss or gradients are not finite (the last good training checkpoint is kept and named), the
            folder belongs to another run, or there are no rows.
    """
    if not rows:
        raise TrainingError("no rows to train on")
    arguments = arguments or training_arguments(settings, folder, len(rows), report_to)
    if arguments.should_save:
        claim_folder(folder, identity)
    _fit_to_model(arguments, model, settings, keep)
    begin, before = time.perf_counter(), fingerprint(model)
    while True:
        resumed = last_complete_step(folder)
        journal = TrainingLog(folder / LOG, resumed[0] if resumed else 0, active=arguments.should_save)
        with quiet_warnings():
            trainer = LossTrainer(model, arguments, rows, collate, loss, journal, folder, settings.warmup_ratio)
        if resumed is not None:
            check_shards(resumed[1], trainer.is_fsdp_enabled)
        if held_out is not None:
            trainer.watch = Watch(held_out, collate, loss, folder, journal.lines())
        trainer.probe = probe
        if probe is not None and (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
            raise UsageError("a sharded model cannot answer questions while it trains: leave out the quick evaluation")
        if progress is not None and arguments.should_save:
            trainer.add_callback(Reporter(progress))
        try:
            trainer.train(resume_from_checkpoint=str(resumed[1]) if resumed else None)
            break
        except (RuntimeError, MemoryError) as error:
            _halve(arguments, settings, trainer.state.global_step, resumed, error)
        free_memory()  # here, where the traceback no longer holds what the step had made
    trained = trainer.accelerator.unwrap_model(trainer.model)
    if not trainer.is_deepspeed_enabled and not changed_since(trainer.in_shards or before, trained, arguments.device):
        raise TrainingError(
            f"{trainer.state.global_step} steps changed no weight: the learning rate {arguments.learning_rate:g} is "
            "too small for them, or every gradient is zero"
        )
    if trainer.watch is not None:
        trainer.watch.restore_best(trained)
    if save is not None:
        save(trainer)
    if arguments.should_save:
        keep_steps(folder, keep)
        shutil.rmtree(steps_folder(folder), ignore_errors=True)
        (folder / BEST).unlink(missing_ok=True)
    return Fitted(trainer.state.global_step, time.perf_counter() - begin, journal.losses())


def _fit_to_model(arguments: TrainingArguments, model: Any, settings: TrainingSettings, keep: int) -> None:
    """What of the arguments depends on the model: the learning rate, and whether activations are computed again."""
    arguments.learning_rate = rate_of(model, settings)
    arguments.save_total_limit = max(1, keep)
    if arguments.should_save:
        say_if_adapter(model, settings, arguments.learning_rate)
    if wants_checkpointing(model, settings):
        arguments.gradient_checkpointing = True
        arguments.gradient_checkpointing_kwargs = {"use_reentrant": False}
    # checkpoints written within a second of each other are no reason to doubt the file system's clock aloud
    logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)


def _halve(
    arguments: TrainingArguments, settings: TrainingSettings, step: int, resumed: Any, error: BaseException
) -> None:
    """Half as many rows a forward pass, twice as many passes: the same step in less memory; other errors go on.

    Raises:
        TrainingError: if that cannot be done here: the number was given, is 1 already, other processes would not know
            of it, or steps were taken that no training checkpoint holds.
    """
    if not is_out_of_memory(error):
        raise error
    micro = arguments.per_device_train_batch_size
    lost = step > (resumed[0] if resumed else 0)
    if settings.micro_batch_size is not None or micro == 1 or arguments.world_size > 1 or lost:
        smaller = f"set micro_batch_size below {micro}" if micro > 1 else "set gradient_checkpointing or lora"
        raise TrainingError(f"out of memory with {micro} rows in a forward pass: {smaller}") from error
    arguments.per_device_train_batch_size = halved(micro)
    arguments.gradient_accumulation_steps *= micro // halved(micro)


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
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=wants_bf16(settings),
        use_cpu=not on_gpu,
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
    micro = min(settings.micro_batch_size or share, max(1, share))
    if left or share < 1 or share % micro:
        raise UsageError(
            f"batch size {settings.batch_size} cannot be divided over {world} processes in micro-batches of {micro}"
        )
    steps = settings.max_steps or math.ceil(settings.epochs * math.ceil(n_rows / settings.batch_size))
    arguments.per_device_train_batch_size = micro
    arguments.gradient_accumulation_steps = share // micro
    arguments.save_steps = settings.save_steps or max(1, math.ceil(steps / 4))
    return arguments


class OwnNames:
    """Training checkpoints of a Trainer keep the modules' own weight names.

    The Trainer writes the names of the original release ("language_model.model..."), looks for the modules' names when
    it continues, finds none of them and goes on with the start model, silently (transformers 5.19).

    saved_dtype  type of the weights of a finished run that are gathered from shards; None: as they are trained
    """

    saved_dtype: torch.dtype | None = None

    def _save(self: Any, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        model = self.accelerator.unwrap_model(self.model)
        inside = output_dir is not None and Path(output_dir).is_relative_to(self.args.output_dir)
        if isinstance(model, PreTrainedModel) and inside:
            model.save_pretrained(output_dir, state_dict=state_dict, save_original_format=False)
            return
        if state_dict is not None and self.saved_dtype is not None:
            state_dict = {
                name: tensor.to(self.saved_dtype) if tensor.is_floating_point() else tensor
                for name, tensor in state_dict.items()
            }
        super()._save(output_dir, state_dict)  # type: ignore[misc]

    def _issue_warnings_after_load(self: Any, load_result: Any) -> None:
        known = set(getattr(self.model, "_tied_weights_keys", None) or ())
        known |= {name for name, parameter in self.model.named_parameters() if not parameter.requires_grad}
        lost = sorted({*load_result.missing_keys, *load_result.unexpected_keys} - known)
        if lost:
            raise TrainingError(f"the training checkpoint does not fit the model: {len(lost)} weights, e.g. {lost[0]}")


class LossTrainer(OwnNames, Trainer):  # type: ignore[misc]
    """A Trainer whose loss is a function; it averages the function's metrics over rows, micro-batches and devices."""

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        rows: Sequence[Any],
        collate: Callable[[list[Any]], Any],
        loss: LossFunction,
        journal: TrainingLog,
        folder: Path,
        warmup_ratio: float = 0.0,
    ) -> None:
        self._warmup_ratio = warmup_ratio
        super().__init__(model=model, args=arguments, train_dataset=rows, data_collator=partial(as_input, collate))
        self.remove_callback(PrinterCallback)
        self.add_callback(_LogBeforeSaving(self))
        self.loss_is_scaled_for_ga = False  # ours is a mean over the rows of a micro-batch
        if self.is_fsdp_enabled:
            fit_plugin(self.accelerator.state.fsdp_plugin, model)
        self._loss, self._journal, self._folder = loss, journal, folder
        self.watch: Watch | None = None
        self.probe: Probe | None = None
        self.in_shards: Fingerprint | None = None  # of the start, once FSDP has sharded it
        self._own: list[list[Any]] = []
        self._sums: dict[str, float] = {}
        self._rows_seen = 0

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The method's loss.

        Raises:
            TrainingError: if it is not finite.
        """
        loss, metrics = self._loss(model, inputs["batch"].to(self.args.device))
        if not bool(torch.isfinite(loss)):
            self._give_up(f"the loss of step {self.state.global_step + 1} is {loss.item()}")
        for name, values in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(values.sum())
        self._rows_seen += len(next(iter(metrics.values())))
        return (loss, None) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the method's metrics, write the line.

        Raises:
            TrainingError: if the gradients are not finite; nothing is saved after that.
        """
        if not math.isfinite(logs.get("grad_norm", 0.0)):
            self._give_up(f"the gradients of step {self.state.global_step} are not finite")
        if "loss" in logs:
            logs |= self._mean_metrics()
            stopped = self._watched(logs)
            self._journal.write({"step": self.state.global_step, **logs, "epoch": self.state.epoch, **stopped})
        super().log(logs, start_time)

    def is_due(self, step: int) -> bool:
        """Whether anything is measured at this step."""
        steps = self.state.max_steps
        held_out = self.watch is not None and self.watch.due(step, steps)
        return held_out or (self.probe is not None and self.probe.due(step, steps, self.args.save_steps))

    def _watched(self, logs: dict[str, float]) -> dict[str, str]:
        """Add what is measured at this step; stop the run if held-out rows say so, and say why."""
        step, steps = self.state.global_step, self.state.max_steps
        unwrapped = self.accelerator.unwrap_model(self.model)
        if self.probe is not None and self.probe.due(step, steps, self.args.save_steps) and self.args.should_save:
            logs |= {f"{QUICK}{name}": value for name, value in self.probe.measure(unwrapped, step).items()}
        if self.watch is None or not self.watch.due(step, steps):
            return {}
        logs |= self.watch.measure(self.model_wrapped, unwrapped, self.args.device, self.args.should_save)
        reason = self.watch.reason_to_stop()
        if reason is None or step >= steps:
            return {}
        self.control.should_training_stop = True
        return {"stopped": reason}

    def create_optimizer(self, *arguments: Any) -> Any:
        """As usual; the parameters of a model that is sharded already are remembered, see `create_scheduler`."""
        optimizer = super().create_optimizer(*arguments)
        if is_sharded(self.model):
            self._own = [list(group["params"]) for group in optimizer.param_groups]
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """See `rate_share`; transformers' own begins with a step at 0.

        It is called when model and optimiser are ready and no training checkpoint is read yet. accelerate (1.15) has
        then replaced the optimiser's parameters by those at the same address, which parameters without a row in this
        process share; here they come back, each one itself.
        """
        for group, parameters in zip(self.optimizer.param_groups, self._own, strict=False):
            group["params"] = parameters
        if self.is_fsdp_enabled:
            self.in_shards = fingerprint(self.accelerator.unwrap_model(self.model))
        if getattr(self, "lr_scheduler", None) is None:
            warmup = math.ceil(num_training_steps * self._warmup_ratio)

            def share(step: int) -> float:
                return rate_share(step, num_training_steps, warmup)

            self.lr_scheduler: Any = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted."""
        return 0

    def _mean_metrics(self) -> dict[str, float]:
        names = sorted(self._sums)
        local = torch.tensor([*(self._sums[name] for name in names), self._rows_seen], dtype=torch.float64)
        if self.args.world_size > 1:
            local = self.accelerator.reduce(local.to(self.args.device, torch.float32), "sum").cpu()
        self._sums, self._rows_seen = {}, 0
        rows = local[-1].item()
        return {name: local[i].item() / rows for i, name in enumerate(names)} | {"rows": rows}

    def _give_up(self, what: str) -> None:
        last = last_complete_step(self._folder)
        kept = f"the last good training checkpoint is {last[1]}" if last else "no training checkpoint was saved yet"
        raise TrainingError(f"{what}; {kept}. A lower learning rate or shorter training usually helps.")


def rate_share(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate at a step (from 0): linear over the first `warmup` steps, then a cosine.

    No step goes without a rate: a run of one step has one, and warm-up takes at most half of a run.
    """
    warmup = min(warmup, steps // 2)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


class _LogBeforeSaving(TrainerCallback):  # type: ignore[misc]
    """A step that is saved or measured is logged first: broken gradients are seen before they reach a checkpoint."""

    def __init__(self, trainer: "LossTrainer") -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if control.should_save or self._trainer.is_due(state.global_step):
            control.should_log = True
        return control


class Reporter(TrainerCallback):  # type: ignore[misc]
    """Calls `progress` with ("training", steps done, steps in all)."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress("training", state.global_step, state.max_steps)


@contextmanager
def quiet_warnings() -> Iterator[None]:
    """The Trainer's remarks about the model's special tokens are not about this training."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
