"""Facts: sentences known to be true of an image, shown to the reward model and to nobody else.

Fact-augmented RLHF (LLaVA-RLHF, Sun et al. 2023, arXiv:2309.14525): the reward model reads human captions of the image
next to the response it rates, so that it need not see every detail itself and is harder to fool. Policy, reference and
value model never see them. The wording of the rating request is our own.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path

from evalkit.errors import DataError
from evalkit.files.rows import parse_json, read_text
from evalkit.schema import Turn

Facts = Mapping[str, Sequence[str]]  # image file name -> true sentences


class AnswerKind(IntEnum):
    """The `caption_type` of LLaVA-RLHF's prompt file: what a correct answer looks like."""

    GENERAL = 1
    A = 2
    B = 3
    C = 4
    D = 5
    NO = 6
    YES = 7


MULTIPLE_CHOICE = (AnswerKind.A, AnswerKind.B, AnswerKind.C, AnswerKind.D)


def load_facts(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a caption file: a JSON object from an image's file name to a list of sentences.

    LLaVA-RLHF's image_to_caption.json has COCO captions under the file name and A-OKVQA rationales under
    "aok_" + file name.

    Raises:
        DataError: if the file is absent or not of this form (the key is named).
    """
    table = parse_json(read_text(path), str(path), whole_file=True)
    if not isinstance(table, dict):
        raise DataError(f"{path}: expected an object from image file name to list of sentences")
    for image, sentences in table.items():
        if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
            raise DataError(f"{path}: {image!r}: expected a list of sentences, got {str(sentences)[:80]}")
    return {image: tuple(s.strip() for s in sentences if s.strip()) for image, sentences in table.items()}


def facts_of(
    facts: Mapping[str, Sequence[str]], image: str, kind: AnswerKind = AnswerKind.GENERAL
) -> tuple[str, ...] | None:
    """Facts of an image (path or file name): rationales for a multiple-choice prompt, captions for any other.

    None if the file has none: the caller counts and reports such rows, or refuses them.
    """
    name = Path(image).name
    known = facts.get(f"aok_{name}" if kind in MULTIPLE_CHOICE else name)
    return tuple(known) if known else None


def shuffled(facts: Sequence[str], *, seed: int, key: str) -> list[str]:
    """Facts in an order drawn for this use (`key`: row and epoch), so that the reward model learns no position."""
    order = list(facts)
    random.Random(f"{seed}\x00{key}").shuffle(order)
    return order


def rating_request(facts: Sequence[str] | None) -> str:
    """The user turn that asks the reward model for its rating; without facts the same text minus their slot."""
    support = ""
    if facts:
        listed = "".join(f"\n   - {fact}" for fact in facts)
        support = f" These descriptions of the image are true; nothing in the response may contradict them:{listed}"
    return (
        "Rate the last response on four points.\n"
        f"1. Accuracy: everything it states can be seen in the image.{support}\n"
        "2. Helpfulness: it answers what was asked.\n"
        "3. Naturalness: it reads like good, fluent language.\n"
        "4. Concision: it has no repetition and nothing beside the point.\n"
        "Give one overall rating."
    )


def rating_conversation(turns: Sequence[Turn], response: str, facts: Sequence[str] | None) -> list[Turn]:
    """What the reward model reads: the conversation, the response to rate, the rating request.

    The rating is read off the last token of this conversation with an opened assistant turn.

    Args:
        turns: up to and including the user turn that `response` answers.
        response: the text to rate.
        facts: true sentences, already in the order wanted; None or empty: the reward model goes without.
    """
    return [*turns, Turn("assistant", response), Turn("user", rating_request(facts))]


def facts_hash(facts: Facts | None) -> str:
    """Hash of a facts table, 16 hex digits; "none" without one."""
    if facts is None:
        return "none"
    content = {image: list(sentences) for image, sentences in facts.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
