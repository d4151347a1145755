"""The policy of a training run: loading the start model and saving the trained one.

Which parameters of a vision-language model a run trains: all of its language model, or an adapter on it.
"""

import logging
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aligners.training.checkpoint import (
    IDENTICAL,
    Card,
    cast_weights,
    folded,
    identical_share,
    merged,
    note_dtype,
    rename_for_vllm,
    weights_hash,
    write_card,
)
from aligners.training.processes.sharding import constructed, shard, skeleton_of
from aligners.training.processes.shared import computed_once, process_rank
from aligners.training.response_logps import bare
from aligners.training.settings import ModelSettings, TrainingSettings
from evalkit.engines.model.families import first_line
from evalkit.engines.model.loading import load_checkpoint
from evalkit.errors import TrainingError, UsageError
from evalkit.process.libraries import library_version

_LOGGER = logging.getLogger(__name__)
IN_MEMORY = "a model in memory"
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "README.md")  # as PEFT saves them


@dataclass(frozen=True, slots=True)
class Policy:
    """The model that training begins with.

    source  folder or hub name whose weights these are; None for a model in memory and for a merged adapter, which an
            adapter could not name as its base
    parent  for the card
    dtype   in which the trained weights will be saved: as the start's are stored, unless the settings say otherwise
    stored  in which the start's weights are stored; the model in memory may hold another, see `held_dtype`
    sharding  the Accelerator that is going to shard the model (`sharded`): until then the first process holds it on the
            CPU as it is stored, the others hold a skeleton on "meta"
    """

    model: Any
    processor: Any
    source: str | None
    parent: str
    dtype: torch.dtype
    stored: torch.dtype
    sharding: Any | None = None


def load_policy(
    start: Path | str | tuple[Any, Any],
    training: ModelSettings,
    device: torch.device | None = None,
    sharding: Any | None = None,
) -> Policy:
    """Load what is to be trained, in the type of `held_dtype`; a model in memory stays in its own.

    Args:
        start: checkpoint folder or hub name, or (model, processor) in memory.
        training: which part of it is trained, and how it is held.
        device: where it is loaded to.
        sharding: of `sharding_accelerator`; then every process must call this, and the first one alone reads weights.
            A model in memory, and one that is quantised, is in every process as before.
    """
    if sharding is not None and not isinstance(start, tuple) and training.quantize is None:
        return _load_once(start, training, sharding)
    if isinstance(start, tuple):
        model, processor = start
        saved = getattr(torch, training.save_dtype) if training.save_dtype else model.dtype
        return Policy(model, processor, None, IN_MEMORY, saved, model.dtype)
    policy = _stored_policy(start, training, device)
    if training.quantize is None:
        cast_weights(policy.model, _held(policy, training))
    return policy


def _stored_policy(start: Path | str, training: ModelSettings, device: torch.device | None) -> Policy:
    """The policy with its weights as they are stored."""
    saved = getattr(torch, training.save_dtype) if training.save_dtype else None
    place = None if device is None else str(device)
    checkpoint = load_checkpoint(start, dtype="auto", device=place, quantization=quantisation(training))
    if training.quantize and checkpoint.adapter:
        raise UsageError(f"{start} is an adapter: merge it into a whole model before its base is quantised")
    model, stored = merged(checkpoint.model), checkpoint.model.dtype
    if training.attention is not None:
        set_attention(model, training.attention)
    if training.max_pixels is not None:
        limit_pixels(checkpoint.processor, training.max_pixels)
    source = str(start) if checkpoint.adapter is None else None
    return Policy(model, checkpoint.processor, source, str(start), saved or stored, stored)


def _load_once(start: Path | str, training: ModelSettings, sharding: Any) -> Policy:
    """The policy with its weights in the first process and a skeleton of it in the others; see `sharded`."""
    whole: list[Any] = []

    def load() -> Policy:
        policy = _stored_policy(start, training, torch.device("cpu"))
        if wants_lora(policy.model, training):  # full training floats one weight after another, see `shard`
            cast_weights(policy.model, _held(policy, training))
        whole.append(policy.model)
        return replace(policy, model=skeleton_of(policy.model))

    policy = computed_once(load)
    model = whole[0] if whole else constructed(policy.model)
    return replace(policy, model=model, sharding=sharding)


def hash_of_start(policy: Policy, training: ModelSettings) -> str:
    """`weights_hash` of the start as it is held in training, wherever its weights are."""
    if policy.sharding is None:
        return weights_hash(policy.model)
    return computed_once(lambda: weights_hash(policy.model, _held(policy, training)))


def sharded(policy: Policy, training: ModelSettings) -> Policy:
    """The policy made trainable and sharded, if it was loaded for that, else as it is; every process must call this."""
    if policy.sharding is None:
        return policy
    held = _held(policy, training)
    with nullcontext() if process_rank() == 0 else torch.device("meta"):
        model = make_trainable(policy.model, training)
    skeleton = skeleton_of(model)
    if held is torch.float32:
        cast_weights(skeleton, held)
    return replace(policy, model=shard(model, skeleton, policy.sharding))


def _held(policy: Policy, training: ModelSettings) -> torch.dtype:
    return held_dtype(policy.stored, lora=wants_lora(policy.model, training), bf16=wants_bf16(training))


def quantisation(settings: ModelSettings) -> Any:
    """How bitsandbytes holds the base of QLoRA (Dettmers et al. 2023, arXiv:2305.14314); None: not at all.

    Raises:
        UsageError: if bitsandbytes is not installed.
    """
    if settings.quantize is None:
        return None
    if library_version("bitsandbytes") is None:
        raise UsageError("quantize=nf4 needs bitsandbytes: pip install 'hallu-evalkit[qlora]'")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=settings.quantize,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def set_attention(model: Any, name: str) -> None:
    """Let a model use another attention of transformers.

    Raises:
        UsageError: if it cannot here.
    """
    try:
        model.set_attn_implementation(name)
    except (ValueError, ImportError, RuntimeError, KeyError) as error:
        raise UsageError(f"attention={name}: {first_line(error)}") from error


def limit_pixels(processor: Any, pixels: int) -> None:
    """Let a processor scale larger images down to at most so many pixels; it is saved with the limit.

    Raises:
        UsageError: if it brings every image to a size of its own.
    """
    images = processor.image_processor
    edges: Any = getattr(images, "size", None)
    if not hasattr(images, "merge_size") or getattr(edges, "longest_edge", None) is None:
        raise UsageError(f"max_pixels: {type(images).__name__} brings every image to the size its model was made for")
    fewest = min(edges.shortest_edge or pixels, pixels)
    images.size = type(edges)(shortest_edge=fewest, longest_edge=pixels)


def held_dtype(stored: torch.dtype, *, lora: bool, bf16: bool) -> torch.dtype:
    """The type in which weights are held during training.

    Full training: float32. The frozen base of an adapter: bfloat16 where the forward pass is (a float16 base would make
    every sum of the two a float32), else as stored; float16 by itself would need a loss scaler, so it becomes float32.
    """
    if not lora:
        return torch.float32
    if bf16:
        return torch.bfloat16
    return torch.float32 if stored is torch.float16 else stored


def hold_base(model: Any, training: ModelSettings) -> None:
    """Hold the base of an adapter in its `held_dtype`; the adapter's own weights stay as they are."""
    dtype = held_dtype(bare(model).dtype, lora=True, bf16=wants_bf16(training))
    for name, parameter in model.named_parameters():
        if "lora_" not in name:
            parameter.data = parameter.data.to(dtype)


def wants_bf16(settings: ModelSettings) -> bool:
    """Whether forward passes are autocast to bfloat16."""
    if settings.bf16 is not None:
        return settings.bf16
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


def autocast(model: Any, settings: ModelSettings) -> torch.autocast:
    """The precision of forward passes, as a context."""
    return torch.autocast(bare(model).device.type, torch.bfloat16, enabled=wants_bf16(settings))


def trains_adapter(policy: Policy, training: ModelSettings) -> bool:
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
        folds = not card.adapter and hasattr(trainer.accelerator.unwrap_model(trainer.model), "merge_and_unload")
        trainer.saved_dtype = None if folds else policy.dtype
        trainer.save_model(str(out))
        if trainer.args.should_save:
            note_dtype(out, policy.dtype)
            if not card.adapter and (out / _ADAPTER_FILES[0]).is_file():
                _fold_saved_adapter(policy, out)
            _finish(policy, out, card)
    elif trainer.args.should_save:
        save_trained(trainer.accelerator.unwrap_model(trainer.model), policy, out, card)
    trainer.accelerator.wait_for_everyone()


def save_trained(model: Any, policy: Policy, out: Path, card: Card) -> None:
    """Write a trained model that one process holds whole.

    An adapter on a base that is held in another type than it is stored in is folded into the stored weights: what was
    not trained stays as it was, bit by bit. What folding changes stands on the card (`aligners.training.checkpoint`).
    """
    if getattr(bare(model), "is_loaded_in_4bit", False):
        model.save_pretrained(out)  # the adapter alone; a quantised base takes no other type
    elif card.adapter or not hasattr(model, "merge_and_unload"):
        cast_weights(model, policy.dtype).save_pretrained(out)
    else:
        _, difference = folded(model, policy.processor, lambda: _fold(model, policy, out))
        card = replace(card, cost={**card.cost, **difference.as_cost()})
    _finish(policy, out, card)


def _fold(model: Any, policy: Policy, out: Path) -> Any:
    """Write the whole model that an adapter makes, and return it."""
    if policy.parent != IN_MEMORY and bare(model).dtype != policy.stored:
        model.save_pretrained(out)
        return _fold_saved_adapter(policy, out)
    whole = cast_weights(merged(model), policy.dtype)
    whole.save_pretrained(out)
    return whole


def _finish(policy: Policy, out: Path, card: Card) -> None:
    """What belongs to the weights; the card comes last, with the share of them that is still the start's."""
    policy.processor.save_pretrained(out)
    rename_for_vllm(out)
    share = identical_share(out, Path(policy.parent)) if not card.adapter else None
    if share is not None:
        card = replace(card, cost={**card.cost, IDENTICAL: round(share, 4)})
    write_card(out, card)


def _fold_saved_adapter(policy: Policy, out: Path) -> Any:
    """Replace the adapter in `out` by the whole model, which is returned: sharded weights can't be merged in place."""
    if policy.parent == IN_MEMORY:
        raise UsageError(f"{out}: sharded weights of a model in memory can't be merged; save the model first")
    from peft import PeftModel

    base = merged(load_checkpoint(policy.parent, dtype="auto", device="cpu").model)
    whole = merged(PeftModel.from_pretrained(base, out, autocast_adapter_dtype=False))
    for name in _ADAPTER_FILES:
        (out / name).unlink(missing_ok=True)
    cast_weights(whole, policy.dtype).save_pretrained(out)
    return whole


LARGE_MODEL = 10**9  # parameters; beyond it LoRA is the default


def wants_lora(model: Any, settings: ModelSettings) -> bool:
    """Whether these settings train an adapter of this model."""
    return parameter_count(model) > LARGE_MODEL if settings.lora is None else settings.lora


def wants_checkpointing(model: Any, settings: ModelSettings) -> bool:
    """Whether these settings compute activations of this model again in the backward pass."""
    chosen = settings.gradient_checkpointing
    return parameter_count(model) > LARGE_MODEL if chosen is None else chosen


def rate_of(model: Any, settings: TrainingSettings) -> float:
    """The peak learning rate for what these settings train of this model."""
    adapts = settings.lora_learning_rate is not None and wants_lora(model, settings)
    return settings.lora_learning_rate if adapts and settings.lora_learning_rate else settings.learning_rate


def parameter_count(model: Any) -> int:
    """Parameters of a model, shared ones once; those of which ZeRO-3 leaves a part here count whole."""
    return sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in model.parameters())


def make_trainable(model: Any, settings: ModelSettings) -> Any:
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


def _with_lora(model: Any, settings: ModelSettings) -> Any:
    config = adapter_config(model, settings)
    from peft import get_peft_model

    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        return get_peft_model(model, config)


def adapter_config(model: Any, settings: ModelSettings) -> Any:
    """PEFT's configuration of an adapter on each linear layer of the language model; its head and the vision side stay.

    Raises:
        TrainingError: if PEFT is not installed, or there is nothing to adapt.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise TrainingError("adapters need PEFT: pip install 'hallu-evalkit[align]'") from error
    within = _ids(model.get_decoder())
    targets = [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear) and id(module.weight) in within
    ]
    if not targets:
        raise TrainingError(f"{type(model).__name__} has no linear layers in its language model to adapt")
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets,
    )


def say_if_adapter(model: Any, settings: TrainingSettings, learning_rate: float) -> None:
    """Say aloud that an adapter is trained only because the model is large."""
    if settings.lora is None and wants_lora(model, settings):
        _LOGGER.warning(
            "the model has %.1fe9 parameters: an adapter is trained (rank %d, learning rate %g); lora=false trains all",
            parameter_count(model) / 1e9, settings.lora_rank, learning_rate,
        )  # fmt: skip
