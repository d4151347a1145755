"""Train a reward model; started by torchrun, and killed, by tests.

rate_here.py MODEL WORLD OUT STEP_AT_WHICH_TO_DIE [SETTING=VALUE ...]       step 0: stay alive; WORLD: see rlhf_world.py
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from aligners.fact_rlhf.files import read_comparisons
from aligners.reward_model.facts import load_facts
from aligners.reward_model.fit import RewardModelSettings, train_reward_model
from evalkit.cli.options import key_values, literal
from evalkit.process.ending import end_process

WORLD = Path(sys.argv[2])
DIE_AT = int(sys.argv[4])
CHANGED = {key: literal(value) for key, value in key_values(sys.argv[5:], "SETTING").items()}
SETTINGS = {"learning_rate": 1e-3, "batch_size": 4, "lora_rank": 4, "lora_dropout": 0.0, "epochs": 2, "held_out": 1}
ROWS = read_comparisons(WORLD / "comparisons.json", WORLD / "images")[:5]  # four groups to train on: whole batches
THIRD = [replace(row, id=f"{row.id}b", responses=(row.responses[0], "A cat.")) for row in ROWS[:2]]  # unlike groups


def progress(what: str, done: int, total: int) -> None:
    """Die like a machine does."""
    if done == DIE_AT:
        os.kill(os.getpid(), signal.SIGKILL)


train_reward_model(
    sys.argv[1],
    ROWS + THIRD,
    Path(sys.argv[3]),
    RewardModelSettings(**SETTINGS | CHANGED),
    facts=load_facts(WORLD / "facts.json"),
    progress=progress,
)
end_process()
