"""TRL's trainers with this project's journal, seeds and learning rate, and what they work on: rows and a reward.

Written against TRL 1.16, whose trainers own the loop; only what differs from them is overridden.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from aligners.rl.experience import TOTAL, RolloutReward
from aligners.rl.loop import kept_rollouts, prompts_of_rollout, rollout_rng, rollout_share
from aligners.rl.rollouts import RolloutPrompt, Rollouts, RolloutSettings, cut_rows
from aligners.settings import FactRlhfSettings
from aligners.training.policy import autocast
from aligners.training.run_folder import TrainingLog, last_complete_step
from aligners.training.trainer import OwnNames
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import TrainingError
from evalkit.process.progress import Progress
from evalkit.schema import Json

ROW = "row"  # column: index of the prompt


@dataclass(frozen=True, slots=True)
class OnlineRun:
    """What a trainer has to know of its run.

    total     rollouts in all
    journal   training.jsonl, one line a rollout
    progress  called with (method, rollouts done, rollouts in all), on the process that writes
    keep      called there with (rollouts done, policy) for each of the settings' `keep_checkpoints`, to save it
    """

    settings: FactRlhfSettings
    total: int
    journal: TrainingLog
    progress: Progress | None
    keep: Callable[[int, Any], None] | None = None


def prompt_rows(prompts: Sequence[RolloutPrompt], settings: FactRlhfSettings, total: int) -> Any:
    """The prompts of every rollout of the run, in the order of the literal PPO, as the data set TRL takes.

    Images are opened when a row is read.
    """
    from datasets import Dataset

    place = {id(prompt): index for index, prompt in enumerate(prompts)}
    order = [
        place[id(prompt)]
        for number in range(total)
        for prompt in prompts_of_rollout(prompts, number, settings.prompts_per_rollout, settings.seed)
    ]

    def columns(batch: Mapping[str, list[int]]) -> dict[str, list[Any]]:
        chosen = [prompts[index] for index in batch[ROW]]
        return {
            ROW: batch[ROW],
            "prompt": [[{"role": "user", "content": prompt.text}] for prompt in chosen],
            "image": [prompt.image.open() for prompt in chosen],
        }

    return Dataset.from_dict({ROW: order}).with_transform(columns)


def reward_function(
    reward: RolloutReward,
    prompts: Sequence[RolloutPrompt],
    encoder: PromptEncoder,
    end_id: int,
    settings: FactRlhfSettings,
    policy: Any,
) -> Callable[..., list[float]]:
    """What a rollout earns, as TRL calls it with this process's part of the responses; the parts are logged by name.

    Raises:
        TrainingError: when called, if a reward is not finite.
    """
    cutting = RolloutSettings(
        samples=settings.samples_per_prompt,
        temperature=settings.temperature,
        limit=settings.response_limit,
        end_id=end_id,
    )

    def call(completion_ids: Sequence[Sequence[int]], trainer_state: Any, **columns: Any) -> list[float]:
        number = trainer_state.global_step // settings.steps_per_rollout
        rng = rollout_rng(settings.seed, number)
        rng.getrandbits(32)  # of the sampling
        rows = [torch.tensor(list(ids)) for ids in completion_ids]
        ids = pad_sequence(rows, batch_first=True, padding_value=encoder.pad_id)
        cut = cut_rows(ids, [len(row) for row in rows], cutting, encoder.pad_id)
        texts = tuple(encoder.decode(row[kept].tolist()) for row, kept in zip(cut.ids, cut.mask, strict=True))
        chosen = tuple(prompts[index] for index in columns[ROW])
        with torch.no_grad(), autocast(policy, settings):
            rewards = reward(Rollouts(chosen, texts, cut, 0, rng.getrandbits(31)))
        total = rewards[TOTAL]
        if not bool(torch.isfinite(total).all()):
            raise TrainingError("rewards of a rollout are not finite; a lower learning rate usually helps")
        log: Callable[[str, float], None] = columns["log_metric"]
        for name, part in rewards.items():
            if name != TOTAL:
                log(name, part.float().mean().item())
        return [float(value) for value in total]

    call.__name__ = TOTAL
    return call


def checked_generation(generate: Callable[..., Any]) -> Callable[..., Any]:
    """vLLM's generation inside TRL, refused where vLLM reads other prompts than it was given.

    TRL hands over prompts whose image tokens are expanded already; a vLLM that expands them again answers another
    prompt and says nothing (TRL#6294).
    """

    def call(prompts: Sequence[Sequence[int]], **keywords: Any) -> Any:
        outputs = generate(prompts=prompts, **keywords)
        for ours, theirs in zip(prompts, outputs[0], strict=True):
            if len(ours) != len(theirs):
                raise TrainingError(
                    f"vLLM reads a prompt of {len(theirs)} tokens where {len(ours)} were sent: it expands image tokens "
                    "that are expanded already (TRL#6294); another version of vLLM, or vllm=false"
                )
        return outputs

    return call


class Online(OwnNames):
    """Mixed into TRL's RLOO or GRPO trainer; `run` is set before training begins."""

    run: OnlineRun

    def _rollout(self: Any) -> int:
        return int(self.state.global_step // self.run.settings.steps_per_rollout)

    def _generate_and_score_completions(self: Any, inputs: Any) -> Any:
        """Draw by rollout and process: a run that was killed goes on as if it had not been."""
        rng = rollout_rng(self.run.settings.seed, self._rollout())
        torch.manual_seed(rng.getrandbits(32) + self.accelerator.process_index)
        return super()._generate_and_score_completions(inputs)  # type: ignore[misc]

    def _generate(self: Any, prompts: list[Any]) -> Any:
        """At most `generation_batch` sequences at once."""
        size = len(prompts) if self.use_vllm else self.run.settings.generation_batch
        parts = [super(Online, self)._generate(prompts[i : i + size]) for i in range(0, len(prompts), size)]  # type: ignore[misc]
        return tuple(_joined(values) for values in zip(*parts, strict=True))

    def compute_loss(self: Any, *arguments: Any, **keywords: Any) -> Any:
        """TRL's loss.

        Raises:
            TrainingError: if it is not finite.
        """
        loss = super().compute_loss(*arguments, **keywords)  # type: ignore[misc]
        if not bool(torch.isfinite(loss)):
            self._refuse(f"the loss of step {self.state.global_step + 1} is {loss.item()}")
        return loss

    def create_scheduler(self: Any, num_training_steps: int, optimizer: Any = None) -> Any:
        """The literal PPO's: one rate a rollout."""
        settings, total = self.run.settings, self.run.total
        if getattr(self, "lr_scheduler", None) is None:

            def share(step: int) -> float:
                return rollout_share(step // settings.steps_per_rollout, total, settings.warmup_rollouts)

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def log(self: Any, logs: dict[str, Any], start_time: float | None = None) -> None:
        """One line of the journal a rollout, in the words of the literal PPO's."""
        super().log(logs, start_time)  # type: ignore[misc]
        if "loss" not in logs:
            return
        if not math.isfinite(logs.get("grad_norm", 0.0)):
            self._refuse(f"the gradients of step {self.state.global_step} are not finite")
        run, number = self.run, self._rollout()
        run.journal.write(journal_line(logs, number, run))
        kept = kept_rollouts(run.total, run.settings.keep_checkpoints)
        if run.keep is not None and self.args.should_save and number in kept:
            run.keep(number, self.accelerator.unwrap_model(self.model))
        if run.progress is not None and self.args.should_save:
            run.progress(run.settings.rl, number, run.total)

    def _refuse(self: Any, what: str) -> None:
        last = last_complete_step(self.run.journal.path.parent)
        kept = f"the last good training checkpoint is {last[1]}" if last else "no training checkpoint was saved yet"
        raise TrainingError(f"{what}; {kept}. A lower learning rate usually helps.")


_TRL_NAMES = {  # of the journal -> of TRL's log
    "loss": "loss",
    "reward": "reward",
    "reward_spread": "reward_std",
    "token_kl": "kl",
    "tokens": "completions/mean_length",
    "entropy": "entropy",
    "clip_fraction": "clip_ratio/region_mean",
    "grad_norm": "grad_norm",
}


def journal_line(logs: Mapping[str, Any], number: int, run: OnlineRun) -> dict[str, Json]:
    """A rollout's line: what TRL logged under its names, and the named parts of the reward."""
    settings = run.settings
    share = rollout_share(number - 1, run.total, settings.warmup_rollouts)
    parts = {
        name: value
        for name, value in logs.items()
        if "/" not in name and name not in _TRL_NAMES.values() and name not in _OF_THE_TRAINER
    }
    return {
        "step": number,
        **{ours: logs[theirs] for ours, theirs in _TRL_NAMES.items() if theirs in logs},
        **parts,
        "ended": 1.0 - logs["completions/clipped_ratio"],
        "learning_rate": share * settings.learning_rate,
        "responses": settings.rollout_size,
        "failed_prompts": 0,
        "optimizer_steps": float(settings.steps_per_rollout),
    }


_OF_THE_TRAINER = {"learning_rate", "epoch", "num_tokens", "step_time", "frac_reward_zero_std", "num_input_tokens_seen"}


def _joined(values: Sequence[Any]) -> Any:
    """What several calls of a trainer's `_generate` gave in one place: lists behind each other."""
    if all(isinstance(value, list) for value in values):
        return [one for value in values for one in value]
    if any(value for value in values):
        raise TrainingError(f"TRL's trainer gave {values[0]!r:.60} for a part of a rollout: it is not of a known form")
    return values[0]
