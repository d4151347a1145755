"""Whether reading prompts in parts changes anything for a model: the logits must equal those of prompts read whole.

Three prompts about two images are read whole and in parts, and a few given tokens are decoded after each. That compares
mask, positions, sliding windows, images and the growing cache, up to float noise. Families whose prompts cannot be cut
(image tokens that look ahead, a memory other than keys and values) fail here, and their prompts are read whole.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from evalkit.engines.model.batching import is_out_of_memory
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.model.prefixes.decoding import Advance, Started, by_model, by_text_model, masks_of
from evalkit.engines.model.prefixes.fronts import Front, ids_like, read_front, read_fronts
from evalkit.engines.model.prefixes.pool import Pool
from evalkit.engines.model.prefixes.prefill import read_prefixes, read_tails, read_whole
from evalkit.engines.model.prefixes.sharing import common_length
from evalkit.engines.model.running import answer_logits, inference
from evalkit.engines.model.token_rows import per_token
from evalkit.errors import DataError, EngineError
from evalkit.images import ImageFile
from evalkit.schema import Prompt

# root mean square of the difference, in standard deviations of the logits
NOISE = {torch.float32: 1e-3, torch.float64: 1e-6, torch.float16: 0.05, torch.bfloat16: 0.1}
QUESTIONS = (("Is there a dog?", 0), ("Is there a red car to the left of the table?", 0), ("What is it?", 1))
KNOWN = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}  # of a token; text has type 0
ANSWER, STEPS, SIZE = "Yes, there is one.", 3, (64, 48)
# what a family raises that cannot be read in parts; `inference` turns torch's own errors into EngineErrors
REFUSALS = (EngineError, DataError, TypeError, AttributeError, KeyError, NotImplementedError)


def sharing_problem(model: Any, encoder: PromptEncoder) -> str | None:
    """Why prompts must be read whole; None if they may be read in parts."""
    answer = encoder.continuation_ids(ANSWER)[:STEPS]
    pictures = [_noise(seed) for seed in (1, 2)]
    images = [[pictures[which]] for _, which in QUESTIONS]
    prompts = [Prompt(text, text, (ImageFile(Path(), f"{which}"),)) for text, which in QUESTIONS]
    try:
        unknown = _unknown_inputs(encoder, prompts[0], images[0])
        if unknown:
            return f"its prompts have inputs per token that cannot be cut: {', '.join(unknown)}"
        encoded = encoder.encode(prompts, images, [answer] * len(prompts), padding_side="right")
        whole = torch.stack(list(answer_logits(model, encoded)))
        with inference(model):
            parts = _forced(by_model(model), _in_parts(model, encoder, prompts, images), answer)
            again = _forced(by_model(model), read_whole(model, encoder.encode(prompts[:2], images[:2])), answer)
    except REFUSALS as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return "out of memory during the check"
    allowed, scale = NOISE.get(model.dtype, 0.1), float(whole.std())
    for name, logits, expected in (("in parts", parts, whole), ("in steps", again, whole[:2])):
        difference = float((logits - expected).square().mean().sqrt()) / scale
        if not difference <= allowed:
            return f"logits of a prompt read {name} differ by {difference:.1g} standard deviations"
    return None


def fronts_agree(encoder: PromptEncoder) -> bool:
    """Whether one call of the processor with images of several sizes gives each prompt what it gets by itself."""
    images = [[_noise(1)], [_noise(2).resize((40, 90))], [_noise(3).resize((90, 40))]]
    prompts = [Prompt(text, text, (ImageFile(Path(), "1"),)) for text, _ in QUESTIONS]
    try:
        together = read_fronts(encoder, prompts, images)
        alone = [read_front(encoder, prompt, own) for prompt, own in zip(prompts, images, strict=True)]
    except REFUSALS:
        return False
    return all(_equal(a, b) for a, b in zip(together, alone, strict=True))


def _equal(a: Front, b: Front) -> bool:
    """Whether two fronts are the same to the bit."""
    if replace(a, inputs={}) != replace(b, inputs={}) or a.inputs.keys() != b.inputs.keys():
        return False
    return all(
        torch.equal(value, b.inputs[name]) if isinstance(value, Tensor) else value == b.inputs[name]
        for name, value in a.inputs.items()
    )


def quickest_step(model: Any, encoder: PromptEncoder) -> Advance:
    """The text model alone where it makes the model's logits bit by bit, with padding and without; else the model."""
    plain, direct = by_model(model), by_text_model(model)
    if direct is None:
        return plain
    answer = encoder.continuation_ids(ANSWER)[:STEPS]
    try:
        for texts in (("Is it a dog?", "Is there a red car to the left of it?"), ("What is it?",)):
            prompts = [Prompt(text, text, (ImageFile(Path(), "1"),)) for text in texts]
            encoded = encoder.encode(prompts, [[_noise(1)] for _ in texts])
            with inference(model):
                alike = [_forced(advance, read_whole(model, encoded), answer) for advance in (plain, direct)]
            if not torch.equal(*alike):
                return plain
    except REFUSALS:
        return plain
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return plain
    return direct


def _in_parts(
    model: Any, encoder: PromptEncoder, prompts: Sequence[Prompt], images: Sequence[Sequence[Image.Image]]
) -> Started:
    fronts = [read_front(encoder, prompts[i], images[i]) for i in (0, 2)]
    other = ids_like(encoder, fronts[0], prompts[1])
    if other is None or other != tuple(encoder.encode(prompts[1:2], images[1:2]).inputs["input_ids"][0].tolist()):
        raise EngineError("the processor makes other tokens of a prompt than of its text with the image's tokens")
    rows = [(0, fronts[0].ids), (0, other), (1, fronts[1].ids)]
    lengths = [common_length([ids for _, ids in rows[:2]]), len(rows[2][1]) - 1]
    if any(length < front.head for length, front in zip(lengths, fronts, strict=True)):
        raise EngineError("the image does not stand before the text")
    prefixes = read_prefixes(
        model, [(front, front.ids[:length]) for front, length in zip(fronts, lengths, strict=True)]
    )
    read = [len(prefix.ids) for prefix in prefixes]
    pool = Pool([prefix.layers for prefix in prefixes], read, room=sum(len(ids) for _, ids in rows))
    return read_tails(model, prefixes, pool, rows, 1)


def _unknown_inputs(encoder: PromptEncoder, prompt: Prompt, images: Sequence[Image.Image]) -> list[str]:
    return sorted(set(per_token(encoder.encode([prompt], [images]).inputs)) - KNOWN)


def _forced(advance: Advance, started: Started, answer: Sequence[int]) -> Tensor:
    """Logits (rows, len(answer) + 1, V), float32, with the same tokens written after each prompt."""
    masks, logits = masks_of(started, len(answer)), [started.logits[:, -1]]
    for step, token in enumerate(answer):
        column = torch.full((len(started.mask), 1), token, dtype=torch.long, device=started.mask.device)
        logits.append(advance(started, column, masks(step), step)[:, -1])
    return torch.stack(logits, 1).float()


def _noise(seed: int) -> Image.Image:
    return Image.frombytes("RGB", SIZE, random.Random(seed).randbytes(SIZE[0] * SIZE[1] * 3))
