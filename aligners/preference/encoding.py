"""Preference pairs as tensors: the tokens an engine would generate, with each prompt and image once a pair.

Prompts and responses go through the engine's own `PromptEncoder`, so the policy is trained on exactly what it is later
measured on; the token that ends a turn in the checkpoint's chat template closes every response.

Three layouts give the same log-probabilities; the cheapest one that a model supports is found by `layouts.find_layout`:

    PACKED         prompt | last prompt token, chosen | last prompt token, rejected      one row a pair, block mask
    SHARED_IMAGES  prompt, chosen / prompt, rejected                                     two rows, image features once
    SEPARATE       the same two rows, everything twice
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from aligners.preference.pairs import Pair
from aligners.training.logprobs import IGNORE
from aligners.training.packing import Row, Segment, pack
from aligners.training.shared_images import image_groups, image_inputs
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.model.token_rows import Encoded, per_token
from evalkit.errors import DataError, TrainingError
from evalkit.schema import Prompt


class Layout(StrEnum):
    """How a pair lies in a batch; see the module's text."""

    PACKED = "packed"
    SHARED_IMAGES = "shared images"
    SEPARATE = "separate"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """A pair as the model sees it; both responses end with the end token.

    confidence   probability that the label is right, as the pair's meta says; None where it says nothing
    """

    id: str
    prompt: Prompt
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    confidence: float | None = None

    @property
    def tokens(self) -> int:
        """Response tokens of both sides."""
        return len(self.chosen_ids) + len(self.rejected_ids)


def confidence_of(pair: Pair) -> float | None:
    """Probability that a pair's label is right, as its meta says; None where it says nothing.

    Raises:
        DataError: if it is no fraction.
    """
    said = pair.meta.get("confidence")
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said <= 1:
        raise DataError(f"pair {pair.id!r}: meta.confidence is a probability from 0 to 1, not {said!r}")
    return float(said)


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Pairs as model inputs.

    inputs       keyword arguments of the model's forward; for SHARED_IMAGES the images are there once
    labels       response tokens, IGNORE elsewhere, long (B, T)
    lengths      response tokens of each side in the order in which the labels list them, 2n numbers
    order        puts those 2n responses in the order chosen 1..n, rejected 1..n
    """

    inputs: dict[str, Any]
    labels: Tensor
    lengths: tuple[int, ...]
    order: tuple[int, ...]


class PairEncoder:
    """Turns pairs into token ids, and token pairs into batches."""

    def __init__(self, encoder: PromptEncoder, end_id: int) -> None:
        self.encoder = encoder
        self.end_id = end_id

    def response_ids(self, text: str) -> tuple[int, ...]:
        """Token ids of a response with its end token."""
        return (*self.encoder.continuation_ids(text), self.end_id)

    def tokenize(self, pair: Pair) -> TokenPair:
        """A pair's token ids; images stay on disk until a batch needs them."""
        return TokenPair(
            pair.id,
            Prompt(pair.id, pair.prompt, pair.images),
            self.response_ids(pair.chosen.strip()),
            self.response_ids(pair.rejected.strip()),
            confidence_of(pair),
        )

    def prompt_tokens(self, prompt: Prompt) -> int:
        """Tokens of a prompt, image tokens included."""
        encoded = self.encoder.encode([prompt])
        return encoded.starts[0] - encoded.begins[0]

    def text_tokens(self, prompt: Prompt) -> int:
        """Tokens of a prompt's template and text, each image's marker counted as the tokenizer reads it."""
        return len(self.encoder.tokenizer(self.encoder.render(prompt), add_special_tokens=False).input_ids)

    def batch(self, pairs: Sequence[TokenPair], layout: Layout) -> PairBatch:
        """Model inputs of some pairs.

        Raises:
            DataError: if an image cannot be read, or some pairs have an image and others have none.
            TrainingError: if a prompt cannot be packed.
        """
        encoded = self.encoder.encode([pair.prompt for pair in pairs])
        if layout is Layout.PACKED:
            return self._packed(encoded, pairs)
        return self._two_rows(encoded, pairs, images_once=layout is Layout.SHARED_IMAGES)

    def _packed(self, encoded: Encoded, pairs: Sequence[TokenPair]) -> PairBatch:
        prompt_ids = prompts_of(encoded)
        extra, images = _split_features(encoded)
        if extra or any(ids[-1] in self.encoder.placeholder_ids for ids in prompt_ids):
            raise TrainingError("prompts with token-shaped extras, or with an image at their end, cannot be packed")
        rows = [
            Row(ids[:-1], [Segment(ids[-1:], pair.chosen_ids), Segment(ids[-1:], pair.rejected_ids)])
            for ids, pair in zip(prompt_ids, pairs, strict=True)
        ]
        return self._rows_of_pairs(rows, images, pairs, range(len(pairs)))

    def by_image(self, pairs: Sequence[TokenPair]) -> PairBatch | None:
        """As PACKED, but pairs about one image lie in one row; None if no two do, or they cannot.

        Raises:
            DataError: if an image cannot be read.
        """
        prompts = [pair.prompt for pair in pairs]
        groups = image_groups(self.encoder, prompts, lambda place: [file.open() for file in prompts[place].images])
        images = image_inputs(groups) if groups is not None and len(groups) < len(pairs) else None
        if groups is None or images is None:
            return None
        rows = []
        for group in groups:
            segments = [
                Segment(ids[group.common :], response)
                for place, ids in zip(group.members, group.ids, strict=True)
                for response in (pairs[place].chosen_ids, pairs[place].rejected_ids)
            ]
            rows.append(Row(group.ids[0][: group.common], segments))
        return self._rows_of_pairs(rows, images, pairs, [place for group in groups for place in group.members])

    def _rows_of_pairs(
        self, rows: Sequence[Row], images: dict[str, Tensor], pairs: Sequence[TokenPair], places: Sequence[int]
    ) -> PairBatch:
        """Packed rows whose segments are the responses of the pairs at `places`, chosen and rejected in turn."""
        packed = pack(rows, self.encoder.pad_id)
        inputs = {
            "input_ids": packed.input_ids,
            "position_ids": packed.position_ids,
            "attention_mask": packed.attention_mask,
        }
        lengths = [n for at in places for n in (len(pairs[at].chosen_ids), len(pairs[at].rejected_ids))]
        where = {place: 2 * number for number, place in enumerate(places)}
        order = [where[place] + side for side in (0, 1) for place in range(len(pairs))]
        return PairBatch(inputs | images, packed.labels, tuple(lengths), tuple(order))

    def _two_rows(self, encoded: Encoded, pairs: Sequence[TokenPair], images_once: bool) -> PairBatch:
        responses = [pair.chosen_ids for pair in pairs] + [pair.rejected_ids for pair in pairs]
        _, images = _split_features(encoded)
        twice = {name: torch.cat([encoded.inputs[name]] * 2) for name in per_token(encoded.inputs)}
        rows = self.encoder.append(twice, responses, "right")
        labels = torch.full_like(rows.inputs["input_ids"], IGNORE)
        for b, (start, response) in enumerate(zip(rows.starts, responses, strict=True)):
            labels[b, start : start + len(response)] = torch.tensor(response)
        inputs = rows.inputs | {name: v if images_once else torch.cat([v, v]) for name, v in images.items()}
        return PairBatch(inputs, labels, tuple(map(len, responses)), tuple(range(len(responses))))


def prompts_of(encoded: Encoded) -> list[list[int]]:
    """Prompt ids of each row, without padding."""
    ids = encoded.inputs["input_ids"]
    return [ids[b, begin:start].tolist() for b, (begin, start) in enumerate(_spans(encoded))]


def _spans(encoded: Encoded) -> list[tuple[int, int]]:
    return list(zip(encoded.begins, encoded.starts, strict=True))


def _split_features(encoded: Encoded) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(token-shaped features besides ids and mask, the others: pixels and what belongs to them)."""
    rest = {name: v for name, v in encoded.inputs.items() if isinstance(v, Tensor)}
    tokens = set(per_token(rest)) - {"input_ids", "attention_mask"}
    extra = {name: value for name, value in rest.items() if name in tokens}
    ours = {"input_ids", "attention_mask", *tokens}
    return extra, {name: value for name, value in rest.items() if name not in ours}


# --- lengths of many prompts without encoding every image ---------------------------------------------------------
#
# How many tokens an image becomes depends on its size alone, so a prompt is as long as its text and what images of
# these sizes add; the latter is measured on one prompt. That a family really adds them up is checked on further
# prompts: one that does not has every prompt encoded.

_CHECKED = 3  # prompts of the same image sizes that are encoded as well before the sum is trusted

Sizes = tuple[tuple[int, int], ...]


class PromptLengths:
    """Tokens of prompts, image tokens included.

    Args:
        encoded: tokens of a prompt as the model gets it; opens its images.
        text: tokens of a prompt without what its images add.
    """

    def __init__(self, encoded: Callable[[Prompt], int], text: Callable[[Prompt], int]) -> None:
        self._encoded, self._text = encoded, text
        self._lengths: dict[tuple[str | None, str, Sizes], int] = {}
        self._added: dict[Sizes, int] = {}
        self._left_to_check = _CHECKED
        self._adds_up = True

    def of(self, prompt: Prompt) -> int:
        """Tokens of one prompt."""
        sizes = tuple(image.size() for image in prompt.images)
        key = (prompt.system, prompt.text, sizes) if not prompt.turns else None
        if key is not None and key in self._lengths:
            return self._lengths[key]
        length = self._length(prompt, sizes)
        if key is not None:
            self._lengths[key] = length
        return length

    def _length(self, prompt: Prompt, sizes: Sizes) -> int:
        if not self._adds_up:
            return self._encoded(prompt)
        text, added = self._text(prompt), self._added.get(sizes)
        if added is None:
            length = self._encoded(prompt)
            self._added[sizes] = length - text
            return length
        if self._left_to_check:
            length = self._encoded(prompt)
            self._left_to_check -= 1
            self._adds_up = length == text + added
            return length
        return text + added
