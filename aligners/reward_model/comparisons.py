"""Comparisons as the reward model trains on them: which are usable, which are held out, groups, batches.

Comparisons of one conversation form a group whose responses are rated once each (as in InstructGPT, arXiv:2203.02155,
section 3.5).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from aligners.preference.pairs import told
from aligners.reward_model.facts import AnswerKind, Facts, facts_of, shuffled
from aligners.reward_model.model import Rating, RatingBatch, RatingEncoder
from aligners.training.processes.shared import computed_once
from evalkit.errors import DataError, TrainingError
from evalkit.images import ImageFile
from evalkit.schema import Turn


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two responses to the same conversation; `turns` ends with the user turn both answer.

    preference      0 if the first response is preferred, 1 if the second
    hallucination   whether the crowd worker saw a hallucination in the worse one; None if the file does not say
    """

    id: str
    image: ImageFile
    turns: tuple[Turn, ...]
    responses: tuple[str, str]
    preference: int
    hallucination: bool | None = None

    def defect(self) -> str | None:
        """Why the reward model cannot learn from this row, in words; None if it is fine."""
        if not all(response.strip() for response in self.responses):
            return "an empty response"
        if self.responses[0].strip() == self.responses[1].strip():
            return "both responses are the same text"
        return None


def usable_comparisons(
    comparisons: Sequence[Comparison],
    facts: Facts | None,
    missing_facts: str = "error",
    bad_images: str = "error",
) -> tuple[list[Comparison], dict[str, int]]:
    """Comparisons that can be trained on, and how many were left out for which reason.

    Of several processes the first one looks at the images and tells the others.

    Raises:
        DataError: if an image does not open and `bad_images` is "error", or facts are wanted, an image has none and
            `missing_facts` is "error"; both may be "skip".
        TrainingError: if nothing is left.
    """
    return computed_once(lambda: _checked(comparisons, facts, missing_facts, bad_images))


def _checked(
    comparisons: Sequence[Comparison], facts: Facts | None, missing_facts: str, bad_images: str
) -> tuple[list[Comparison], dict[str, int]]:
    kept: list[Comparison] = []
    skipped: dict[str, int] = {}
    for comparison in comparisons:
        row, image = f"comparison {comparison.id!r}", comparison.image
        reason = (
            comparison.defect()
            or facts_problem(row, image.name, facts, missing_facts)
            or image_problem(row, image, bad_images)
        )
        if reason is None:
            kept.append(comparison)
        else:
            skipped[reason] = skipped.get(reason, 0) + 1
    if not kept:
        raise TrainingError(f"no comparison is left to train on, of {len(comparisons)}: {told(skipped)}")
    return kept, skipped


def facts_problem(
    row: str, image: str, facts: Facts | None, missing_facts: str, kind: AnswerKind = AnswerKind.GENERAL
) -> str | None:
    """Why a row cannot be used if facts are wanted and its image has none, else None; `row` names it in the error.

    Raises:
        DataError: instead, if `missing_facts` is "error".
    """
    if facts is None or facts_of(facts, image, kind) is not None:
        return None
    if missing_facts == "error":
        raise DataError(
            f"{row}: the facts file has nothing on {image!r} (set missing_facts to 'skip' to leave such rows out)"
        )
    return "no facts for its image"


def image_problem(row: str, image: ImageFile, bad_images: str) -> str | None:
    """Why a row cannot be used if its image does not open, else None; `row` names it in the error.

    Raises:
        DataError: instead, if `bad_images` is "error".
    """
    try:
        image.open()
    except DataError as error:
        if bad_images == "error":
            raise DataError(f"{row}: {error}") from error
        return "image does not open"
    return None


def split_held_out(
    comparisons: Sequence[Comparison], held_out: int, seed: int
) -> tuple[list[Comparison], list[Comparison]]:
    """(training, held out): whole images are held out, in an order drawn by the seed, at most a fifth of the rows.

    Raises:
        TrainingError: if no row is left for training.
    """
    wanted = min(held_out, len(comparisons) // 5)
    by_image: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        by_image.setdefault(comparison.image.name, []).append(comparison)
    held: set[str] = set()
    count = 0
    for image in sorted(by_image, key=lambda name: hashlib.sha256(f"{seed}\x00{name}".encode()).digest()):
        if count + len(by_image[image]) <= wanted:
            held.add(image)
            count += len(by_image[image])
    training = [row for row in comparisons if row.image.name not in held]
    if not training:
        raise TrainingError("every comparison was held out: nothing to train on")
    return training, [row for row in comparisons if row.image.name in held]


def ratings_of(comparison: Comparison, facts: Facts | None, *, seed: int, use: str) -> tuple[Rating, Rating]:
    """Both responses as the reward model gets them; facts in an order drawn for this `use`."""
    known = facts_of(facts, comparison.image.name) if facts is not None else None
    order = tuple(shuffled(known, seed=seed, key=f"{comparison.id}:{use}")) if known else None
    first, second = (
        Rating(comparison.id, comparison.image, comparison.turns, response.strip(), order)
        for response in comparison.responses
    )
    return first, second


@dataclass(frozen=True, slots=True)
class Group:
    """Comparisons of responses to one conversation about one image: (first, second, choice) indices into `ratings`."""

    ratings: tuple[Rating, ...]
    pairs: tuple[tuple[int, int, int], ...]


def group_comparisons(comparisons: Sequence[Comparison], facts: Facts | None, *, seed: int, use: str) -> list[Group]:
    """One group for each image and conversation, in order of their first comparison; every response once."""
    members: dict[tuple[ImageFile, tuple[Turn, ...]], list[Comparison]] = {}
    for row in comparisons:
        members.setdefault((row.image, row.turns), []).append(row)
    groups = []
    for rows in members.values():
        places: dict[str, int] = {}
        pairs = []
        for row in rows:
            first, second = (places.setdefault(text.strip(), len(places)) for text in row.responses)
            pairs.append((first, second, row.preference))
        example, _ = ratings_of(rows[0], facts, seed=seed, use=use)
        groups.append(Group(tuple(replace(example, response=text) for text in places), tuple(pairs)))
    return groups


def rating_batch(groups: Sequence[Group], encoder: RatingEncoder) -> RatingBatch:
    """Groups as a batch."""
    ratings: list[Rating] = []
    pairs, choice = [], []
    for group in groups:
        for first, second, preferred in group.pairs:
            pairs.append([len(ratings) + first, len(ratings) + second])
            choice.append(preferred)
        ratings += group.ratings
    return RatingBatch(encoder.encode(ratings), torch.tensor(pairs), torch.tensor(choice))


def comparisons_hash(comparisons: Sequence[Comparison]) -> str:
    """Hash of all that training reads of the comparisons, 16 hex digits."""
    content = [[row.id, row.image.name, row.turns, row.responses, row.preference] for row in comparisons]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
