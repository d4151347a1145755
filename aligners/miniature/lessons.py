"""What the tiny LLaVA is taught: scenes turned into pixel values and packed rows of prompts and responses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from aligners.miniature.model import AFTER_IMAGE, AFTER_PROMPT, BEFORE_IMAGE, IMAGE_SIDE, N_IMAGE_TOKENS
from aligners.training.packing import Row, Segment
from evalkit.miniature.captions import noisy_caption, true_caption
from evalkit.miniature.drawing import render
from evalkit.miniature.questions import (
    DESCRIBE_PROMPTS,
    OPEN_KINDS,
    Question,
    absent_nouns,
    ask_action,
    ask_colour,
    ask_existence,
    ask_neighbours,
    ask_number,
    ask_open,
    facts_text,
    list_question,
    tempting_absent,
)
from evalkit.miniature.scenes import Scene, scenes_of

_IMAGES = ("the image", "this image")  # how POPE and AMBER name the picture
_P_TEMPTING = 0.7


def pixel_values(pictures: Sequence[Image.Image]) -> Tensor:
    """Exactly what the checkpoint's own image processor makes of the pictures, in half the time, (B, 3, 72, 72)."""
    side = (IMAGE_SIDE, IMAGE_SIDE)
    pixels = np.stack([np.asarray(picture.resize(side, Image.Resampling.BICUBIC)) for picture in pictures])
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def scene_pixels(scenes: Sequence[Scene]) -> Tensor:
    """Pixel values of drawn scenes, (B, 3, 72, 72)."""
    return pixel_values([render(scene) for scene in scenes])


def scene_batches(stage: str, seed: int, size: int) -> Iterator[tuple[list[Scene], Random]]:
    """Endless batches of training scenes with the generator to make lessons of them."""
    rng = Random(f"{stage}:{seed}")
    stream = scenes_of("train", rng.getrandbits(32))
    while True:
        yield list(islice(stream, size)), rng


@dataclass(frozen=True)
class Teacher:
    """Turns questions about scenes into packed rows, with the tokens that the chat template gives.

    Attributes:
        tokenizer: of the checkpoint.
        answer_weight: how much the tokens of a Yes or No count; others count 1.
    """

    tokenizer: Any
    answer_weight: float

    def row(self, questions: Sequence[Question], facts: str | None = None) -> Row:
        """One image followed by independent questions; facts, if any, stand before every question."""
        return Row(self._prefix(facts), [self._segment(question, facts) for question in questions])

    def _prefix(self, facts: str | None) -> list[int]:
        image = [self.tokenizer.convert_tokens_to_ids("<image>")] * N_IMAGE_TOKENS
        return [*self._ids(BEFORE_IMAGE), *image, *self._ids(AFTER_IMAGE), *(self._ids(facts) if facts else [])]

    def _segment(self, question: Question, facts: str | None) -> Segment:
        prompt = self._ids((" " if facts else "") + question.text + AFTER_PROMPT)
        response = (*self._ids(question.answer), self.tokenizer.eos_token_id) if question.answer else ()
        weight = self.answer_weight if question.answer in ("Yes", "No") else 1.0
        return Segment(prompt, response, weight)

    def _ids(self, text: str) -> tuple[int, ...]:
        return _token_ids(self.tokenizer, text)


@cache
def _token_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)


def caption_lesson(scene: Scene, rng: Random, noisy: bool, neighbours: float = 0.0) -> list[Question]:
    """Descriptions (two where they are noisy, since noise takes more examples), the list of objects, existence."""
    descriptions = [describe(scene, rng, noisy, neighbours) for _ in range(2 if noisy else 1)]
    return [*descriptions, list_question(scene), *_mixed_existence(scene, rng, 4)]


def answer_lesson(scene: Scene, rng: Random, neighbours: float = 0.0) -> list[Question]:
    """Existence and other questions, and all that was taught before."""
    return [
        *existence_lesson(scene, rng, 5),
        _other_question(scene, rng),
        describe(scene, rng, True, neighbours),
        describe(scene, rng, True, neighbours),
        list_question(scene),
    ]


def existence_lesson(scene: Scene, rng: Random, n_questions: int) -> list[Question]:
    """Every present noun, and as many absent ones, half of them tempting."""
    absent = rng.sample(absent_nouns(scene), 3)
    tempting = tempting_absent(scene)
    absent += rng.sample(tempting, min(2, len(tempting)))
    questions = [ask_existence(scene, noun, rng.choice(_IMAGES)) for noun in [*sorted(scene.nouns), *absent]]
    rng.shuffle(questions)
    return questions[:n_questions]


def facts_lesson(scene: Scene, rng: Random) -> list[Question]:
    """Questions that the facts answer."""
    return [*existence_lesson(scene, rng, 7), list_question(scene)]


def describe(scene: Scene, rng: Random, noisy: bool, neighbours: float = 0.0) -> Question:
    caption = (noisy_caption if noisy else true_caption)(scene, rng, neighbours)
    return Question(rng.choice(DESCRIBE_PROMPTS), caption)


def shuffled_facts(scene: Scene, rng: Random) -> str:
    """The facts of a scene in random order."""
    groups = list(scene.groups)
    rng.shuffle(groups)
    return facts_text(groups)


def _mixed_existence(scene: Scene, rng: Random, n_questions: int) -> list[Question]:
    nouns = []
    for _ in range(n_questions):
        if rng.random() < 0.5:
            nouns.append(rng.choice(sorted(scene.nouns)))
        else:
            tempting = tempting_absent(scene)[:4]
            nouns.append(rng.choice(tempting if tempting and rng.random() < _P_TEMPTING else absent_nouns(scene)))
    return [ask_existence(scene, noun, rng.choice(_IMAGES)) for noun in nouns]


def _other_question(scene: Scene, rng: Random) -> Question:
    """A question about colour, number, action, neighbours or of an open kind."""
    candidates = [rng.choice(ask_number(scene, rng)), ask_open(rng.choice(OPEN_KINDS), scene, rng)]
    for questions in (ask_colour(scene, rng), ask_action(scene, rng), ask_neighbours(scene)):
        if questions:
            candidates.append(rng.choice(questions))
    return rng.choice(candidates)
