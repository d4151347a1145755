"""One training run of any of the methods, on transformers.Trainer: settings, what is trained, log, resume, NaN guard.

A method gives `fit` its rows, a collate function and a loss; everything around them is here. In the run's folder:

    training.jsonl                    one line per logged step: loss, metrics of the method, learning rate, seconds
    training/settings.json            what this run trains, so that the same command continues it and no other
    training/steps/checkpoint-N       for going on after a kill; removed when training is finished
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from aligners.reference_logps import Progress
from evalkit.errors import TrainingError, UsageError
from evalkit.schema import Json

LARGE_MODEL = 10**9  # parameters; beyond it LoRA is the default
LOG = "training.jsonl"

# (model, batch on the model's device) -> (scalar loss, name -> one number per row of the batch)
LossFunction = Callable[[Any, Any], tuple[Tensor, Mapping[str, Tensor]]]


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


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `fit` did: optimiser steps in all, seconds of this process, loss of each logged step of the whole run."""

    steps: int
    seconds: float
    losses: tuple[float, ...]


# --- what is trained ----------------------------------------------------------------------------------------------


def wants_lora(model: Any, settings: TrainingSettings) -> bool:
    """Whether these settings train an adapter of this model."""
    return parameter_count(model) > LARGE_MODEL if settings.lora is None else settings.lora


def parameter_count(model: Any) -> int:
    """Parameters of a model, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def make_trainable(model: Any, settings: TrainingSettings) -> Any:
    """Freeze what stays, or put an adapter on the language model; returns the model to train.

    Raises:
        TrainingError: if nothing is left to train.
    """
    if wants_lora(model, settings):
        return _with_lora(model, settings)
    text, tower = model.get_decoder(), model.get_encoder(modality="image")
    head = model.get_output_embeddings()
    language = _ids(text) | (_ids(head) if head is not None else set())
    vision = _ids(tower) if tower is not model else set()
    for parameter in model.parameters():
        if id(parameter) in vision:
            parameter.requires_grad_(settings.train_vision)
        else:
            parameter.requires_grad_(id(parameter) in language or settings.train_projector)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TrainingError("these settings leave no parameter to train")
    return model


def _ids(module: nn.Module) -> set[int]:
    return {id(parameter) for parameter in module.parameters()}


def _with_lora(model: Any, settings: TrainingSettings) -> Any:
    """Adapters on every linear layer of the language model; its head and the vision side stay as they are."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise TrainingError("adapters need PEFT: pip install 'hallu-evalkit[align]'") from error
    within = _ids(model.get_decoder())
    targets = [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear) and id(module.weight) in within
    ]
    if not targets:
        raise TrainingError(f"{type(model).__name__} has no linear layers in its language model to adapt")
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets,
    )
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        return get_peft_model(model, config)


# --- the run ------------------------------------------------------------------------------------------------------


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
    with _quiet_warnings():
        trainer = LossTrainer(model, arguments, rows, collate, loss, journal, folder)
    if progress is not None and arguments.should_save:
        trainer.add_callback(_Reporter(progress))
    begin = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(resumed[1]) if resumed else None)
    if save is not None:
        save(trainer)
    if arguments.should_save:
        shutil.rmtree(_steps(folder), ignore_errors=True)
    return Fitted(trainer.state.global_step, time.perf_counter() - begin, journal.losses())


def training_arguments(
    settings: TrainingSettings, folder: Path, n_rows: int, report_to: Sequence[str] = ()
) -> TrainingArguments:
    """The Trainer's arguments; the batch is divided over the processes that torchrun or accelerate started.

    Raises:
        UsageError: if the batch size cannot be divided so.
    """
    on_gpu = torch.cuda.is_available()
    bf16 = on_gpu and torch.cuda.is_bf16_supported() if settings.bf16 is None else settings.bf16
    arguments = TrainingArguments(
        output_dir=str(_steps(folder)),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=bf16,
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


class LossTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose loss is a function; it averages the function's metrics over rows, micro-batches and devices."""

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        rows: Sequence[Any],
        collate: Callable[[list[Any]], Any],
        loss: LossFunction,
        journal: "Journal",
        folder: Path,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=lambda some: {"batch": collate(some)},
        )
        self.remove_callback(PrinterCallback)
        self.add_callback(_LogBeforeSaving())
        self.loss_is_scaled_for_ga = False  # ours is a mean over the rows of a micro-batch
        self._loss, self._journal, self._folder = loss, journal, folder
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
            self._journal.write({"step": self.state.global_step, **logs, "epoch": self.state.epoch})
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted."""
        return 0

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Training checkpoints keep the modules' own weight names.

        The Trainer writes the names of the original release ("language_model.model..."), looks for the modules' names
        when it continues, finds none of them and goes on with the start model, silently (transformers 5.19).
        """
        model = self.accelerator.unwrap_model(self.model)
        inside = output_dir is not None and Path(output_dir).is_relative_to(_steps(self._folder))
        if isinstance(model, PreTrainedModel) and inside:
            model.save_pretrained(output_dir, state_dict=state_dict, save_original_format=False)
        else:
            super()._save(output_dir, state_dict)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        tied = set(getattr(self.model, "_tied_weights_keys", None) or ())
        lost = sorted({*load_result.missing_keys, *load_result.unexpected_keys} - tied)
        if lost:
            raise TrainingError(f"the training checkpoint does not fit the model: {len(lost)} weights, e.g. {lost[0]}")

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


class _LogBeforeSaving(TrainerCallback):  # type: ignore[misc]
    """A step that is saved is logged first, so that broken gradients are seen before they reach a checkpoint."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if control.should_save:
            control.should_log = True
        return control


class _Reporter(TrainerCallback):  # type: ignore[misc]
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._progress("training", state.global_step, state.max_steps)


# --- log and resume -----------------------------------------------------------------------------------------------


class Journal:
    """training.jsonl; a run that continues at a step drops the lines written after it."""

    def __init__(self, path: Path, resumed_step: int, active: bool = True) -> None:
        self.path, self._active = path, active
        self._begin = time.perf_counter()
        if not active:
            return
        kept = [line for line in read_log(path) if line["step"] <= resumed_step]
        self._before = kept[-1].get("seconds", 0.0) if kept else 0.0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def write(self, line: Mapping[str, Json]) -> None:
        """Append one line; `seconds` counts the whole run, interruptions left out."""
        if self._active:
            seconds = self._before + time.perf_counter() - self._begin
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**line, "seconds": round(seconds, 3)}) + "\n")

    def losses(self) -> tuple[float, ...]:
        """Loss of every logged step."""
        return tuple(line["loss"] for line in read_log(self.path)) if self._active else ()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Lines of a training.jsonl; a torn last line is left out, an absent file has none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise TrainingError(f"{path}:{number}: not JSON: {error}") from error
    return found


def claim_folder(folder: Path, identity: Mapping[str, Json]) -> None:
    """Mark a folder as this run's.

    Raises:
        TrainingError: if it belongs to a run of other settings, data or model.
    """
    path = folder / "training" / "settings.json"
    mine = json.loads(json.dumps(identity))
    if path.is_file():
        theirs = json.loads(path.read_text(encoding="utf-8"))
        if theirs != mine:
            differing = sorted(k for k in {*theirs, *mine} if theirs.get(k) != mine.get(k))
            raise TrainingError(
                f"{folder} belongs to a training run that differs in {', '.join(differing)}; "
                "use another folder, or remove this one"
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(mine, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)


def last_complete_step(folder: Path) -> tuple[int, Path] | None:
    """(step, folder) of the newest training checkpoint that was written to its end."""
    found = []
    for path in _steps(folder).glob("checkpoint-*"):
        try:  # the state is the last file of a checkpoint
            found.append((int(json.loads((path / "trainer_state.json").read_text())["global_step"]), path))
        except (OSError, ValueError, KeyError):
            continue
    return max(found, default=None)


def _steps(folder: Path) -> Path:
    return folder / "training" / "steps"


@contextmanager
def _quiet_warnings() -> Iterator[None]:
    """The Trainer's remarks about the model's special tokens are not about this training."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
