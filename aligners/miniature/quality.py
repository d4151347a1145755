"""Whether a tiny LLaVA is worth aligning: it must see, speak, answer, and hallucinate neither too much nor too little.

Measured on validation scenes, which no stage trains on and no benchmark of the test split asks about.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from random import Random
from typing import Any

import torch

from aligners.miniature.lessons import Teacher, scene_pixels
from aligners.miniature.loop import hidden_states
from aligners.training.packing import pack
from evalkit.errors import TrainingError
from evalkit.miniature.captions import claims, fluent, is_true, split_sentences
from evalkit.miniature.questions import Question, absent_nouns, ask_existence, tempting_absent
from evalkit.miniature.scenes import Scene, scenes_of

_PROMPT = "Please describe this image in detail."
_MAX_NEW_TOKENS = 96
_BATCH = 100
MAX_PARAMETERS = 1_000_000
# metric -> lowest and highest acceptable value, percent
LIMITS = {
    "fluent": (98.0, 100.0),
    "recall": (85.0, 100.0),
    "object_answers": (88.0, 100.0),
    "chair_s": (20.0, 40.0),
}


class UnfitError(TrainingError):
    """Raised when a base is outside the quality limits."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Percentages over `scenes` scenes, greedy decoding.

    fluent           responses that the grammar of the world accepts
    recall           present nouns that the response mentions
    chair_s          responses with a hallucinated mention; chair_i: share of claims that are hallucinated
    object_answers   right Yes/No answers, as many absent nouns as present ones, half of them tempting
    repeating        responses that say a sentence twice
    words            mean words a response (not a percentage)
    """

    scenes: int
    fluent: float
    recall: float
    chair_s: float
    chair_i: float
    object_answers: float
    repeating: float
    words: float


def measure(model: Any, processor: Any, n_scenes: int, seed: int) -> Quality:
    """Quality on fresh scenes of the validation split."""
    scenes = list(islice(scenes_of("validation", seed), n_scenes))
    responses = describe_scenes(model, processor, scenes)
    return summarise(scenes, responses, _object_answers(model, processor, scenes, seed))


def summarise(scenes: Sequence[Scene], responses: Sequence[str], object_answers: float) -> Quality:
    """Quality from one response a scene and the share of right answers (percent)."""
    claimed = [claims(response) for response in responses]
    false = [[claim for claim in row if not is_true(claim, scene)] for row, scene in zip(claimed, scenes, strict=True)]
    n_claims = sum(map(len, claimed))
    n_false = sum(map(len, false))
    n_present = sum(len(scene.nouns) for scene in scenes)
    return Quality(
        scenes=len(scenes),
        fluent=_percent(sum(map(fluent, responses)), len(scenes)),
        recall=_percent(n_claims - n_false, n_present),
        chair_s=_percent(sum(map(bool, false)), len(scenes)),
        chair_i=_percent(n_false, n_claims),
        object_answers=object_answers,
        repeating=_percent(sum(map(_repeats, responses)), len(scenes)),
        words=round(sum(len(response.split()) for response in responses) / len(scenes), 1),
    )


def _repeats(response: str) -> bool:
    sentences = split_sentences(response)
    return len(set(sentences)) < len(sentences)


def check(quality: Quality, parameters: int) -> None:
    """Stop before anything is built on a base that would make every later number meaningless.

    Raises:
        UnfitError: naming every metric outside its limits.
    """
    values = asdict(quality)
    wrong = [
        f"{name} is {values[name]:.1f} %, wanted {low:g} to {high:g}"
        for name, (low, high) in LIMITS.items()
        if not low <= values[name] <= high
    ]
    if parameters > MAX_PARAMETERS:
        wrong.append(f"{parameters} parameters, wanted at most {MAX_PARAMETERS}")
    if wrong:
        raise UnfitError(
            f"the miniature base is not fit for use: {'; '.join(wrong)}. Build it with another seed, "
            "or remove changes to the recipe."
        )


@torch.no_grad()
def describe_scenes(model: Any, processor: Any, scenes: Sequence[Scene], prompt: str = _PROMPT) -> list[str]:
    """Greedy responses to one prompt."""
    row = Teacher(processor.tokenizer, 1.0).row([Question(prompt, "")])
    ids = torch.tensor([[*row.prefix_ids, *row.segments[0].prompt_ids]])
    responses: list[str] = []
    for start in range(0, len(scenes), _BATCH):
        batch = scenes[start : start + _BATCH]
        prompts = ids.expand(len(batch), -1)
        output = model.generate(
            input_ids=prompts,
            attention_mask=torch.ones_like(prompts),
            pixel_values=scene_pixels(batch),
            max_new_tokens=_MAX_NEW_TOKENS,
            do_sample=False,
        )
        responses += processor.tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)
    return responses


def _object_answers(model: Any, processor: Any, scenes: Sequence[Scene], seed: int) -> float:
    """Share of right greedy answers, percent."""
    rng = Random(f"answers:{seed}")
    lessons = [_balanced_existence(scene, rng) for scene in scenes]
    right = total = 0
    for start in range(0, len(scenes), _BATCH):
        batch = slice(start, start + _BATCH)
        for said, wanted in _first_tokens(model, processor, scenes[batch], lessons[batch]):
            right += said == wanted
            total += 1
    return _percent(right, total)


@torch.no_grad()
def _first_tokens(
    model: Any, processor: Any, scenes: Sequence[Scene], lessons: Sequence[Sequence[Question]]
) -> list[tuple[int, int]]:
    """(most likely first token, right token) of every question."""
    teacher = Teacher(processor.tokenizer, 1.0)
    batch = pack([teacher.row(questions) for questions in lessons], processor.tokenizer.pad_token_id)
    states = hidden_states(model, batch, scene_pixels(scenes))
    right = torch.tensor(processor.tokenizer.convert_tokens_to_ids(["Yes", "No"]))
    asked = torch.isin(batch.labels[:, 1:], right)
    said = model.lm_head(states[:, :-1][asked]).argmax(-1)
    return list(zip(said.tolist(), batch.labels[:, 1:][asked].tolist(), strict=True))


def _balanced_existence(scene: Scene, rng: Random) -> list[Question]:
    """As many present as absent nouns, at most three each; absent ones tempting and random in turn."""
    present = rng.sample(sorted(scene.nouns), min(3, len(scene.nouns)))
    tempting = tempting_absent(scene)
    others = [noun for noun in absent_nouns(scene) if noun not in tempting]
    absent = [rng.choice(tempting if tempting and number % 2 == 0 else others) for number in range(len(present))]
    phrasings = ("the image", "this image")
    return [ask_existence(scene, noun, rng.choice(phrasings)) for noun in [*present, *absent]]


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
