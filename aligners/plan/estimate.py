"""Memory per device, steps, tokens and hours of a training run, from a configuration and the settings.

    weights      as they are held: bfloat16 or as stored for an adapter, float32 for full training
    gradients    float32, one a trained parameter
    optimiser    AdamW: two float32 numbers a trained parameter
    activations  of one micro-batch, traced (see `aligners.plan.skeleton`)

The peak of a step is at the start of its backward pass (activations), or at its end (gradients); with accumulated
micro-batches the gradients are there all the time. Sharding divides what the strategy shards. With FSDP a device takes
its part of the weights and one tensor after another as it is stored, from the first process's host memory; otherwise
every process loads the whole model (`aligners.training.processes.sharding`). Not counted: what CUDA and its libraries
take for themselves (about 1 GB a device), fragmentation, and the images of the batch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from aligners.plan.skeleton import Parameters, count_parameters, step_memory
from aligners.training.settings import TrainingSettings
from evalkit.errors import UsageError

Strategy = Literal["ddp", "fsdp", "zero2", "zero3"]
FLOAT32, ADAM = 4, 8  # bytes a parameter
# what a strategy divides by the number of devices: weights, gradients, optimiser state
SHARDED: Mapping[str, tuple[bool, bool, bool]] = {
    "ddp": (False, False, False),
    "fsdp": (True, True, True),
    "zero2": (False, True, True),
    "zero3": (True, True, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is trained on, and with what.

    rows             pairs (or other rows) of one pass
    tokens           of the longest sequence, image tokens included; for packed pairs prompt and both responses
    response_tokens  of that sequence
    mean_tokens      of all sequences; None: they are as long as the longest
    sequences        sequences a row puts into a forward pass: 1 for packed pairs, 2 otherwise
    devices          processes, one a device
    loads_whole      every process loads the whole model, whatever the strategy
    """

    rows: int
    tokens: int
    response_tokens: int
    mean_tokens: float | None = None
    sequences: int = 1
    devices: int = 1
    strategy: Strategy = "ddp"
    loads_whole: bool = False

    def __post_init__(self) -> None:
        if self.strategy not in get_args(Strategy):
            raise UsageError(f"strategy must be one of {', '.join(get_args(Strategy))}, got {self.strategy!r}")
        if self.tokens < self.response_tokens:
            raise UsageError(f"a sequence of {self.tokens} tokens cannot hold {self.response_tokens} response tokens")


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run takes; memory in bytes on one device.

    lora             whether an adapter is trained
    checkpointing    whether activations are computed again in the backward pass
    micro_batch      rows in one forward pass on one device
    accumulation     forward passes of one device in a step
    loading          the most that one device holds before the first step
    step             the most that one device holds during a step
    tokens           of all steps together
    host             what the host memory of a process that loads weights holds
    loads_once       only the first process loads them
    """

    parameters: Parameters
    lora: bool
    checkpointing: bool
    micro_batch: int
    accumulation: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    loading: int
    step: int
    steps: int
    tokens: int
    host: int = 0
    loads_once: bool = False

    @property
    def peak(self) -> int:
        """The most that one device holds, ever."""
        return max(self.loading, self.step)

    def hours(self, tokens_per_second: float) -> float:
        """Duration at a throughput of all devices together."""
        return self.tokens / tokens_per_second / 3600


def estimate(
    config: Any,
    settings: TrainingSettings,
    work: Workload,
    *,
    lora: bool,
    checkpointing: bool,
    bf16: bool,
    micro_batch: int,
    stored: torch.dtype = torch.bfloat16,
) -> Estimate:
    """Put the parts together.

    Args:
        config: of the model.
        settings: how it is trained.
        work: on what.
        lora, checkpointing, bf16, micro_batch: what the settings come to for this model.
        stored: type in which the checkpoint is stored, and an adapter's base held.
    """
    held = stored if lora else torch.float32
    parameters = count_parameters(config, settings)
    memory = step_memory(
        config,
        settings,
        rows=micro_batch * work.sequences,
        tokens=work.tokens,
        response_tokens=work.response_tokens,
        weights=held,
        bf16=bf16,
        checkpointing=checkpointing,
    )
    shards_weights, shards_gradients, shards_optimizer = SHARDED[work.strategy]
    n = work.devices
    once = work.strategy == "fsdp" and n > 1 and not work.loads_whole
    base = parameters.total * held.itemsize + (parameters.trained * FLOAT32 if lora else 0)
    weights = base // (n if shards_weights else 1)
    gradients = parameters.trained * FLOAT32 // (n if shards_gradients else 1)
    if n > 1 and work.strategy == "ddp":
        gradients *= 2  # DDP keeps them a second time, in the buckets that it sends
    optimizer = parameters.trained * ADAM // (n if shards_optimizer else 1)
    accumulation = settings.batch_size // (n * micro_batch)
    activations = memory.kept + memory.transient
    always = weights + optimizer + (gradients if accumulation > 1 or n > 1 else 0)
    step = max(always + activations, weights + optimizer + gradients + memory.transient)
    steps = settings.max_steps or math.ceil(settings.epochs * math.ceil(work.rows / settings.batch_size))
    return Estimate(
        parameters,
        lora,
        checkpointing,
        micro_batch,
        accumulation,
        weights,
        gradients,
        optimizer,
        activations,
        loading=weights + parameters.largest * stored.itemsize if once else base,
        step=step,
        steps=steps,
        tokens=round(steps * settings.batch_size * (work.mean_tokens or work.tokens) * work.sequences),
        host=parameters.total * stored.itemsize,
        loads_once=once,
    )
