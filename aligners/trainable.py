"""Which parameters of a vision-language model a run trains: all of its language model, or an adapter on it."""

from typing import Any

import torch
from torch import nn

from aligners.training import TrainingSettings
from evalkit.errors import TrainingError

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
