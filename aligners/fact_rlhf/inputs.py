"""What PPO of fact-augmented RLHF works on: prompts that can be rolled out, and the reward model as its rate."""

import hashlib
import json
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from aligners.preference.pairs import told
from aligners.reward_model.comparisons import facts_problem, image_problem
from aligners.reward_model.facts import Facts, facts_of, shuffled
from aligners.reward_model.fit import rewards_of
from aligners.reward_model.model import Rating, RatingEncoder, RewardModel
from aligners.rl.experience import TOTAL, RolloutReward
from aligners.rl.rewards import length_share, response_rewards, symbolic_bonus
from aligners.rl.rollouts import RolloutPrompt, Rollouts, as_prompt, non_pad_lengths
from aligners.settings import FactRlhfSettings
from aligners.training.processes.shared import computed_once
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import TrainingError
from evalkit.schema import Turn


def usable_prompts(
    prompts: Sequence[RolloutPrompt],
    facts: Facts | None,
    encoder: PromptEncoder,
    query_limit: int,
    missing_facts: str = "error",
    bad_images: str = "error",
) -> tuple[list[RolloutPrompt], dict[str, int]]:
    """Prompts to roll out on, and how many were left out for which reason: no facts, too long, no readable image.

    `query_limit` counts text tokens of the prompt; image tokens are not part of it. Of several processes the first one
    looks at the images and tells the others.

    Raises:
        DataError: if facts are missing and `missing_facts` is "error", or an image does not open and `bad_images` is
            "error"; both may be "skip".
        TrainingError: if nothing is left.
    """
    return computed_once(lambda: _checked(prompts, facts, encoder, query_limit, missing_facts, bad_images))


def _checked(
    prompts: Sequence[RolloutPrompt],
    facts: Facts | None,
    encoder: PromptEncoder,
    query_limit: int,
    missing_facts: str,
    bad_images: str,
) -> tuple[list[RolloutPrompt], dict[str, int]]:
    kept: list[RolloutPrompt] = []
    skipped: dict[str, int] = {}
    for prompt in prompts:
        row, image = f"prompt {prompt.id!r}", prompt.image
        text_tokens = len(encoder.tokenizer(encoder.render(as_prompt(prompt))).input_ids)
        reason = (
            facts_problem(row, image.name, facts, missing_facts, prompt.kind)
            or (f"longer than {query_limit} tokens" if text_tokens > query_limit else None)
            or image_problem(row, image, bad_images)
        )
        if reason is None:
            kept.append(prompt)
        else:
            skipped[f"prompts: {reason}"] = skipped.get(f"prompts: {reason}", 0) + 1
    if not kept:
        raise TrainingError(f"no prompt is left to roll out on, of {len(prompts)}: {told(skipped)}")
    return kept, skipped


def reward_of_model(
    model: RewardModel,
    encoder: RatingEncoder,
    facts: Facts | None,
    batch_size: int = 32,
) -> Callable[[Rollouts], Tensor]:
    """The reward model as PPO calls it: facts in an order drawn anew at every call, as in the released code.

    Multiple-choice prompts get rationales for facts.
    """

    def rate(rollouts: Rollouts) -> Tensor:
        ratings = []
        for prompt, text in zip(rollouts.prompts, rollouts.texts, strict=True):
            known = facts_of(facts, prompt.image.name, prompt.kind) if facts is not None else None
            if known is not None:
                known = tuple(shuffled(known, seed=rollouts.seed, key=prompt.id))
            ratings.append(Rating(prompt.id, prompt.image, (Turn("user", prompt.text),), text, known))
        return rewards_of(model, encoder, ratings, batch_size)

    return rate


def fact_rlhf_reward(rate: Callable[[Rollouts], Tensor], settings: FactRlhfSettings, pad_id: int) -> RolloutReward:
    """What a response earns in fact-augmented RLHF: the reward model's part, its length, its answer, its end."""

    def reward(rollouts: Rollouts) -> dict[str, Tensor]:
        cut = rollouts.cut
        lengths = cut.mask.sum(-1) if settings.masked else non_pad_lengths(cut.ids, pad_id)
        multipliers = torch.tensor([prompt.length_multiplier for prompt in rollouts.prompts])
        bonus = [
            symbolic_bonus(prompt.kind, text, score_yes=settings.score_yes)
            for prompt, text in zip(rollouts.prompts, rollouts.texts, strict=True)
        ]
        share = length_share(lengths.float(), settings.response_limit, multipliers)
        rewards = response_rewards(rate(rollouts), cut.has_end, share, torch.tensor(bonus), settings)
        return {
            TOTAL: rewards.total,
            "model_score": rewards.model,
            "length_reward": rewards.length,
            "correct_reward": rewards.correct,
        }

    return reward


def prompts_hash(prompts: Sequence[RolloutPrompt]) -> str:
    """Hash of prompts, 16 hex digits."""
    content = [[p.id, p.image.name, p.text, int(p.kind), p.length_multiplier] for p in prompts]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
