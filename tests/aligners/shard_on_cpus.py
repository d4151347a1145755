"""FSDP on CPUs, for tests."""

from typing import Any

from accelerate import DistributedType, PartialState


def shard_on_cpus() -> None:
    """Let accelerate start FSDP here: torch shards over CPUs too, but accelerate asks for a kind of accelerator."""
    begin: Any = PartialState.__init__

    def begin_sharding(state: PartialState, *arguments: Any, **keywords: Any) -> None:
        begin(state, *arguments, **keywords)
        if state.distributed_type is DistributedType.MULTI_CPU:
            state.distributed_type = DistributedType.MULTI_XPU

    PartialState.__init__ = begin_sharding  # type: ignore[method-assign]
