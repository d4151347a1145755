"""Fact-augmented RLHF in the miniature world: tuned settings, data made on the spot.

Comparisons are labelled by the truth of the scene: true nouns minus faults (hallucinated or repeated mentions). Ranked
by faults first, as LLaVA-RLHF's crowd workers were told to, a shorter response wins more often than not, and a reward
model that sees badly learns that alone. There are two kinds: all samples of the base for a scene, compared with each
other; and *edits*, a response against its correction and the correction against itself without one true mention. The
two texts of an edit differ in one mention, the shorter wins as often as the longer, and only the image tells which.
The data is written in LLaVA-RLHF's own file formats and read back by the ordinary pipeline.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations
from pathlib import Path
from random import Random
from typing import Any

from aligners.fact_rlhf.recipe import FactRlhfResult, align_fact_rlhf
from evalkit.engines.transformers import TransformersEngine
from evalkit.files.atomic import replace_text
from evalkit.images import ImageFile
from evalkit.miniature.captions import correct, leave_out, objects_only, omissible, phrase
from evalkit.miniature.drawing import render
from evalkit.miniature.lexicon import expected_nouns, find_nouns
from evalkit.miniature.neighbours import holds, neighbour_statements
from evalkit.miniature.questions import DESCRIBE_PROMPTS
from evalkit.miniature.scenes import Scene, scenes_of
from evalkit.process.progress import Progress
from evalkit.sampling import Sampling
from evalkit.schema import Prompt, Turn

MAX_NEW_TOKENS = 96


@dataclass(frozen=True, slots=True)
class Recipe:
    """Amounts of data; the training settings are in `SETTINGS`.

    comparison_scenes   scenes described `samples` times each by the base
    prompt_scenes       scenes that PPO rolls out on
    """

    comparison_scenes: int = 2800
    samples: int = 2
    prompt_scenes: int = 1200


SETTINGS: dict[str, Any] = {
    "lora": False,
    # the reward model
    "reward_learning_rate": 5e-4,
    "reward_epochs": 2,
    "reward_batch_size": 4,
    "held_out": 300,
    # PPO
    "advantage": "rloo",
    "samples_per_prompt": 4,
    "rollout_size": 128,
    "step_size": 64,
    "inner_epochs": 2,
    "micro_batch_size": 64,
    "generation_batch": 256,
    "max_rollouts": 10,
    "save_rollouts": 5,
    "response_limit": MAX_NEW_TOKENS,
    "learning_rate": 1.5e-4,
    "value_learning_rate": 1e-3,
    "value_weight": 0.5,
    "value_clip": 2.0,
    "warmup_rollouts": 2,
    "kl_coefficient": 0.1,
    "length_weight": 0.0,
    "end_penalty": -4.0,
}


def align_miniature_fact_rlhf(
    base: Path,
    out: Path,
    seed: int,
    progress: Progress | None = None,
    recipe: Recipe | None = None,
    **overrides: Any,
) -> FactRlhfResult:
    """Align a miniature base; `out` becomes the checkpoint and keeps the data in out/data.

    Args:
        base: of `aligners.miniature.base`.
        out: folder of the new checkpoint.
        seed: of scenes, samples and training.
        progress: called with (stage, done, total).
        recipe, overrides: other amounts and settings than the tuned ones.
    """
    data = Path(out) / "data"
    if not (data / "facts.json").is_file():
        write_data(base, data, seed, recipe or Recipe(), progress)
    return align_fact_rlhf(
        base,
        data / "comparisons.json",
        data / "prompts.json",
        data / "facts.json",
        Path(out),
        "fact-rlhf-masked",
        SETTINGS | {"seed": seed} | overrides,
        image_folder=data / "images",
        style=facts_before_question,
        progress=progress,
    )


def facts_before_question(turns: Sequence[Turn], response: str, facts: Sequence[str] | None) -> list[Turn]:
    """The request of this world: facts where the base learned to read them, the response rated at its end token."""
    said = f"Facts: {', '.join(facts)}. " if facts else ""
    return [*turns[:-1], Turn("user", said + turns[-1].text), Turn("assistant", response)]


# --- data ---------------------------------------------------------------------------------------------------------


def write_data(base: Path, folder: Path, seed: int, recipe: Recipe, progress: Progress | None = None) -> None:
    """Draw scenes, sample the base, write images/, comparisons.json, prompts.json and, last, facts.json."""
    scenes = list(islice(scenes_of("train", 7_000_000 + seed), recipe.comparison_scenes + recipe.prompt_scenes))
    names = [f"scene_{number:06d}.png" for number in range(len(scenes))]
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, scene in zip(names, scenes, strict=True):
        render(scene).save(folder / "images" / name, compress_level=1)
    rng = Random(f"rlhf:{seed}")
    questions = [rng.choice(DESCRIBE_PROMPTS) for _ in scenes]
    rated = range(recipe.comparison_scenes)
    prompts = [Prompt(str(i), questions[i], (ImageFile(folder / "images", names[i]),)) for i in rated]
    samples = sample_base(base, prompts, recipe.samples, seed, progress)
    comparisons: list[dict[str, Any]] = []
    described = [scenes[i] for i in rated]
    for i, first, second in [*preferences(described, samples), *edits(described, samples, rng)]:
        flipped = rng.random() < 0.5  # the preferred response comes first as often as second
        outputs = (second, first) if flipped else (first, second)
        row = conversation(f"c{len(comparisons)}", names[i], questions[i])
        row |= {"output_1": {"from": "gpt", "value": outputs[0]}, "output_2": {"from": "gpt", "value": outputs[1]}}
        comparisons.append(row | {"preference": 2 if flipped else 1})
    rollouts = [
        conversation(f"p{i}", names[i], questions[i]) | {"caption_type": 1}
        for i in range(recipe.comparison_scenes, len(scenes))
    ]
    facts = {name: [phrase(group) for group in scene.groups] for name, scene in zip(names, scenes, strict=True)}
    write_files(folder, {"comparisons": comparisons, "prompts": rollouts, "facts": facts})


def write_files(folder: Path, contents: Mapping[str, Any]) -> None:
    """Write folder/NAME.json one after the other, each whole or not at all: the last one there says that all are."""
    for name, content in contents.items():
        replace_text(folder / f"{name}.json", json.dumps(content))


def conversation(row_id: str, image: str, question: str) -> dict[str, Any]:
    """What a comparison and a prompt of LLaVA-RLHF's files have in common."""
    return {"id": row_id, "image": image, "conversations": [{"from": "human", "value": f"<image>\n{question}"}]}


def sample_base(
    base: Path, prompts: Sequence[Prompt], n: int, seed: int, progress: Progress | None = None
) -> list[list[str]]:
    """`n` distinct-or-not responses of the base to each prompt, at temperature 1."""
    engine = TransformersEngine(base, batch_size=256)
    texts: dict[str, list[str]] = {prompt.id: [] for prompt in prompts}
    sampling = Sampling(1.0, max_new_tokens=MAX_NEW_TOKENS, n=n, seed=seed)
    for done, response in enumerate(engine.generate(prompts, sampling), start=1):
        if response.text is not None and response.finish == "stop":
            texts[response.prompt_id].append(response.text)
        if progress:
            progress("sampling", done, n * len(prompts))
    engine.close()
    return [sorted(set(texts[prompt.id])) for prompt in prompts]


def preferences(scenes: Sequence[Scene], samples: Sequence[Sequence[str]]) -> list[tuple[int, str, str]]:
    """(scene, preferred, other) of all samples of a scene that differ in true nouns minus faults."""
    preferred: list[tuple[int, str, str]] = []
    for number, (scene, responses) in enumerate(zip(scenes, samples, strict=True)):
        for a, b in permutations(responses, 2):
            (faults_a, true_a), (faults_b, true_b) = count_mentions(a, scene), count_mentions(b, scene)
            if true_a - faults_a > true_b - faults_b:
                preferred.append((number, a, b))
    return preferred


def edits(scenes: Sequence[Scene], samples: Sequence[Sequence[str]], rng: Random) -> list[tuple[int, str, str]]:
    """(scene, preferred, other) of responses that differ in one edit: a false mention removed, or a true one.

    As many of either kind as there are faulty responses; expected nouns of the place are left out first, since they
    are what the base hallucinates elsewhere.
    """
    pairs: list[tuple[int, str, str]] = []
    for number, (scene, responses) in enumerate(zip(scenes, samples, strict=True)):
        for text in responses:
            corrected = correct(text, scene, counts=False)
            if corrected == text:
                continue
            pairs.append((number, corrected, text))
            nouns = omissible(corrected)
            if nouns:
                expected = [noun for noun in nouns if noun in expected_nouns(scene.place)]
                pairs.append((number, corrected, leave_out(corrected, rng.choice(expected or nouns))))
    return pairs


def count_mentions(response: str, scene: Scene) -> tuple[int, int]:
    """(faults, true nouns): a mention of an absent noun, a repeated one, and a wrong neighbour are faults."""
    mentions = [mention.noun for mention in find_nouns(objects_only(response))]
    true = len(set(mentions) & scene.nouns)
    wrong = sum(not holds(one, scene) for one in neighbour_statements(response))
    return len(mentions) - true + wrong, true
