"""The supervised start of fact-augmented RLHF: the likelihood of given answers to first questions about an image."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aligners.fact_rlhf.files import read_rollout_prompts
from aligners.rl.rollouts import RolloutPrompt, as_prompt
from aligners.training.checkpoint import Card
from aligners.training.logprobs import IGNORE
from aligners.training.policy import hash_of_start, load_policy, make_trainable, save_policy, sharded
from aligners.training.processes.sharding import sharding_accelerator
from aligners.training.response_logps import end_token, measuring
from aligners.training.run_folder import LOG, finished_card, read_log
from aligners.training.settings import LOADING, TrainingSettings
from aligners.training.trainer import fit, process_share, training_arguments
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import DataError
from evalkit.files.rows import parse_json, read_text
from evalkit.process.progress import Progress, as_stage


@dataclass(frozen=True, slots=True)
class LabelledBatch:
    """Model inputs with the tokens to learn; `labels` (B, T) are IGNORE elsewhere."""

    inputs: Mapping[str, Tensor]
    labels: Tensor

    def to(self, device: torch.device) -> "LabelledBatch":
        """The batch on another device."""
        return LabelledBatch({n: v.to(device) for n, v in self.inputs.items()}, self.labels.to(device))


def labelled_batch(rows: Sequence[tuple[RolloutPrompt, str]], encoder: PromptEncoder, end_id: int) -> LabelledBatch:
    """Prompts with the answers to learn, each ended."""
    asked = [as_prompt(prompt) for prompt, _ in rows]
    answers = [[*encoder.continuation_ids(answer), end_id] for _, answer in rows]
    encoded = encoder.encode(asked, None, answers, padding_side="right")
    labels = torch.full_like(encoded.inputs["input_ids"], IGNORE)
    for b, (first, last) in enumerate(zip(encoded.starts, encoded.ends, strict=True)):
        labels[b, first:last] = encoded.inputs["input_ids"][b, first:last]
    inputs = {name: value for name, value in encoded.inputs.items() if isinstance(value, Tensor)}
    return LabelledBatch(inputs, labels)


def _nll(model: Any, batch: LabelledBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
    logps = model(**batch.inputs, logp_labels=batch.labels)["token_logps"]
    loss = -logps.mean() * process_share(len(logps), logps.device)  # answers are of unlike length
    return loss, {"nll": -logps.detach().mean().repeat(len(batch.labels))}


def supervised_start(
    start: Path | str,
    conversations: Path,
    out: Path,
    settings: TrainingSettings,
    *,
    image_folder: Path,
    progress: Progress | None = None,
    report_to: Sequence[str] = (),
) -> Path:
    """Supervised training on the first question and answer of conversations; returns the folder of the checkpoint.

    Raises:
        DataError: if the file is not a list of conversations with an answer.
    """
    rows, progress = read_answered(conversations, image_folder), as_stage("supervised start", progress)
    arguments = training_arguments(settings, out, len(rows))  # also joins the other processes
    policy = load_policy(start, settings, arguments.device, sharding_accelerator(arguments))
    start_hash = hash_of_start(policy, settings)
    data = hashlib.sha256(json.dumps([[p.image.name, p.text, answer] for p, answer in rows]).encode()).hexdigest()[:16]
    chosen = {name: value for name, value in asdict(settings).items() if name not in LOADING or value is not None}
    identity = {"model": start_hash, "conversations": data, **chosen}
    if finished_card(out, identity) is not None:
        return out
    encoder = PromptEncoder(policy.processor)
    end_id = end_token(encoder, policy.model)
    policy = sharded(policy, settings)
    model = make_trainable(policy.model, settings) if policy.sharding is None else policy.model

    def save(trainer: Any) -> None:
        log = read_log(out / LOG)
        card = Card(
            parent=str(start),
            parent_hash=start_hash,
            method="supervised",
            preset="",
            data={"conversations": data},
            settings=chosen,
            seeds={"training": settings.seed},
            cost={"rows": len(rows), "steps": trainer.state.global_step, "seconds": log[-1]["seconds"] if log else 0.0},
        )
        save_policy(trainer, policy, out, card)

    with measuring(model):
        fit(
            model,
            rows,
            partial(labelled_batch, encoder=encoder, end_id=end_id),
            _nll,
            settings,
            out,
            identity=identity,
            progress=progress,
            save=save,
            report_to=report_to,
        )
    return out


def read_answered(path: Path, image_folder: Path) -> list[tuple[RolloutPrompt, str]]:
    """(prompt, answer) of each conversation of a LLaVA-style file: its first user turn and the reply.

    Raises:
        DataError: if the file is not of that form (the row is named).
    """
    prompts = read_rollout_prompts(path, image_folder)
    answered = []
    for number, (prompt, row) in enumerate(zip(prompts, parse_json(read_text(path), str(path)), strict=True)):
        turns = row["conversations"]
        answer = turns[1]["value"].strip() if len(turns) > 1 and turns[1]["from"] == "gpt" else ""
        if not answer:
            raise DataError(f"{path}: row {number}: no answer to learn: the second turn must come from 'gpt'")
        answered.append((prompt, answer))
    return answered
