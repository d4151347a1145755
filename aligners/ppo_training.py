"""PPO on a vision-language model: rollouts, rewards, clipped updates, resume (numbers: `aligners.ppo`).

LLaVA-RLHF (Sun et al. 2023, arXiv:2309.14525). Per rollout: sample responses from the policy; log-probabilities of
policy and frozen reference, values, rewards of the reward model (which alone sees the facts); advantages; a few passes
of clipped updates. `gae` is the paper's advantage with a value model, `rloo` (arXiv:2402.14740) needs none.

In the run's folder: training.jsonl (one line a rollout) and training/state.pt, written every `save_rollouts` rollouts.
Differs from the released code: values at padding are 0 there, where it runs the value model over padding.
One process, on one device or several by device_map.
"""

import copy
import json
import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from aligners.encoding import pad_responses
from aligners.llava_rlhf import RolloutPrompt
from aligners.ppo import (
    gae_advantages,
    mean_over,
    policy_loss,
    rloo_advantages,
    shape_rewards,
    token_kl,
    value_loss,
)
from aligners.presets import FactRlhfPreset
from aligners.rating import last_hidden
from aligners.reference_logps import Progress
from aligners.reward import length_share, response_rewards, symbolic_bonus, value_head
from aligners.rollouts import (
    Rollouts,
    RolloutSettings,
    ScoringBatch,
    batch_entropies,
    batch_logps,
    question_mark_ids,
    response_positions,
    sample_rollouts,
    scoring_batches,
    widen,
)
from aligners.run_folder import LOG, Journal, claim_folder
from aligners.scoring import bare
from aligners.sequences import non_pad_lengths
from aligners.trainable import make_trainable, wants_lora
from aligners.training import TrainingSettings
from evalkit.engines.encoding import PromptEncoder
from evalkit.errors import TrainingError, UsageError
from evalkit.schema import Json

# rollouts -> the reward model's score of each response, (B,)
Scorer = Callable[[Rollouts], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoSettings:
    """A preset and what it leaves open.

    training             LoRA or full, what is frozen (its learning rate, batch size and epochs are not used)
    advantage            "gae" or "rloo"
    samples_per_prompt   responses to each prompt of a rollout; at least 2 for rloo
    value_backbone       "own": a copy of the reward model's backbone; "shared": the policy's hidden states
    value_learning_rate  None: the policy's
    score_yes            judge "Yes" truths like "No" ones, see `aligners.reward.symbolic_bonus`
    max_rollouts         stop after so many; None: the preset's passes over the prompts
    micro_batch_size     responses in one forward pass
    generation_batch     sequences decoded at once
    save_rollouts        rollouts between saved states: a kill loses at most so many
    seed                 of prompts, responses and order
    """

    preset: FactRlhfPreset
    training: TrainingSettings
    advantage: Literal["gae", "rloo"] = "gae"
    samples_per_prompt: int = 1
    value_backbone: Literal["own", "shared"] = "own"
    value_learning_rate: float | None = None
    score_yes: bool = False
    max_rollouts: int | None = None
    micro_batch_size: int = 8
    generation_batch: int = 64
    save_rollouts: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.advantage not in ("gae", "rloo") or self.value_backbone not in ("own", "shared"):
            raise UsageError(
                f"advantage is 'gae' or 'rloo', value_backbone 'own' or 'shared'; "
                f"got {self.advantage!r}, {self.value_backbone!r}"
            )
        if self.advantage == "rloo" and self.samples_per_prompt < 2:
            raise UsageError("advantage 'rloo' compares responses to one prompt: set samples_per_prompt to 2 or more")
        if self.preset.rollout_size % self.samples_per_prompt:
            raise UsageError(
                f"rollout_size {self.preset.rollout_size} is no multiple of "
                f"samples_per_prompt {self.samples_per_prompt}"
            )

    def rollouts(self, n_prompts: int) -> int:
        """Rollouts of a whole run: at least one."""
        per_rollout = self.preset.rollout_size // self.samples_per_prompt
        whole = max(1, math.floor(self.preset.epochs * n_prompts / per_rollout))
        return min(whole, self.max_rollouts) if self.max_rollouts else whole


# --- models -------------------------------------------------------------------------------------------------------


class ActorCritic(nn.Module):
    """Policy and value model; no value model for rloo."""

    def __init__(self, policy: Any, critic: Any | None, head: nn.Linear | None) -> None:
        super().__init__()
        self.policy, self.critic, self.head = policy, critic, head

    def forward(self, batch: ScoringBatch, temperature: float, entropy: bool = False) -> "Outputs":
        """Log-probabilities, values (zeros without a value model) and, if asked, entropies, each (b, L)."""
        hidden = last_hidden(self.policy, batch.inputs)
        logps = batch_logps(self.policy, batch, temperature, hidden)
        values = torch.zeros_like(logps)
        if self.head is not None:
            states = hidden if self.critic is None else last_hidden(self.critic, batch.inputs)
            found = self.head(response_positions(states, batch.labels).to(self.head.weight.dtype)).squeeze(-1)
            values = pad_responses(found, batch.lengths)[0].to(logps.device)
        return Outputs(logps, values, batch_entropies(self.policy, batch, temperature, hidden) if entropy else None)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the models say of each response token, (b, L), 0 behind the end."""

    logps: Tensor
    values: Tensor
    entropies: Tensor | None


def build_models(policy: Any, critic_source: Any, settings: PpoSettings) -> tuple[ActorCritic, Any]:
    """(trainable policy and value model, frozen reference) from a start model and the reward model's backbone."""
    actor = make_trainable(policy, settings.training)
    reference = copy_sharing_frozen(actor).eval().requires_grad_(False)
    critic, head = None, None
    if settings.advantage == "gae":
        critic = _critic(critic_source, settings.training) if settings.value_backbone == "own" else None
        core = bare(actor if critic is None else critic)
        head = value_head(core.config.get_text_config().hidden_size).to(core.device)
    return ActorCritic(actor, critic, head), reference


def _critic(source: Any, training: TrainingSettings) -> Any:
    """The value model's backbone: the reward model's with its adapter, an adapter of its own, or a whole copy."""
    if hasattr(source, "get_base_model"):
        adapter = [parameter.requires_grad_() for name, parameter in source.named_parameters() if "lora_" in name]
        critic = copy_sharing_frozen(source)
        for parameter in adapter:
            parameter.requires_grad_(False)
        return critic
    if wants_lora(source, training):
        return make_trainable(copy_sharing_frozen(source.requires_grad_(False)), training)
    critic = make_trainable(copy.deepcopy(source).float(), training)
    if critic.get_output_embeddings().weight is not critic.get_input_embeddings().weight:
        critic.get_output_embeddings().requires_grad_(False)
    return critic


def copy_sharing_frozen(model: Any) -> Any:
    """A copy of a model that shares the parameters which are not trained."""
    shared = {id(parameter): parameter for parameter in model.parameters() if not parameter.requires_grad}
    return copy.deepcopy(model, dict(shared))


# --- one rollout --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Experience:
    """All numbers of a rollout that the updates need; each (B, T), and the row of the log."""

    batches: list[ScoringBatch]
    old_logps: Tensor
    old_values: Tensor
    advantages: Tensor
    returns: Tensor
    mask: Tensor | None  # None: padding counts, as in the released code
    log: dict[str, float]


def experience_of(
    rollouts: Rollouts,
    batches: list[ScoringBatch],
    models: ActorCritic,
    reference: Any,
    scorer: Scorer,
    settings: PpoSettings,
    pad_id: int,
) -> Experience:
    """Score a rollout and compute its advantages."""
    preset, cut = settings.preset, rollouts.cut
    width = cut.ids.shape[1]
    with torch.no_grad():
        found = [models(batch, preset.temperature, entropy=True) for batch in batches]
        logps = torch.cat([widen(part.logps, width) for part in found]).cpu()
        values = torch.cat([widen(part.values, width) for part in found]).cpu()
        entropy = torch.cat([widen(part.entropies, width) for part in found if part.entropies is not None]).cpu()
        reference_logps = torch.cat(
            [widen(batch_logps(reference, batch, preset.temperature), width) for batch in batches]
        ).cpu()
        kl = token_kl(logps, reference_logps, preset.kl_estimator)
        rewards = response_rewards(
            scorer(rollouts),
            cut.has_end,
            length_share(
                (cut.mask.sum(-1) if preset.masked else non_pad_lengths(cut.ids, pad_id)).float(),
                preset.response_limit,
                torch.tensor([prompt.length_multiplier for prompt in rollouts.prompts]),
            ),
            torch.tensor(
                [
                    symbolic_bonus(prompt.kind, text, score_yes=settings.score_yes)
                    for prompt, text in zip(rollouts.prompts, rollouts.texts, strict=True)
                ]
            ),
            preset.reward,
        )
    if not bool(torch.isfinite(rewards.total).all() & torch.isfinite(kl).all()):
        raise TrainingError("rewards or KL of a rollout are not finite; a lower learning rate usually helps")
    mask = cut.mask if preset.masked else None
    if settings.advantage == "gae":
        found_advantages = gae_advantages(
            shape_rewards(rewards.total, kl, preset.kl_coefficient, mask),
            values,
            gamma=preset.gamma,
            lam=preset.lam,
            reward_scale=preset.reward_scale,
            mask=mask,
        )
        advantages, returns = found_advantages.advantages, found_advantages.returns
    else:
        charged = rewards.total - preset.kl_coefficient * (kl * cut.mask).sum(-1)
        advantages = _rloo(charged * preset.reward_scale, settings.samples_per_prompt, width)
        returns = torch.zeros_like(values)
    log = {
        "reward": rewards.total.mean().item(),
        "model_score": rewards.score.mean().item(),
        "length_reward": rewards.length.mean().item(),
        "correct_reward": rewards.correct.mean().item(),
        "kl": ((logps - reference_logps) * cut.mask).sum(-1).mean().item(),
        "token_kl": mean_over(kl, cut.mask).item(),
        "tokens": cut.mask.sum(-1).float().mean().item(),
        "ended": cut.has_end.float().mean().item(),
        "entropy": mean_over(entropy, cut.mask).item(),
        "value": mean_over(values, cut.mask).item(),
    }
    return Experience(batches, logps, values, advantages, returns, mask, log)


def _rloo(charged: Tensor, samples: int, width: int) -> Tensor:
    """Leave-one-out advantages with unit standard deviation over the rollout, the same for every token, (B, T)."""
    raw = rloo_advantages(charged.view(-1, samples)).flatten()
    return (raw / (raw.std(correction=0) + 1e-8)).unsqueeze(-1).expand(-1, width)


def update(
    experience: Experience, models: ActorCritic, optimizer: Any, settings: PpoSettings, rng: random.Random
) -> dict[str, float]:
    """The clipped updates of one rollout; returns means of losses and clip fractions.

    Raises:
        TrainingError: if a loss or gradient is not finite; the step is not taken.
    """
    preset, batches = settings.preset, experience.batches
    per_step = max(1, preset.step_size // settings.micro_batch_size)
    sums: dict[str, float] = {}
    count = steps = 0
    for _ in range(preset.inner_epochs):
        order = list(range(len(batches)))
        rng.shuffle(order)
        for start in range(0, len(order), per_step):
            chosen = [batches[i] for i in order[start : start + per_step]]
            share = _shares(chosen, experience)
            for batch, weight in zip(chosen, share, strict=True):
                parts, loss = _loss(batch, experience, models, settings)
                if not bool(torch.isfinite(loss)):
                    raise TrainingError(f"the PPO loss is {loss.item()}; a lower learning rate usually helps")
                (loss * weight).backward()  # type: ignore[no-untyped-call]
                count += 1
                for name, value in parts.items():
                    sums[name] = sums.get(name, 0.0) + value
            trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            norm = nn.utils.clip_grad_norm_(trained, preset.max_grad_norm).item()
            if not math.isfinite(norm):
                raise TrainingError("the gradients of PPO are not finite; a lower learning rate usually helps")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            steps += 1
            sums["grad_norm"] = sums.get("grad_norm", 0.0) + norm
    return {name: value / (steps if name == "grad_norm" else count) for name, value in sums.items()} | {
        "optimizer_steps": float(steps)
    }


def _shares(batches: Sequence[ScoringBatch], experience: Experience) -> list[float]:
    """Weight of each micro-batch in a step's loss, so that the step is one mean over all its positions."""
    sizes = [float(sum(batch.lengths) if experience.mask is not None else len(batch.rows)) for batch in batches]
    return [size / sum(sizes) for size in sizes]


def _loss(
    batch: ScoringBatch, experience: Experience, models: ActorCritic, settings: PpoSettings
) -> tuple[dict[str, float], Tensor]:
    preset = settings.preset
    found = models(batch, preset.temperature)
    width = found.logps.shape[1] if experience.mask is not None else experience.old_logps.shape[1]
    rows = torch.tensor(batch.rows)
    device = found.logps.device

    def here(values: Tensor) -> Tensor:
        return values[rows, :width].to(device)

    mask = here(experience.mask) if experience.mask is not None else None
    policy = policy_loss(
        widen(found.logps, width), here(experience.old_logps), here(experience.advantages), preset.clip, mask
    )
    parts = {
        "policy_loss": policy.loss.item(),
        "clip_fraction": policy.clip_fraction.item(),
        "approximate_kl": policy.approximate_kl.item(),
    }
    if models.head is None:
        return parts, policy.loss
    value = value_loss(
        widen(found.values, width), here(experience.old_values), here(experience.returns), preset.value_clip, mask
    )
    parts |= {"value_loss": value.loss.item(), "value_clip_fraction": value.clip_fraction.item()}
    return parts, policy.loss + preset.value_weight * value.loss


# --- the run ------------------------------------------------------------------------------------------------------


def train_ppo(
    policy: Any,
    processor: Any,
    critic_source: Any,
    prompts: Sequence[RolloutPrompt],
    scorer: Scorer,
    out: Path,
    settings: PpoSettings,
    *,
    image_folder: Path,
    end_id: int,
    identity: Mapping[str, Json],
    progress: Progress | None = None,
) -> Any:
    """Run PPO, or continue a run that was killed in this folder; returns the trained policy (PEFT-wrapped with LoRA).

    Args:
        policy: the start model, in memory; it is trained itself.
        processor: of the policy.
        critic_source: backbone that the value model copies (the reward model's); unused for rloo and "shared".
        prompts: what to roll out on.
        scorer: the reward model with its facts.
        out: folder of the run.
        settings: see PpoSettings.
        image_folder: where the prompts' image names begin.
        end_id: token that ends a response.
        identity: what is trained besides the settings; a run of another identity in the same folder is refused.
        progress: called with ("ppo", rollouts done, rollouts in all).
    Raises:
        TrainingError: if losses, gradients or rewards are not finite, or there are no prompts; the last saved state
            stays in the folder.
    """
    if not prompts:
        raise TrainingError("no prompts to roll out on")
    preset = settings.preset
    claim_folder(out, identity)
    models, reference = build_models(policy, critic_source, settings)
    models.eval()  # no dropout: old and new log-probabilities must come from one function
    optimizer = torch.optim.AdamW(_groups(models, settings), weight_decay=0.0)
    total = settings.rollouts(len(prompts))
    path = out / "training" / "state.pt"
    done = _load_state(path, models, optimizer)
    journal = Journal(out / LOG, done)
    encoder = PromptEncoder(processor)
    sampling = RolloutSettings(
        samples=settings.samples_per_prompt,
        temperature=preset.temperature,
        limit=preset.response_limit,
        end_id=end_id,
        overriding=question_mark_ids(encoder.tokenizer) if preset.cut_at_question_mark else (),
        full_width=not preset.masked,
        batch_size=settings.generation_batch,
    )
    for number in range(done, total):
        chosen = prompts_of_rollout(prompts, number, preset.rollout_size // settings.samples_per_prompt, settings.seed)
        rng = random.Random(f"ppo:{settings.seed}:{number}")
        torch.manual_seed(rng.getrandbits(32))
        rollouts = sample_rollouts(models.policy, processor, chosen, image_folder, sampling, rng.getrandbits(31))
        batches = scoring_batches(rollouts, encoder, image_folder, settings.micro_batch_size)
        experience = experience_of(rollouts, batches, models, reference, scorer, settings, encoder.pad_id)
        rate = _set_learning_rate(optimizer, number, total, preset.warmup_rollouts)
        found = update(experience, models, optimizer, settings, rng)
        loss = found["policy_loss"] + preset.value_weight * found.get("value_loss", 0.0)
        line = {
            "step": number + 1,
            "loss": loss,
            **experience.log,
            **found,
            "learning_rate": rate * preset.learning_rate,
        }
        journal.write(line | {"responses": len(rollouts.prompts), "failed_prompts": rollouts.failed})
        if (number + 1) % settings.save_rollouts == 0 and number + 1 < total:
            _save_state(path, number + 1, models, optimizer)
        if progress:
            progress("ppo", number + 1, total)
    return models.policy


def clear_state(out: Path) -> None:
    """Remove the state for resuming, once the policy is saved."""
    (out / "training" / "state.pt").unlink(missing_ok=True)
    shutil.rmtree(out / "training" / "steps", ignore_errors=True)


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


def _groups(models: ActorCritic, settings: PpoSettings) -> list[dict[str, Any]]:
    policy = [parameter for parameter in models.policy.parameters() if parameter.requires_grad]
    own = {id(parameter) for parameter in policy}
    value = [p for p in models.parameters() if p.requires_grad and id(p) not in own]
    rate = settings.preset.learning_rate
    groups = [{"params": policy, "lr": rate, "peak": rate}]
    if value:
        peak = settings.value_learning_rate or rate
        groups.append({"params": value, "lr": peak, "peak": peak})
    return groups


def _set_learning_rate(optimizer: Any, number: int, total: int, warmup: int) -> float:
    """Linear over the first `warmup` rollouts, then a cosine to 0; returns the share of the peak."""
    warmup = min(warmup, total // 2)
    if number < warmup:
        share = (number + 1) / (warmup + 1)
    else:
        share = 0.5 * (1 + math.cos(math.pi * (number - warmup) / max(1, total - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    return share


def _save_state(path: Path, number: int, models: ActorCritic, optimizer: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    trained = {name: p.detach().cpu() for name, p in models.named_parameters() if p.requires_grad}
    state = {
        "rollouts": number,
        "trained": trained,
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
    }
    partial = path.with_name(path.name + ".partial")
    torch.save(state, partial)
    partial.replace(path)


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


def settings_json(settings: PpoSettings) -> dict[str, Json]:
    """All settings, flat where they are simple, without the sources of constants."""
    flat = asdict(settings)
    preset = {name: value for name, value in flat.pop("preset").items() if name != "sources"}
    training = {f"training_{name}": value for name, value in flat.pop("training").items()}
    found: dict[str, Json] = json.loads(json.dumps({**preset, **training, **flat}))
    return found
