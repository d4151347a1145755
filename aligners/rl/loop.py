"""PPO on a vision-language model: rollouts, rewards, clipped updates, resume.

LLaVA-RLHF (Sun et al. 2023, arXiv:2309.14525). Per rollout: sample responses from the policy; log-probabilities of
policy and frozen reference, values, rewards of the reward model (which alone sees the facts); advantages; a few passes
of clipped updates. Numbers: `aligners.rl.ppo`; models, experience and updates: the other `ppo_` modules.

In the run's folder: training.jsonl (one line a rollout) and training/state.pt, written every `save_rollouts` rollouts.
Differs from the released code: values at padding are 0 there, where it runs the value model over padding.
One process, on one device or several by device_map.

The clipped updates of PPO: steps over a rollout's experience, the optimiser and its learning rate.
"""

import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from aligners.rl.experience import Experience, RolloutReward, experience_of
from aligners.rl.models import ActorCritic, build_models, recomputing
from aligners.rl.ppo import policy_loss, value_loss
from aligners.rl.reporting import reporter
from aligners.rl.rollouts import (
    RolloutBatch,
    RolloutPrompt,
    RolloutSettings,
    question_mark_ids,
    rollout_batches,
    sample_rollouts,
    widen,
)
from aligners.settings import FactRlhfSettings
from aligners.training.policy import autocast
from aligners.training.run_folder import LOG, TrainingLog, claim_folder
from aligners.training.settings import halved
from evalkit.engines.model.batching import free_memory, is_out_of_memory
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import TrainingError
from evalkit.files.atomic import replaced
from evalkit.process.progress import Progress
from evalkit.schema import Json

T = TypeVar("T")


def train_ppo(
    policy: Any,
    processor: Any,
    critic_source: Any,
    prompts: Sequence[RolloutPrompt],
    reward: RolloutReward,
    out: Path,
    settings: FactRlhfSettings,
    *,
    end_id: int,
    identity: Mapping[str, Json],
    keep: Callable[[int, Any], None] | None = None,
    progress: Progress | None = None,
    report_to: Sequence[str] = (),
) -> Any:
    """Run PPO, or continue a run that was killed in this folder; returns the trained policy (PEFT-wrapped with LoRA).

    Args:
        policy: the start model, in memory; it is trained itself.
        processor: of the policy.
        critic_source: backbone that the value model copies (the reward model's); unused for rloo and "shared".
        prompts: what to roll out on.
        reward: what each response earns, e.g. the reward model with its facts.
        out: folder of the run.
        settings: of PPO; those of other stages are not read.
        end_id: token that ends a response.
        identity: what is trained besides the settings; a run of another identity in the same folder is refused.
        keep: called with (rollouts done, policy) for each of the settings' `keep_checkpoints`, to save it.
        progress: called with ("ppo", rollouts done, rollouts in all).
        report_to: "wandb", "trackio", "tensorboard".
    Raises:
        TrainingError: if losses, gradients or rewards are not finite, or there are no prompts; the last saved state
            stays in the folder.
    """
    if not prompts:
        raise TrainingError("no prompts to roll out on")
    claim_folder(out, identity)
    models, reference = build_models(policy, critic_source, settings)
    models.eval()  # no dropout: old and new log-probabilities must come from one function
    optimizer = make_optimizer(models, settings)
    total = settings.rollouts(len(prompts))
    done = _load_state(path := out / "training" / "state.pt", models, optimizer)
    journal, send = TrainingLog(out / LOG, done), reporter(report_to, out)
    encoder = PromptEncoder(processor)
    sampling = _sampling(settings, encoder, end_id)
    memory = Fitting(settings.responses_at_once, given=settings.micro_batch_size is not None)

    def roll_out(number: int) -> dict[str, Json]:
        """One rollout with its updates; returns its line of the log."""
        chosen = prompts_of_rollout(prompts, number, settings.prompts_per_rollout, settings.seed)
        rng = rollout_rng(settings.seed, number)
        torch.manual_seed(rng.getrandbits(32))
        rollouts = sample_rollouts(models.policy, processor, chosen, sampling, rng.getrandbits(31))
        rate = set_learning_rate(optimizer, number, total, settings.warmup_rollouts) * settings.learning_rate
        drawn = rng.getstate()

        def learn(at_once: int) -> tuple[Experience, dict[str, float]]:
            rng.setstate(drawn)
            cut = replace(settings, micro_batch_size=at_once)
            batches = rollout_batches(rollouts, encoder, at_once)
            experience = experience_of(rollouts, batches, models, reference, reward, cut)
            return experience, update(experience, models, optimizer, cut, rng)

        experience, means = memory.fit(learn, optimizer)
        sampled = {"responses": len(rollouts.prompts), "failed_prompts": rollouts.failed}
        loss = means["policy_loss"] + settings.value_weight * means.get("value_loss", 0.0)
        return {"step": number + 1, "loss": loss, **experience.log, **means, "learning_rate": rate, **sampled}

    kept = kept_rollouts(total, settings.keep_checkpoints) if keep is not None else ()
    for number in range(done, total):
        journal.write(line := roll_out(number))
        send(line)
        if keep is not None and number + 1 in kept:
            keep(number + 1, models.policy)
        if (number + 1) % settings.save_rollouts == 0 and number + 1 < total:
            _save_state(path, number + 1, models, optimizer)
        if progress:
            progress("ppo", number + 1, total)
    return models.policy


class Fitting:
    """How many responses of a rollout lie in one forward pass: halved while memory runs out, unless it was given."""

    def __init__(self, at_once: int, *, given: bool) -> None:
        self.at_once, self._given = at_once, given

    def fit(self, learn: Callable[[int], T], optimizer: Any) -> T:
        """What `learn` returns with as many responses at once as fit; it is called anew with half as many.

        Raises:
            TrainingError: if fewer may not or cannot be, or a step of the rollout was taken before memory ran out.
        """
        while True:
            before = _steps_taken(optimizer)
            try:
                return learn(self.at_once)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self._given or self.at_once == 1 or _steps_taken(optimizer) != before:
                    fewer = f"set micro_batch_size below {self.at_once}"
                    remedy = fewer if self.at_once > 1 else "set gradient_checkpointing or lora"
                    raise TrainingError(f"out of memory with {self.at_once} responses at once: {remedy}") from error
            optimizer.zero_grad(set_to_none=True)
            self.at_once = halved(self.at_once)
            free_memory()


def _steps_taken(optimizer: Any) -> int:
    return max((int(state["step"]) for state in optimizer.state.values() if "step" in state), default=0)


def kept_rollouts(total: int, count: int) -> tuple[int, ...]:
    """After which rollouts the policy is kept: `count` of them, evenly spaced, the last one not among them.

    >>> kept_rollouts(10, 4), kept_rollouts(3, 8), kept_rollouts(5, 0)
    ((2, 4, 6, 8), (1, 2), ())
    """
    wanted = {round(total * part / (count + 1)) for part in range(1, count + 1)}
    return tuple(sorted(wanted - {0, total}))


def _sampling(settings: FactRlhfSettings, encoder: PromptEncoder, end_id: int) -> RolloutSettings:
    return RolloutSettings(
        samples=settings.samples_per_prompt,
        temperature=settings.temperature,
        limit=settings.response_limit,
        end_id=end_id,
        overriding=question_mark_ids(encoder.tokenizer) if settings.cut_at_question_mark else (),
        full_width=not settings.masked,
        batch_size=settings.generation_batch,
    )


def clear_state(out: Path) -> None:
    """Remove the state for resuming, once the policy is saved."""
    (out / "training" / "state.pt").unlink(missing_ok=True)
    shutil.rmtree(out / "training" / "steps", ignore_errors=True)


def rollout_rng(seed: int, number: int) -> random.Random:
    """Where everything that is drawn for a rollout (from 0) comes from, whatever was drawn before it."""
    return random.Random(f"ppo:{seed}:{number}")


def prompts_of_rollout(prompts: Sequence[RolloutPrompt], number: int, size: int, seed: int) -> list[RolloutPrompt]:
    """The prompts of one rollout: consecutive pieces of an endless stream of seeded shuffles of all prompts."""
    return [prompts[i] for i in _stream(len(prompts), number * size, size, seed)]


def _stream(count: int, start: int, size: int, seed: int) -> Iterator[int]:
    known: dict[int, list[int]] = {}
    for position in range(start, start + size):
        lap, place = divmod(position, count)
        if lap not in known:
            known[lap] = list(range(count))
            random.Random(f"prompts:{seed}:{lap}").shuffle(known[lap])
        yield known[lap][place]


def _save_state(path: Path, number: int, models: ActorCritic, optimizer: Any) -> None:
    trained = {name: p.detach().cpu() for name, p in models.named_parameters() if p.requires_grad}
    state = {
        "rollouts": number,
        "trained": trained,
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
    }
    with replaced(path) as beside:
        torch.save(state, beside)


def _load_state(path: Path, models: ActorCritic, optimizer: Any) -> int:
    """Rollouts done before; 0 for a new run."""
    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    parameters = dict(models.named_parameters())
    with torch.no_grad():
        for name, value in state["trained"].items():
            parameters[name].copy_(value)
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    return int(state["rollouts"])


def update(
    experience: Experience, models: ActorCritic, optimizer: Any, settings: FactRlhfSettings, rng: random.Random
) -> dict[str, float]:
    """The clipped updates of one rollout; returns means of losses and clip fractions.

    Raises:
        TrainingError: if a loss or gradient is not finite; the step is not taken.
    """
    batches = experience.batches
    per_step = max(1, settings.step_size // settings.responses_at_once)
    sums: dict[str, float] = {}
    count = steps = 0
    with recomputing(models):
        for _ in range(settings.inner_epochs):
            order = list(range(len(batches)))
            rng.shuffle(order)
            for start in range(0, len(order), per_step):
                chosen = [batches[i] for i in order[start : start + per_step]]
                share = _shares(chosen, experience)
                for batch, weight in zip(chosen, share, strict=True):
                    with autocast(models.policy, settings):
                        parts, loss = _loss(batch, experience, models, settings)
                    if not bool(torch.isfinite(loss)):
                        raise TrainingError(f"the PPO loss is {loss.item()}; a lower learning rate usually helps")
                    (loss * weight).backward()  # type: ignore[no-untyped-call]
                    count += 1
                    for name, value in parts.items():
                        sums[name] = sums.get(name, 0.0) + value
                trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
                norm = nn.utils.clip_grad_norm_(trained, settings.max_grad_norm).item()
                if not math.isfinite(norm):
                    raise TrainingError("the gradients of PPO are not finite; a lower learning rate usually helps")
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                steps += 1
                sums["grad_norm"] = sums.get("grad_norm", 0.0) + norm
    return {name: value / (steps if name == "grad_norm" else count) for name, value in sums.items()} | {
        "optimizer_steps": float(steps)
    }


def _shares(batches: Sequence[RolloutBatch], experience: Experience) -> list[float]:
    """Weight of each micro-batch in a step's loss, so that the step is one mean over all its positions."""
    sizes = [float(sum(batch.lengths) if experience.mask is not None else len(batch.rows)) for batch in batches]
    return [size / sum(sizes) for size in sizes]


def _loss(
    batch: RolloutBatch, experience: Experience, models: ActorCritic, settings: FactRlhfSettings
) -> tuple[dict[str, float], Tensor]:
    outputs = models(batch, settings.temperature)
    width = outputs.logps.shape[1] if experience.mask is not None else experience.old_logps.shape[1]
    rows = torch.tensor(batch.rows)
    device = outputs.logps.device

    def here(values: Tensor) -> Tensor:
        return values[rows, :width].to(device)

    mask = here(experience.mask) if experience.mask is not None else None
    policy = policy_loss(
        widen(outputs.logps, width), here(experience.old_logps), here(experience.advantages), settings.clip, mask
    )
    parts = {
        "policy_loss": policy.loss.item(),
        "clip_fraction": policy.clip_fraction.item(),
        "approximate_kl": policy.approximate_kl.item(),
    }
    if models.head is None:
        return parts, policy.loss
    value = value_loss(
        widen(outputs.values, width), here(experience.old_values), here(experience.returns), settings.value_clip, mask
    )
    parts |= {"value_loss": value.loss.item(), "value_clip_fraction": value.clip_fraction.item()}
    return parts, policy.loss + settings.value_weight * value.loss


def make_optimizer(models: ActorCritic, settings: FactRlhfSettings) -> torch.optim.AdamW:
    """AdamW over policy and value model, each with its own learning rate."""
    policy = [parameter for parameter in models.policy.parameters() if parameter.requires_grad]
    own = {id(parameter) for parameter in policy}
    value = [p for p in models.parameters() if p.requires_grad and id(p) not in own]
    rate = settings.learning_rate
    groups: list[dict[str, Any]] = [{"params": policy, "lr": rate, "peak": rate}]
    if value:
        peak = settings.value_learning_rate or rate
        groups.append({"params": value, "lr": peak, "peak": peak})
    return torch.optim.AdamW(groups, weight_decay=0.0)


def set_learning_rate(optimizer: Any, number: int, total: int, warmup: int) -> float:
    """Set the rate of a rollout; returns its share of the peak."""
    share = rollout_share(number, total, warmup)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    return share


def rollout_share(number: int, total: int, warmup: int) -> float:
    """Share of the peak learning rate at a rollout (from 0): linear over the first `warmup`, then a cosine to 0."""
    warmup = min(warmup, total // 2)
    if number < warmup:
        return (number + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (number - warmup) / max(1, total - warmup)))
