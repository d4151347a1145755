"""Weights in shards from the start (FSDP 2): no process but the first ever holds a whole model.

    first process    the checkpoint on the CPU, as it is stored
    the others       a skeleton: the same modules, every tensor on "meta"
    all              the skeleton is sharded, memory is taken for the process's own part alone, and the first process
                     sends one tensor after another, of which each keeps its part in the type that is trained in

So the first process's host memory holds one whole copy as stored, a device its share and one tensor. accelerate's own
way (`fsdp_cpu_ram_efficient_loading`) fills the other processes' host memory with zeros of the whole model in float32,
and stops at persistent buffers (1.15).
"""

import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, distributed, nn

from aligners.training.processes.shared import computed_once, process_rank, several
from aligners.training.response_logps import bare
from evalkit.errors import TrainingError


def sharding_accelerator(arguments: Any) -> Any | None:
    """The Accelerator of this run if it shards weights with FSDP 2 over several processes, else None.

    Args:
        arguments: transformers.TrainingArguments; the Trainer makes its own Accelerator, which shares this one's state.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() != "true" or not several():
        return None
    from accelerate import Accelerator, DistributedType, PartialState

    if PartialState().distributed_type is DistributedType.MULTI_CPU:
        return None  # accelerate does not shard there
    accelerator = Accelerator(mixed_precision=arguments.mixed_precision)
    return accelerator if accelerator.is_fsdp2 and loads_in_shards(accelerator.state.fsdp_plugin) else None


def loads_in_shards(plugin: Any) -> bool:
    """Whether a model may be sharded before accelerate sees it.

    Not where accelerate wraps layers for its own activation checkpointing first, nor where weights stay on the CPU.
    """
    from torch.distributed.fsdp import CPUOffloadPolicy

    return not plugin.activation_checkpointing and not isinstance(plugin.cpu_offload, CPUOffloadPolicy)


def layers_to_shard(model: Any) -> list[str]:
    """Classes of the layers that FSDP shards one by one.

    A model names them itself, but those of its unused parts too (the text half of CLIP), and accelerate 1.15 refuses a
    class that does not occur.
    """
    present = {type(module).__name__ for module in model.modules()}
    return sorted(present.intersection(bare(model)._no_split_modules or ()))


def fit_plugin(plugin: Any, model: Any) -> None:
    """Which layers are sharded one by one, and that no result is rounded.

    accelerate (1.15) lets FSDP 2 cast what a model returns to bfloat16, where log-probabilities of -10 are 0.06 nats
    apart, and add gradients up in bfloat16; one process does neither.
    """
    plugin.transformer_cls_names_to_wrap = layers_to_shard(model)
    policy = plugin.mixed_precision_policy
    if policy is not None and plugin.fsdp_version == 2:
        plugin.mixed_precision_policy = replace(policy, reduce_dtype=torch.float32, output_dtype=None)


def skeleton_of(model: nn.Module) -> Any:
    """A copy of a model without storage, every parameter and buffer on "meta"; what was shared or tied still is."""
    stored: dict[int, Any] = {}
    for parameter in model.parameters():
        stored[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
    for buffer in model.buffers():
        stored[id(buffer)] = buffer.detach().to("meta")
    return copy.deepcopy(model, stored)


def constructed(skeleton: Any) -> Any:
    """A skeleton that came from another process, usable here.

    transformers notes in a model's constructor, by class, which layers' outputs it can give (5.19), and an object that
    is sent is not constructed; without that LLaVA's vision tower gives no hidden states.
    """
    with torch.device("meta"):
        type(skeleton)(copy.deepcopy(skeleton.config))
    return skeleton


def shard(model: Any, skeleton: Any, accelerator: Any) -> Any:
    """Shard a skeleton over the processes and fill it from the first one's model; every process calls this.

    Args:
        model: whole, in the first process; anything in the others. Its tensors are given up one by one.
        skeleton: the same modules on "meta", in the types to train in.
        accelerator: of `sharding_accelerator`.
    Returns:
        The skeleton, sharded, on this process's device.
    Raises:
        TrainingError: if the first process's model has other weights than the skeleton.
    """
    from accelerate.utils.fsdp_utils import fsdp2_prepare_model

    plugin = accelerator.state.fsdp_plugin
    plugin.cpu_ram_efficient_loading = False  # what this function does in its place
    fit_plugin(plugin, skeleton)
    sharded = fsdp2_prepare_model(accelerator, skeleton).to_empty(device=accelerator.device)
    whole = dict(_tensors(model)) if process_rank() == 0 else {}
    _fill(sharded, whole, accelerator.device)
    return sharded


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every parameter and buffer, shared ones once."""
    yield from model.named_parameters()
    yield from model.named_buffers()


@torch.no_grad()
def _fill(sharded: nn.Module, whole: Mapping[str, Tensor], device: torch.device) -> None:
    stored = computed_once(lambda: {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in whole.items()})
    own = {name: tensor.detach() for name, tensor in _tensors(sharded)}
    if {name: tuple(tensor.shape) for name, tensor in own.items()} != {name: form[0] for name, form in stored.items()}:
        odd = sorted(own.keys() ^ stored.keys()) or ["of another size"]
        raise TrainingError(f"a model cannot be sharded whose processes hold other weights than the first: {odd[0]}")
    for name, (shape, dtype) in stored.items():
        sent = whole[name].detach().to(device).contiguous() if whole else torch.empty(shape, dtype=dtype, device=device)
        distributed.broadcast(sent.reshape(-1).view(torch.uint8), src=0)
        keep_part(own[name], sent)
        if whole:
            whole[name].data = torch.empty(0, dtype=dtype)  # whoever still holds the model holds nothing


def gathered(tensor: Any) -> Tensor:
    """A whole tensor of which each process may hold a part; if so, every process must ask."""
    whole: Tensor = tensor.detach()
    return whole.full_tensor() if hasattr(whole, "full_tensor") else whole


def keep_part(part: Any, tensor: Tensor) -> None:
    """Copy what is this process's of a whole tensor; all of it where it is not sharded (buffers)."""
    if not hasattr(part, "to_local"):
        part.copy_(tensor)
        return
    from torch.distributed.tensor import distribute_tensor

    # every process holds the tensor already: nothing is sent again
    own = distribute_tensor(tensor.to(part.device), part.device_mesh, part.placements, src_data_rank=None)
    part.to_local().copy_(own.to_local())


def is_sharded(model: Any) -> bool:
    """Whether FSDP 2 holds this model's weights in shards: every forward pass is then one of all processes."""
    if not several():
        return False
    from torch.distributed.fsdp import FSDPModule

    return isinstance(model, FSDPModule)


def reshard(model: Any) -> None:
    """Give back what the last forward pass gathered: without a backward pass the outermost weights stay whole."""
    if is_sharded(model):
        for module in model.modules():
            if is_sharded(module):
                module.reshard()
