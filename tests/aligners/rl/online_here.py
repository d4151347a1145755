"""Fact-augmented RLHF with TRL's trainers; started by torchrun, and killed, by tests.

online_here.py MODEL WORLD OUT ROLLOUT_AT_WHICH_TO_DIE FIXED [SETTING=VALUE ...]        rollout 0: stay alive
WORLD: see rlhf_world.py. FIXED yes: the responses are given ones, the same on any number of processes, and the first
process adds the gradients of each step to OUT/gradients.pt.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from aligners.fact_rlhf.recipe import align_fact_rlhf
from aligners.rl.trl_trainer import Online
from evalkit.cli.options import key_values, literal
from evalkit.process.ending import end_process

START, WORLD, OUT = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
DIE_AT, FIXED = int(sys.argv[4]), sys.argv[5] == "yes"
CHANGED = {key: literal(value) for key, value in key_values(sys.argv[6:], "SETTING").items()}
SETTINGS = {
    "response_limit": 8,
    "rollout_size": 8,
    "step_size": 8,  # the whole rollout: which responses share a step does not depend on the processes
    "max_rollouts": 3,
    "samples_per_prompt": 2,
    "micro_batch_size": 2,
    "reward_batch_size": 2,
    "save_rollouts": 1,
    "warmup_rollouts": 1,
    "learning_rate": 1e-4,
    "lora_rank": 4,
    "held_out": 1,
}


def progress(what: str, done: int, total: int) -> None:
    """Die like a machine does."""
    if what in ("rloo", "grpo") and done == DIE_AT:
        os.kill(os.getpid(), signal.SIGKILL)


def given_responses(trainer: Any, prompt_ids: list[Any], *rest: Any) -> Any:
    """Responses by their place in the rollout, whatever process asks."""
    first = trainer.accelerator.process_index * len(prompt_ids)
    end = trainer._tokenizer.eos_token_id
    rows = []
    for place in range(first, first + len(prompt_ids)):
        drawn = torch.Generator().manual_seed(100 * trainer._rollout() + place)
        rows.append([*torch.randint(10, 200, (2 + place % 4,), generator=drawn).tolist(), end])
    return (rows, None) if trainer.run.settings.rl == "grpo" else rows


def keep_gradients(trainer: Any, *arguments: Any, **keywords: Any) -> Any:
    """The gradients as the optimiser gets them, by name."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    kept = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    if trainer.args.should_save:
        path = OUT / "gradients.pt"
        before = torch.load(path) if path.is_file() else []
        torch.save([*before, kept], path)


if FIXED:
    from transformers import TrainerCallback

    Online._generate_single_turn = given_responses  # type: ignore[attr-defined]
    ordinary = Online.create_scheduler

    class Keeper(TrainerCallback):  # type: ignore[misc]
        """Calls `keep_gradients` before each step."""

        def __init__(self, trainer: Any) -> None:
            self.trainer = trainer

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            keep_gradients(self.trainer)

    def create_scheduler(trainer: Any, *arguments: Any, **keywords: Any) -> Any:
        trainer.add_callback(Keeper(trainer))
        return ordinary(trainer, *arguments, **keywords)

    Online.create_scheduler = create_scheduler  # type: ignore[method-assign]

align_fact_rlhf(
    START,
    WORLD / "comparisons.json",
    WORLD / "prompts.json",
    WORLD / "facts.json",
    OUT,
    "fact-rlhf-masked",
    SETTINGS | CHANGED,
    image_folder=WORLD / "images",
    progress=progress,
)
end_process()
