"""What one process works out for all of them, and what a process's share weighs."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import distributed

from evalkit.errors import EvalkitError

T = TypeVar("T")


def several() -> bool:
    """Whether this process is one of several that know each other."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def process_rank() -> int:
    """Place of this process among them; 0 where it is alone."""
    return distributed.get_rank() if several() else 0


def process_count() -> int:
    """How many there are."""
    return distributed.get_world_size() if several() else 1


def computed_once(work: Callable[[], T]) -> T:
    """What `work` returns in the first process, sent to the others.

    Raises:
        EvalkitError: what it raised there, in every process.
    """
    if not several():
        return work()
    box: list[Any] = [None]
    if distributed.get_rank() == 0:
        try:
            box[0] = (work(), None)
        except EvalkitError as error:
            box[0] = (None, error)
    distributed.broadcast_object_list(box, src=0)
    result, failure = box[0]
    if failure is not None:
        raise failure
    outcome: T = result
    return outcome


def process_share(count: int, device: torch.device) -> float:
    """What a mean over `count` things of this process weighs in the mean over all processes; 1 where there is one."""
    if not distributed.is_initialized():
        return 1.0
    total = torch.tensor(float(count), device=device)
    distributed.all_reduce(total)
    return count * distributed.get_world_size() / total.item()


def any_process(value: bool, device: torch.device) -> bool:
    """Whether it holds in any process."""
    if not several():
        return value
    holding = torch.tensor(float(value), device=device)
    distributed.all_reduce(holding)
    return holding.item() > 0
