"""Train on a pairs file; started by torchrun and accelerate, and killed, by tests.

train_here.py MODEL PAIRS OUT STEP_AT_WHICH_TO_DIE [SETTING=VALUE ...]        step 0: stay alive
"""

import os
import signal
import sys
from pathlib import Path

from shard_on_cpus import shard_on_cpus

from aligners.ddpo import align_ddpo
from evalkit.cli.options import key_values, literal
from evalkit.process.ending import end_process

DIE_AT = int(sys.argv[4])
CHANGED = {key: literal(value) for key, value in key_values(sys.argv[5:], "SETTING").items()}
SETTINGS = {"learning_rate": 1e-3, "batch_size": 4, "epochs": 2, "lora": False, "save_steps": 2, "lora_dropout": 0.0}


def progress(what: str, done: int, total: int) -> None:
    """Die like a machine does."""
    if what == "training" and done == DIE_AT:
        os.kill(os.getpid(), signal.SIGKILL)


if os.environ.get("ACCELERATE_USE_FSDP") == "true":
    shard_on_cpus()
align_ddpo(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), "ddpo-paper", SETTINGS | CHANGED, progress=progress)
end_process()
