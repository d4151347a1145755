"""Whether a run changed any weight: two numbers a parameter, or a process's part of it where weights are sharded."""

from collections.abc import Mapping
from typing import Any

import torch

from aligners.training.processes.sharding import reshard
from aligners.training.processes.shared import any_process

Fingerprint = Mapping[str, tuple[float, float]]
_TRACE = 1e-12  # a parameter whose sum and norm moved less has not been trained


def fingerprint(model: Any) -> Fingerprint:
    """Sum and norm of each trained parameter, or of this process's part of it."""
    reshard(model)
    sums = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            value = parameter.detach()
            value = value.to_local() if hasattr(value, "to_local") else value
            norm = torch.linalg.vector_norm(value, dtype=torch.float64)
            sums[name] = (value.sum(dtype=torch.float64).item(), norm.item())
    return sums


def changed_since(before: Fingerprint, model: Any, device: torch.device) -> bool:
    """Whether any process holds a trained parameter that is not what it was; every process must ask."""
    after = fingerprint(model)
    here = any(abs(x - y) > _TRACE for name, value in before.items() for x, y in zip(value, after[name], strict=True))
    return any_process(here, device)
