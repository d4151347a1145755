"""Train on a pairs file; started by torchrun and accelerate, and killed, by tests.

train_here.py MODEL PAIRS OUT STEP_AT_WHICH_TO_DIE [SETTING=VALUE ...]        step 0: stay alive
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from accelerate import DistributedType, PartialState
from transformers import Trainer

from aligners.ddpo import align_ddpo
from evalkit.cli.options import key_values, literal

DIE_AT = int(sys.argv[4])
CHANGED = {key: literal(value) for key, value in key_values(sys.argv[5:], "SETTING").items()}
SETTINGS = {"learning_rate": 1e-3, "batch_size": 4, "epochs": 2, "lora": False, "save_steps": 2, "lora_dropout": 0.0}


def progress(what: str, done: int, total: int) -> None:
    """Die like a machine does."""
    if what == "training" and done == DIE_AT:
        os.kill(os.getpid(), signal.SIGKILL)


def shard_on_cpus() -> None:
    """Let accelerate start FSDP here: torch shards over CPUs too, but accelerate asks for a kind of accelerator."""
    create: Any = Trainer.create_accelerator_and_postprocess

    def create_sharding(trainer: Trainer) -> None:
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
        create(trainer)

    Trainer.create_accelerator_and_postprocess = create_sharding


if os.environ.get("ACCELERATE_USE_FSDP") == "true":
    shard_on_cpus()
align_ddpo(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), "ddpo-paper", SETTINGS | CHANGED, progress=progress)
