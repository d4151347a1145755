"""GRPO on the miniature base through TRL's trainer, with a reward that is read off the truth of each scene.

CHAIR with coverage (`aligners.rewards.chair_reward`): named objects that are there pay, hallucinated ones and wrong
numbers cost. Nothing is learned of the reward, so nothing but its own gaps can be exploited: what it does not weigh
(length, with weights that leave out coverage silence) is what a policy changes. The parts stand in training.jsonl.
"""

import json
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from aligners.fact_rlhf.inputs import prompts_hash
from aligners.fact_rlhf.settings import fact_rlhf_settings
from aligners.miniature.recipes.rlhf import SETTINGS as RLHF
from aligners.rewards.chair import ChairWeights, chair_reward
from aligners.rewards.forms import rollout_reward
from aligners.rl.loop import clear_state
from aligners.rl.rollouts import RolloutPrompt
from aligners.rl.trl_stage import train_online
from aligners.settings import ppo_json
from aligners.training.checkpoint import Card, weights_hash
from aligners.training.policy import load_policy, save_policy
from aligners.training.run_folder import KEPT, LOG, finished_card, read_log
from benchmarks.objects.mentions import CHAIR_DOUBLE_WORDS, MentionFinder, Vocabulary, read_synonyms
from evalkit.files.atomic import replace_text
from evalkit.images import ImageFile
from evalkit.miniature.drawing import render
from evalkit.miniature.lexicon import synonyms_text
from evalkit.miniature.questions import DESCRIBE_PROMPTS
from evalkit.miniature.scenes import scenes_of
from evalkit.process.progress import Progress
from evalkit.schema import Json

SCENES = 600
WEIGHTS = ChairWeights(covered=4.0, hallucinated=1.0, wrong_counts=0.5)  # a scene holds four to eight kinds of things
SETTINGS: dict[str, Any] = {name: RLHF[name] for name in ("lora", "response_limit", "generation_batch")} | {
    "rl": "grpo",
    "samples_per_prompt": 8,
    "rollout_size": 128,
    "step_size": 64,
    "inner_epochs": 1,
    "micro_batch_size": 64,
    "max_rollouts": 10,
    "save_rollouts": 4,
    "learning_rate": 2e-4,
    "warmup_rollouts": 2,
    "kl_coefficient": 0.05,
}


def align_miniature_grpo(
    base: Path,
    out: Path,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    weights: ChairWeights = WEIGHTS,
    **overrides: Any,
) -> Card:
    """Train, or continue, or return what is finished; `out` becomes the checkpoint and keeps its scenes in out/data.

    Args:
        base: of `aligners.miniature.base.cached_base`.
        out: folder of the new checkpoint.
        seed: of scenes, sampling and training.
        progress: called with (stage, done, total).
        weights: of the reward's parts.
        overrides: other settings than the tuned ones.
    """
    settings = replace(
        fact_rlhf_settings("fact-rlhf-masked", **SETTINGS | {"seed": seed} | overrides), name="grpo-miniature"
    )
    prompts, references = write_scenes(Path(out) / "data", seed)
    policy = load_policy(base, settings)
    identity: dict[str, Json] = {
        "model": weights_hash(policy.model),
        "prompts": prompts_hash(prompts),
        "weights": asdict(weights),
        **ppo_json(settings),
    }
    finished = finished_card(out, identity)
    if finished is not None:
        return finished

    def card() -> Card:
        log = read_log(out / LOG)
        return Card(
            parent=str(base),
            parent_hash=str(identity["model"]),
            method="grpo",
            preset="",
            data={"prompts": str(identity["prompts"])},
            settings={name: value for name, value in identity.items() if name not in ("model", "prompts")},
            seeds={"grpo": seed},
            cost={"rollouts": len(log), "seconds": float(log[-1]["seconds"])},
        )

    def keep(number: int, model: Any) -> None:
        model.save_pretrained(out / KEPT / f"rollout-{number}")
        policy.processor.save_pretrained(out / KEPT / f"rollout-{number}")

    train_online(
        policy,
        prompts,
        rollout_reward(chair_reward(miniature_finder(Path(out) / "data"), weights), references),
        Path(out),
        settings,
        identity=identity,
        save=lambda trainer: save_policy(trainer, policy, out, card()),
        keep=keep,
        progress=progress,
    )
    clear_state(out)
    return card()


def write_scenes(folder: Path, seed: int) -> tuple[list[RolloutPrompt], dict[str, dict[str, Json]]]:
    """Draw training scenes; returns a prompt for each, and the truth by prompt id: objects, and their numbers."""
    scenes = list(islice(scenes_of("train", 9_000_000 + seed), SCENES))
    prompts, references = [], {}
    whole = folder / "references.json"
    for number, scene in enumerate(scenes):
        name = f"scene_{number:06d}.png"
        if not whole.is_file():
            (folder / "images").mkdir(parents=True, exist_ok=True)
            render(scene).save(folder / "images" / name, compress_level=1)
        question = DESCRIBE_PROMPTS[number % len(DESCRIBE_PROMPTS)]
        prompts.append(RolloutPrompt(f"{number:06d}", ImageFile(folder / "images", name), question))
        counts: dict[str, Json] = {group.noun: group.count for group in scene.groups}
        references[f"{number:06d}"] = {"objects": sorted(counts), "counts": counts}
    replace_text(whole, json.dumps(references))
    return prompts, references


def miniature_finder(folder: Path) -> MentionFinder:
    """Mentions as the CHAIR of this world finds them; its table of synonyms is written to the folder."""
    table = folder / "synonyms.txt"
    replace_text(table, synonyms_text())
    return MentionFinder(Vocabulary(read_synonyms(table), CHAIR_DOUBLE_WORDS), "pos_lemma")
