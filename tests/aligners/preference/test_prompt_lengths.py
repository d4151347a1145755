"""Lengths of prompts from texts and image sizes: as encoded, with few encodings, or with all where sums fail."""

from pathlib import Path

import pytest
from PIL import Image
from tiny_models import build_tiny

from aligners.preference.encoding import PairEncoder, PromptLengths
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.images import ImageFile
from evalkit.schema import Prompt

SIZES = [(40, 40), (90, 30), (30, 90), (64, 48)]
TEXTS = [
    "What is this?",
    "Describe the picture in detail, please.",
    "Is there a dog?\nAnswer yes or no.",
    "Why?",
    "é 🐶?",
]


def prompts(folder: Path) -> list[Prompt]:
    for number, size in enumerate(SIZES):
        Image.new("RGB", size, "gray").save(folder / f"{number}.png")
    return [
        Prompt(f"{number}-{i}", text, (ImageFile.at(f"{number}.png", folder),))
        for number in range(len(SIZES))
        for i, text in enumerate(TEXTS)
    ]


@pytest.mark.parametrize("family", ["llava", "llava_next", "idefics3", "gemma3"])
def test_lengths_are_those_of_encoded_prompts_and_few_are_encoded(family: str, tmp_path: Path) -> None:
    encoder = PairEncoder(PromptEncoder(build_tiny(family)[1]), end_id=0)
    encoded: list[str] = []

    def encode(prompt: Prompt) -> int:
        encoded.append(prompt.id)
        return encoder.prompt_tokens(prompt)

    lengths = PromptLengths(encode, encoder.text_tokens)
    everything = prompts(tmp_path)
    assert [lengths.of(prompt) for prompt in everything] == [encoder.prompt_tokens(prompt) for prompt in everything]
    assert len(encoded) == len(SIZES) + 3  # once a size, and three to see that the sum holds


def test_where_the_sum_does_not_hold_every_prompt_is_encoded(tmp_path: Path) -> None:
    def encode(prompt: Prompt) -> int:
        return 2 * len(prompt.text) + prompt.images[0].size()[0]

    lengths = PromptLengths(encode, lambda prompt: len(prompt.text))
    everything = prompts(tmp_path)
    assert [lengths.of(prompt) for prompt in everything] == [encode(prompt) for prompt in everything]
