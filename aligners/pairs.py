"""Preference pairs: the file format all preference training reads, and how scored candidates become pairs.

A pairs file is JSON Lines, one object per pair: id, image (path or null), prompt, chosen, rejected, meta (anything).

RLAIF-V (arXiv:2405.17220) makes pairs from scored candidates in four steps, each a function of indices here: all pairs
of one prompt with a score gap (`enumerate_pairs`), drop those with unjudged claims (`keep_judged`), a few per prompt
(`sample_per_group`), length balance over the whole set (`aligners.length_balance`).
"""

import json
import random
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from aligners.candidates import Candidate, group_by
from evalkit.errors import DataError
from evalkit.files import replaced
from evalkit.schema import Json


@dataclass(frozen=True, slots=True)
class Pair:
    """One preference pair.

    id        unique in its file
    image     path, relative to the pairs file or absolute; None for a prompt without an image
    prompt    the question, without template or image placeholder
    chosen    the preferred response, rejected the other one; texts
    meta      where it comes from: scores, claims, data set, generating model (JSON)
    """

    id: str
    image: str | None
    prompt: str
    chosen: str
    rejected: str
    meta: Mapping[str, Json] = field(default_factory=dict)

    def defect(self) -> str | None:
        """Why no trainer can use this pair, in words; None if it is fine."""
        if not self.chosen.strip() or not self.rejected.strip():
            return "an empty response"
        if self.chosen.strip() == self.rejected.strip():
            return "chosen and rejected are the same text"
        return None


def write_pairs(path: Path, pairs: Iterable[Pair]) -> int:
    """Write a pairs file; returns the number of pairs. An existing file is replaced in one step."""
    count = 0
    with replaced(path) as beside, beside.open("w", encoding="utf-8") as file:
        for pair in pairs:
            file.write(json.dumps(asdict(pair), ensure_ascii=False) + "\n")
            count += 1
    return count


def read_pairs(path: Path) -> Iterator[Pair]:
    """Pairs of a file, in order.

    Raises:
        DataError: if the file is absent, or a line is no pair (the line number is named) or repeats an id.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such pairs file")
    seen: set[str] = set()
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                pair = _pair(line, f"{path}:{number}")
                if pair.id in seen:
                    raise DataError(f"{path}:{number}: id {pair.id!r} occurs twice")
                seen.add(pair.id)
                yield pair


def _pair(line: str, where: str) -> Pair:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object with id, image, prompt, chosen, rejected")
    wrong = [key for key in ("id", "prompt", "chosen", "rejected") if not isinstance(row.get(key), str)]
    image, meta = row.get("image"), row.get("meta", {})
    if "image" not in row or not (image is None or isinstance(image, str)):
        wrong.append("image")
    if not isinstance(meta, dict):
        wrong.append("meta")
    if wrong:
        raise DataError(
            f"{where}: missing or of another kind: {', '.join(wrong)}; found: {', '.join(sorted(row))} "
            "(id, prompt, chosen, rejected are texts; image is a path, or null without one; meta, if any, an object)"
        )
    return Pair(row["id"], image, row["prompt"], row["chosen"], row["rejected"], meta)


def drop_defective(pairs: Iterable[Pair]) -> tuple[list[Pair], dict[str, int]]:
    """Pairs a trainer can use, and how many were dropped for which reason."""
    kept: list[Pair] = []
    dropped: dict[str, int] = {}
    for pair in pairs:
        reason = pair.defect()
        if reason is None:
            kept.append(pair)
        else:
            dropped[reason] = dropped.get(reason, 0) + 1
    return kept, dropped


def told(counts: Mapping[str, int]) -> str:
    """Reasons and how often each occurred, in words: "an empty response (2), image does not open (1)"."""
    return ", ".join(f"{reason} ({count})" for reason, count in counts.items()) or "there were none"


# --- from scored candidates ---------------------------------------------------------------------------------------


class IndexPair(NamedTuple):
    """Indices of two candidates."""

    chosen: int
    rejected: int


def enumerate_pairs(
    scores: Sequence[float | None], groups: Sequence[Hashable], *, min_gap: float = 1.0
) -> list[IndexPair]:
    """All pairs within a group whose scores differ by at least `min_gap`, higher score chosen.

    Args:
        scores: per candidate; None (nothing could be judged) takes part in no pair.
        groups: per candidate, the prompt it answers (image and question).
        min_gap: 1 in RLAIF-V: one refuted claim more.
    """
    scored = [i for i, score in enumerate(scores) if score is not None]
    values = {i: score for i, score in enumerate(scores) if score is not None}
    members = group_by(scored, [groups[i] for i in scored])
    return [
        IndexPair(chosen, rejected)
        for group in members.values()
        for chosen in group
        for rejected in group
        if chosen != rejected and values[chosen] > values[rejected]
        if values[chosen] - values[rejected] >= min_gap
    ]


def keep_judged(pairs: Sequence[IndexPair], judged: Sequence[bool]) -> list[IndexPair]:
    """Pairs whose two candidates had all their claims judged (see `aligners.feedback.fully_judged`)."""
    return [pair for pair in pairs if judged[pair.chosen] and judged[pair.rejected]]


def sample_per_group(
    pairs: Sequence[IndexPair], groups: Sequence[Hashable], *, limit: int, seed: int
) -> list[IndexPair]:
    """At most `limit` pairs per group, drawn with a seed of the group's own, so that other groups change nothing.

    Args:
        pairs: indices into `groups`.
        groups: per candidate; RLAIF-V takes the image id here, and 2 pairs each.
        limit: pairs per group.
        seed: base seed.
    """
    kept: list[IndexPair] = []
    for group, members in group_by(pairs, [groups[pair.chosen] for pair in pairs]).items():
        chance = random.Random(f"{seed}\x00{group}")
        kept += members if len(members) <= limit else chance.sample(members, limit)
    return kept


def pairs_from_scores(
    candidates: Sequence[Candidate],
    scores: Sequence[float | None],
    judged: Sequence[bool],
    *,
    min_gap: float,
    pairs_per_image: int,
    seed: int,
) -> tuple[list[Pair], dict[str, int]]:
    """The steps above in order: pairs of scored candidates before length balance, and how many each step left.

    Args:
        candidates: of any number of prompts.
        scores: of `aligners.feedback.response_score`, per candidate.
        judged: of `aligners.feedback.fully_judged`, per candidate.
        min_gap: see `enumerate_pairs`.
        pairs_per_image: pairs drawn per image (per prompt where there is none).
        seed: of the draw.
    Returns:
        (pairs, counts): ids are made of the two candidates' ids, meta holds their scores; counts has candidates,
        scored, pairs_with_gap, pairs_fully_judged, pairs_sampled.
    """
    with_gap = enumerate_pairs(scores, [candidate.prompt_id for candidate in candidates], min_gap=min_gap)
    complete = keep_judged(with_gap, judged)
    images = [candidate.image or candidate.prompt_id for candidate in candidates]
    sampled = sample_per_group(complete, images, limit=pairs_per_image, seed=seed)
    counts = {
        "candidates": len(candidates),
        "scored": sum(score is not None for score in scores),
        "pairs_with_gap": len(with_gap),
        "pairs_fully_judged": len(complete),
        "pairs_sampled": len(sampled),
    }
    return [_scored_pair(candidates, scores, pair) for pair in sampled], counts


def _scored_pair(candidates: Sequence[Candidate], scores: Sequence[float | None], pair: IndexPair) -> Pair:
    chosen, rejected = candidates[pair.chosen], candidates[pair.rejected]
    return Pair(
        id=f"{chosen.id}>{rejected.id}",
        image=chosen.image,
        prompt=chosen.prompt,
        chosen=chosen.text,
        rejected=rejected.text,
        meta={"chosen_score": scores[pair.chosen], "rejected_score": scores[pair.rejected]},
    )
