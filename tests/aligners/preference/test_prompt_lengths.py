"""Lengths of prompts from texts and image sizes: as encoded, with few encodings, or with all where sums fail."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_models import build_tiny

from aligners.ddpo import dpo_settings
from aligners.preference.dpo import usable_pairs
from aligners.preference.encoding import PairEncoder, PromptLengths
from aligners.preference.pairs import Pair
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


def many_pairs(folder: Path) -> list[Pair]:
    """Pairs about pictures of one size."""
    for number in range(12):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(folder / f"{number}.png")
    return [
        Pair(f"{number}", f"{number}.png", f"What is in picture {number}?", "A dog.", "A cat.", folder=folder)
        for number in range(12)
    ]


def test_pairs_are_checked_with_few_encodings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, encoded = PairEncoder(PromptEncoder(build_tiny("llava")[1]), end_id=0), []
    whole = encoder.prompt_tokens
    monkeypatch.setattr(encoder, "prompt_tokens", lambda prompt: (encoded.append(prompt.id), whole(prompt))[1])
    assert len(usable_pairs(many_pairs(tmp_path), encoder, dpo_settings("dpo"))[0]) == 12
    assert len(encoded) == 4  # once for the size, and three to see that the sum holds


def test_a_process_that_is_not_the_first_opens_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second_of_two: Callable[[Any], None]
) -> None:
    """It once decoded every image, as every other process did."""
    opened: list[str] = []
    monkeypatch.setattr(ImageFile, "open", lambda self: opened.append(self.name))
    second_of_two([None] * 11 + ["image does not open"])
    encoder = PairEncoder(PromptEncoder(build_tiny("llava")[1]), end_id=0)
    kept, counts = usable_pairs(many_pairs(tmp_path), encoder, dpo_settings("dpo"))
    assert [pair.id for pair in kept] == [str(number) for number in range(11)]
    assert counts == {"image does not open": 1}
    assert opened == []
