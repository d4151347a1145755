"""PPO on a vision-language model: rollouts, rewards, clipped updates, resume.

LLaVA-RLHF (Sun et al. 2023, arXiv:2309.14525). Per rollout: sample responses from the policy; log-probabilities of
policy and frozen reference, values, rewards of the reward model (which alone sees the facts); advantages; a few passes
of clipped updates. Numbers: `aligners.ppo`; models, experience and updates: the other `ppo_` modules.

In the run's folder: training.jsonl (one line a rollout) and training/state.pt, written every `save_rollouts` rollouts.
Differs from the released code: values at padding are 0 there, where it runs the value model over padding.
One process, on one device or several by device_map.
"""

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from aligners.llava_rlhf import RolloutPrompt
from aligners.ppo_experience import Scorer, experience_of
from aligners.ppo_models import ActorCritic, build_models
from aligners.ppo_settings import PpoSettings
from aligners.ppo_updates import make_optimizer, set_learning_rate, update
from aligners.reference_logps import Progress
from aligners.rollouts import RolloutSettings, question_mark_ids, sample_rollouts, scoring_batches
from aligners.run_folder import LOG, Journal, claim_folder
from evalkit.engines.encoding import PromptEncoder
from evalkit.errors import TrainingError
from evalkit.files import replaced
from evalkit.schema import Json


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
    claim_folder(out, identity)
    models, reference = build_models(policy, critic_source, settings)
    models.eval()  # no dropout: old and new log-probabilities must come from one function
    optimizer = make_optimizer(models, settings)
    total = settings.rollouts(len(prompts))
    path = out / "training" / "state.pt"
    done = _load_state(path, models, optimizer)
    journal = Journal(out / LOG, done)
    encoder = PromptEncoder(processor)
    sampling = _sampling(settings, encoder, end_id)

    def roll_out(number: int) -> dict[str, Json]:
        """One rollout with its updates; returns its line of the log."""
        per_rollout = settings.preset.rollout_size // settings.samples_per_prompt
        chosen = prompts_of_rollout(prompts, number, per_rollout, settings.seed)
        rng = random.Random(f"ppo:{settings.seed}:{number}")
        torch.manual_seed(rng.getrandbits(32))
        rollouts = sample_rollouts(models.policy, processor, chosen, image_folder, sampling, rng.getrandbits(31))
        batches = scoring_batches(rollouts, encoder, image_folder, settings.micro_batch_size)
        experience = experience_of(rollouts, batches, models, reference, scorer, settings, encoder.pad_id)
        rate = set_learning_rate(optimizer, number, total, settings.preset.warmup_rollouts)
        found = update(experience, models, optimizer, settings, rng)
        return {
            "step": number + 1,
            "loss": found["policy_loss"] + settings.preset.value_weight * found.get("value_loss", 0.0),
            **experience.log,
            **found,
            "learning_rate": rate * settings.preset.learning_rate,
            "responses": len(rollouts.prompts),
            "failed_prompts": rollouts.failed,
        }

    for number in range(done, total):
        journal.write(roll_out(number))
        if (number + 1) % settings.save_rollouts == 0 and number + 1 < total:
            _save_state(path, number + 1, models, optimizer)
        if progress:
            progress("ppo", number + 1, total)
    return models.policy


def _sampling(settings: PpoSettings, encoder: PromptEncoder, end_id: int) -> RolloutSettings:
    preset = settings.preset
    return RolloutSettings(
        samples=settings.samples_per_prompt,
        temperature=preset.temperature,
        limit=preset.response_limit,
        end_id=end_id,
        overriding=question_mark_ids(encoder.tokenizer) if preset.cut_at_question_mark else (),
        full_width=not preset.masked,
        batch_size=settings.generation_batch,
    )


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
