"""Train on a pairs file; started by torchrun and killed by tests.

train_here.py MODEL PAIRS OUT [STEP AT WHICH TO DIE]
"""

import os
import signal
import sys
from pathlib import Path

from aligners.ddpo import align_ddpo

DIE_AT = int(sys.argv[4]) if len(sys.argv) > 4 else None


def progress(what: str, done: int, total: int) -> None:
    """Die like a machine does."""
    if what == "training" and done == DIE_AT:
        os.kill(os.getpid(), signal.SIGKILL)


SETTINGS = {"learning_rate": 1e-3, "batch_size": 4, "epochs": 2, "lora": False, "save_steps": 2, "lora_dropout": 0.0}
align_ddpo(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), "ddpo-paper", SETTINGS, progress=progress)
