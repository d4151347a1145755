"""Dense DPO with weights in shards, several runs in one process; started by torchrun.

shard_here.py MODEL PAIRS OUT        writes OUT/RUN/..., OUT/process-N.json: what this process held, and errors
"""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from shard_on_cpus import shard_on_cpus

from aligners.ddpo import align_ddpo, dpo_settings, train_dpo
from aligners.fact_rlhf.supervised import supervised_start
from aligners.preference.pairs import read_pairs
from aligners.training import policy
from aligners.training.processes import sharding
from aligners.training.settings import TrainingSettings
from evalkit.errors import TrainingError
from evalkit.process.ending import end_process

START, PAIRS, OUT = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
SETTINGS = {"learning_rate": 1e-3, "batch_size": 4, "epochs": 1, "lora": False, "lora_dropout": 0.0}
RUNS: dict[str, dict[str, Any]] = {
    "full": {},
    "adapter": {"lora": True, "lora_rank": 1},  # of two processes the second has no row of some weights
    "best": {"select": "best", "held_out": 2, "eval_steps": 1, "batch_size": 2},
    "half": {"save_dtype": "bfloat16"},
    "half adapter": {"lora": True, "lora_rank": 2, "save_dtype": "bfloat16"},
    "unchanged": {"learning_rate": 1e-30},
    "unchanged in memory": {"learning_rate": 1e-30},  # whole in every process until the Trainer shards it
}
held: dict[str, int] = {}


def held_bytes() -> int:
    """Bytes of every storage that this process holds, of models and of what is left of them."""
    gc.collect()
    storages = {}
    for one in gc.get_objects():
        if type(one) in (torch.Tensor, torch.nn.Parameter) and one.device.type != "meta":
            storages[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
    return sum(storages.values())


def shard_and_look(model: Any, skeleton: Any, accelerator: Any) -> Any:
    """Note what is held right before the model is sharded, while its largest weight is there, and right after."""
    sizes = [p.numel() * p.element_size() for p in skeleton.parameters()]
    held.update(whole=sum(sizes), largest=max(sizes), before=held_bytes())
    keep_part = sharding.keep_part

    def keep_and_look(part: Any, tensor: Any) -> None:
        keep_part(part, tensor)
        if tensor.numel() * part.element_size() == max(sizes):
            held["during"] = max(held.get("during", 0), held_bytes())

    sharding.keep_part = keep_and_look
    sharded = sharding.shard(model, skeleton, accelerator)
    sharding.keep_part, policy.shard = keep_part, sharding.shard
    held["after"] = held_bytes()
    return sharded


shard_on_cpus()
policy.shard, errors = shard_and_look, {}  # of the first run
for name, changes in RUNS.items():
    try:
        if name == "unchanged in memory":
            start = policy.load_checkpoint(START, dtype="float32", device="cpu")
            settings = dpo_settings("ddpo-paper", **SETTINGS | changes)
            train_dpo((start.model, start.processor), list(read_pairs(PAIRS)), OUT / name, settings)
        else:
            align_ddpo(START, PAIRS, OUT / name, "ddpo-paper", SETTINGS | changes)
    except TrainingError as error:
        errors[name] = str(error)
supervised_start(
    START, PAIRS.with_name("answers.json"), OUT / "supervised", TrainingSettings(**SETTINGS), image_folder=PAIRS.parent
)
(OUT / f"process-{os.environ['RANK']}.json").write_text(json.dumps({"held": held, "errors": errors}))
end_process()
