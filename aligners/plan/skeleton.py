"""A model's shape from its configuration alone: parameters by part, and what a training step keeps in memory.

The whole model is built without storage and counted. Activations are not taken from a formula: the real decoder, with
the adapter, precision and checkpointing that training would use, runs forward and backward on fake tensors with one and
with two layers (`aligners.plan.peak` follows every storage), and the rest is a straight line in the number of layers.
The vision tower is left out of that run: it is frozen by default and keeps nothing for the backward pass.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from aligners.plan.peak import PeakMemory, tensors_of
from aligners.training.logprobs import chunk_tokens_for, gather_logps
from aligners.training.policy import make_trainable
from aligners.training.settings import TrainingSettings
from evalkit.errors import UsageError


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of a model: all, those of its language model (head included), those that a run trains.

    largest  those of its largest tensor
    """

    total: int
    language: int
    trained: int
    largest: int = 0


@dataclass(frozen=True, slots=True)
class StepMemory:
    """What one micro-batch of a training step holds besides weights, gradients and optimiser state, bytes.

    kept        activations at the start of the backward pass
    transient   the most that the backward pass needs on top of them at one moment
    """

    kept: int
    transient: int


def skeleton(config: Any, layers: int | None = None, dtype: torch.dtype = torch.float32) -> Any:
    """The model of a configuration without storage (device "meta"), perhaps with fewer decoder layers.

    Raises:
        UsageError: if the configuration is not one of an image-text-to-text model.
    """
    from transformers import AutoModelForImageTextToText

    chosen = copy.deepcopy(config)
    if layers is not None:
        text = chosen.get_text_config()
        text.num_hidden_layers = layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:layers]
    try:
        with torch.device("meta"):
            return AutoModelForImageTextToText.from_config(chosen, dtype=dtype)
    except ValueError as error:
        raise UsageError(f"no image-text-to-text model has the configuration {type(config).__name__}") from error


def count_parameters(config: Any, settings: TrainingSettings) -> Parameters:
    """Parameters of the whole model, counted and not estimated."""
    model = skeleton(config)
    sizes = [p.numel() for p in model.parameters()]
    parts = [model.get_decoder(), model.get_output_embeddings()]
    language = {id(p): p.numel() for part in parts if part is not None for p in part.parameters()}
    with torch.device("meta"):
        trained = make_trainable(model, settings)
    count = sum(p.numel() for p in trained.parameters() if p.requires_grad)
    return Parameters(sum(sizes), sum(language.values()), count, max(sizes))


def step_memory(
    config: Any,
    settings: TrainingSettings,
    *,
    rows: int,
    tokens: int,
    response_tokens: int,
    weights: torch.dtype,
    bf16: bool,
    checkpointing: bool,
) -> StepMemory:
    """Memory of one micro-batch.

    Args:
        config: of the model.
        settings: which parameters are trained.
        rows: sequences in the micro-batch.
        tokens: of a sequence, image tokens included.
        response_tokens: those of a sequence, which go through the language-model head.
        weights: type in which the weights are held.
        bf16: autocast to bfloat16.
        checkpointing: gradient checkpointing.
    """
    layers = config.get_text_config().num_hidden_layers
    sample = [
        _traced(config, settings, count, rows, tokens, response_tokens, weights, bf16, checkpointing)
        for count in (1, 2)
    ]
    slope = sample[1].kept - sample[0].kept
    return StepMemory(sample[0].kept + slope * (layers - 1), sample[1].transient)


def _traced(
    config: Any,
    settings: TrainingSettings,
    layers: int,
    rows: int,
    tokens: int,
    response_tokens: int,
    weights: torch.dtype,
    bf16: bool,
    checkpointing: bool,
) -> StepMemory:
    """A step of a model with a few layers, on fake tensors."""
    with torch.device("meta"):
        model = make_trainable(skeleton(config, layers, weights), settings).train()
    with FakeTensorMode():
        _materialise(model)
        core = model.get_base_model() if hasattr(model, "get_base_model") else model
        decoder, head = core.get_decoder(), core.get_output_embeddings()
        if checkpointing:
            core.gradient_checkpointing_enable({"use_reentrant": False})
        watched, text = tensors_of(model), config.get_text_config()
        embeddings = torch.zeros(rows, tokens, text.hidden_size, dtype=weights).requires_grad_()
        mask = torch.ones(rows, 1, tokens, tokens, dtype=torch.bool)
        targets = torch.zeros(rows * response_tokens, dtype=torch.long)
        with PeakMemory() as memory:
            memory.watch(*watched, embeddings)
            before = memory.live
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                hidden = decoder(
                    inputs_embeds=embeddings,
                    attention_mask=mask,
                    position_ids=_positions(config, rows, tokens),
                    use_cache=False,
                ).last_hidden_state
                loss = _response_logps(
                    head, text.vocab_size, hidden[:, -response_tokens:].reshape(rows * response_tokens, -1), targets
                ).sum()
            del hidden
            kept = memory.live - before
            memory.peak = memory.live
            loss.backward()  # type: ignore[no-untyped-call]
            gradients = sum(p.grad.untyped_storage().nbytes() for p in model.parameters() if p.grad is not None)
            return StepMemory(kept, max(0, memory.peak - before - kept - gradients))


def _materialise(model: nn.Module) -> None:
    """Put tensors of the current mode in the place of the parameters and buffers, shared ones once."""
    replaced: dict[int, Tensor] = {}
    for module in model.modules():
        for name, old in module._parameters.items():
            if old is not None:
                new = nn.Parameter(torch.empty(old.shape, dtype=old.dtype), requires_grad=old.requires_grad)
                module._parameters[name] = replaced.setdefault(id(old), new)  # type: ignore[assignment]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = replaced.setdefault(id(buffer), torch.empty(buffer.shape, dtype=buffer.dtype))


def _positions(config: Any, rows: int, tokens: int) -> Tensor:
    """Position ids; models with rotary sections for image rows and columns take three of them."""
    positions = torch.arange(tokens).expand(rows, tokens)
    parameters = getattr(config.get_text_config(), "rope_parameters", None) or {}
    return positions.expand(3, rows, tokens) if "mrope_section" in parameters else positions


def _response_logps(head: nn.Module, vocabulary: int, states: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities of response tokens, in the chunks of `aligners.training.logprobs`."""
    size = chunk_tokens_for(vocabulary)

    def logps(chunk: Tensor, some: Tensor) -> Tensor:
        return gather_logps(head(chunk), some)

    if len(targets) <= size:
        return logps(states, targets)
    chunks = zip(torch.split(states, size), torch.split(targets, size), strict=True)
    return torch.cat([checkpoint(logps, chunk, some, use_reentrant=False) for chunk, some in chunks])
