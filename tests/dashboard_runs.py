"""Run directories and alignments for tests of the dashboard, made from the miniature world without any model.

base       captions with planted hallucinations, "Yes" too often
aligned    true captions, right answers
silent     "." to everything
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.cli.registry import build
from benchmarks.judges.rules import RulesJudge
from evalkit.engines.replay import ScriptedEngine
from evalkit.harness.judge import Judge
from evalkit.harness.stages import evaluate, generate, plan
from evalkit.miniature.captions import noisy_caption, true_caption
from evalkit.miniature.files import read_scenes, write_world
from evalkit.miniature.lexicon import find_nouns
from evalkit.miniature.scenes import Scene
from evalkit.schema import Prompt

Say = Callable[[Prompt, int], str | None]
TASKS = ("chair", "amber", "mmhal")


def write_demo(folder: Path, scenes: int = 24, tasks: Iterable[str] = TASKS) -> Path:
    """A world, runs of three models on several benchmarks, an alignment; returns the folder of all of it."""
    world = write_world(folder / "world", scenes, 0)
    for label, say in models(world).items():
        for task in tasks:
            judge = Judge(RulesJudge()) if task in ("mmhal", "object_halbench") else None
            engine = ScriptedEngine(say, label)
            evaluate(build(task, {}, world), engine, folder / "runs" / label / task, judge, label=label)
    write_alignment(folder / "alignments" / "ddpo", world)
    return folder


def models(world: Path) -> dict[str, Say]:
    """What the three models say."""
    scenes = read_scenes(world)

    def answer(prompt: Prompt, wrong: float, caption: Callable[[Scene, Random], str]) -> str:
        scene = scenes[int(re.findall(r"\d+", prompt.images[0].name)[-1])]
        chance = Random(f"{prompt.id}{prompt.text}")
        if not re.match(r"(Is|Are|Does|Do)\b", prompt.text):
            return caption(scene, chance)
        asked = {mention.noun for mention in find_nouns(prompt.text)}
        truth = asked <= set(scene.nouns)
        return "Yes" if truth or chance.random() < wrong else "No"

    return {
        "base": lambda prompt, sample: answer(prompt, 0.6, noisy_caption),
        "aligned": lambda prompt, sample: answer(prompt, 0.1, true_caption),
        "silent": lambda prompt, sample: ".",
    }


def write_alignment(folder: Path, world: Path, steps: int = 40) -> Path:
    """A checkpoint folder as an alignment leaves it, without weights: card, log, pairs."""
    folder.mkdir(parents=True)
    card = {
        "parent": "base",
        "parent_hash": "0123456789abcdef",
        "method": "ddpo",
        "preset": "ddpo-paper",
        "data": {"pairs": "89abcdef"},
        "settings": {"beta": 0.5, "gamma": 5.0, "learning_rate": 2e-5, "batch_size": 8},
        "seeds": {"training": 0},
        "selection": None,
        "cost": {"pairs": 20, "steps": steps, "seconds": 31.5},
        "skipped": {"an empty response": 1},
    }
    (folder / "card.json").write_text(json.dumps(card))
    chance = Random(0)
    _write_lines(folder / "training.jsonl", (_step(step, steps, chance) for step in range(1, steps + 1)))
    _write_lines(folder / "pairs.jsonl", _pairs(world, 20))
    return folder


def write_unfinished(folder: Path, world: Path, responses: int) -> Path:
    """A CHAIR run that stopped after some responses."""
    say = models(world)["base"]
    generate(plan(build("chair", {}, world)), ScriptedEngine(say, "going"), folder, "going")
    lines = (folder / "responses.jsonl").read_text().splitlines(keepends=True)
    (folder / "responses.jsonl").write_text("".join(lines[:responses]))
    return folder


def _step(step: int, steps: int, chance: Random) -> dict[str, Any]:
    done = step / steps
    return {
        "step": step,
        "loss": 0.69 - 0.5 * done + chance.gauss(0, 0.03),
        "margin": 2.5 * done + chance.gauss(0, 0.15),
        "accuracy": min(1.0, 0.5 + 0.45 * done + chance.gauss(0, 0.04)),
        "chosen_logp": -1.1 + 0.2 * done,
        "rejected_logp": -1.2 - 0.6 * done,
        "kl": 0.4 * done,
        "length": 24 - 2 * done + chance.gauss(0, 0.5),
        "learning_rate": 2e-5 * (1 - done),
        "rows": 8.0,
        "epoch": 2 * done,
        "seconds": 0.8 * step,
    }


def _pairs(world: Path, count: int) -> Iterable[dict[str, Any]]:
    for image_id, scene in list(read_scenes(world).items())[:count]:
        chance = Random(image_id)
        yield {
            "id": str(image_id),
            "image": str(world / "images" / f"COCO_mini_{image_id:012d}.png"),
            "prompt": "Describe this image in detail.",
            "chosen": true_caption(scene, Random(image_id)),
            "rejected": noisy_caption(scene, chance),
            "meta": {"chosen_score": 0, "rejected_score": -1},
        }


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
