"""The policy of a training run: loading the start model and saving the trained one.

Which parameters of a vision-language model a run trains: all of its language model, or an adapter on it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aligners.training.checkpoint import Card, merged, rename_for_vllm, save_checkpoint, write_card
from aligners.training.settings import TrainingSettings
from evalkit.engines.model.loading import load_checkpoint
from evalkit.errors import TrainingError, UsageError

IN_MEMORY = "a model in memory"
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "README.md")  # as PEFT saves them


@dataclass(frozen=True, slots=True)
class Policy:
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


def load_policy(start: Path | str | tuple[Any, Any], training: TrainingSettings, device: torch.device) -> Policy:
    """Load what is to be trained; full training keeps float32 weights, whatever is stored."""
    if isinstance(start, tuple):
        model, processor = start
        return Policy(model, processor, None, IN_MEMORY, model.dtype)
    checkpoint = load_checkpoint(start, dtype="auto", device=str(device))
    model, dtype = merged(checkpoint.model), checkpoint.model.dtype
    if not wants_lora(model, training):
        model = model.float()
    source = str(start) if checkpoint.adapter is None else None
    return Policy(model, checkpoint.processor, source, str(start), dtype)


def trains_adapter(policy: Policy, training: TrainingSettings) -> bool:
    """Whether the run ends in an adapter.

    Raises:
        UsageError: if it would, and there is no base that the adapter could name.
    """
    adapter = wants_lora(policy.model, training) and not training.merge_adapter
    if adapter and policy.source is None:
        raise UsageError("an adapter of a model in memory, or of a merged one, has no base to name: set merge_adapter")
    return adapter


def save_policy(trainer: Any, policy: Policy, out: Path, card: Card) -> None:
    """Write the trained model; with sharded weights the Trainer gathers them, on every process.

    Raises:
        UsageError: if an adapter trained on sharded weights is to be merged, but the start was a model in memory; the
            adapter is left in `out`.
    """
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        trainer.save_model(str(out))
        if trainer.args.should_save:
            if not card.adapter and (out / _ADAPTER_FILES[0]).is_file():
                _fold_saved_adapter(policy, out)
            policy.processor.save_pretrained(out)
            rename_for_vllm(out)
            write_card(out, card)
    elif trainer.args.should_save:
        model = trainer.accelerator.unwrap_model(trainer.model)
        model = model if card.adapter else merged(model)
        save_checkpoint(model.to(policy.dtype), policy.processor, out, card)
    trainer.accelerator.wait_for_everyone()


def _fold_saved_adapter(policy: Policy, out: Path) -> None:
    """Replace the adapter in `out` by the whole model: sharded weights can't be merged where they are."""
    if policy.parent == IN_MEMORY:
        raise UsageError(f"{out}: sharded weights of a model in memory can't be merged; save the model first")
    from peft import PeftModel

    base = merged(load_checkpoint(policy.parent, dtype="auto", device="cpu").model)
    whole = merged(PeftModel.from_pretrained(base, out, autocast_adapter_dtype=False))
    for name in _ADAPTER_FILES:
        (out / name).unlink(missing_ok=True)
    whole.to(policy.dtype).save_pretrained(out)


LARGE_MODEL = 10**9  # parameters; beyond it LoRA is the default


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
