"""Settings files for training on several devices, one per strategy.

    accelerate launch --config_file <file> --module evalkit align ddpo ...
    torchrun --nproc_per_node 8 --module evalkit align ddpo ...         (DDP needs no file)

    ddp.yaml          one copy of the model per device; LoRA, or full training of a model that fits with its optimiser
    fsdp.yaml         parameters, gradients and optimiser state sharded (FSDP 2); one node
    zero2.yaml        DeepSpeed ZeRO-2: gradients and optimiser state sharded
    zero3.yaml        DeepSpeed ZeRO-3: parameters too

`profile("fsdp")` is the path of a file. Set num_processes to your GPUs. DDP and FSDP are tested with two processes on
CPUs: losses and weights of one process. Of DeepSpeed the tests read the settings; it trains on GPUs only.
"""

from pathlib import Path

PROFILES = ("ddp", "fsdp", "zero2", "zero3")


def profile(name: str) -> Path:
    """Path of a profile's YAML file, for `accelerate launch --config_file`."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; known: {', '.join(PROFILES)}")
    return Path(__file__).with_name(f"{name}.yaml")
