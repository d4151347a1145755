"""Preference pairs: the file format all preference training reads, and how scored candidates become pairs.

A pairs file is JSON Lines, one object per pair: id, image (path or null), prompt, chosen, rejected, meta (anything).

RLAIF-V (arXiv:2405.17220) makes pairs from scored candidates in four steps, each a function of indices here: all pairs
of one prompt with a score gap (`enumerate_pairs`), drop those with unjudged claims (`keep_judged`), a few per prompt
(`sample_per_group`), length balance over the whole set (`balance_lengths`).
"""

import json
import random
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from aligners.candidates import group_by
from evalkit.errors import DataError
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
    partial = path.with_name(path.name + ".partial")
    count = 0
    with partial.open("w", encoding="utf-8") as file:
        for pair in pairs:
            file.write(json.dumps(asdict(pair), ensure_ascii=False) + "\n")
            count += 1
    partial.replace(path)
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
    texts = {key: row.get(key) for key in ("id", "prompt", "chosen", "rejected")}
    wrong = sorted(key for key, value in texts.items() if not isinstance(value, str))
    image, meta = row.get("image"), row.get("meta", {})
    if wrong or not (image is None or isinstance(image, str)) or not isinstance(meta, dict):
        raise DataError(
            f"{where}: expected text under id, prompt, chosen, rejected, a path or null under image, an object under "
            f"meta; wrong or missing: {wrong or 'image or meta'}"
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


@dataclass(frozen=True, slots=True)
class LengthBalance:
    """Result of `balance_lengths`; `ratio` and the means are None if no pair is left.

    ratio          pairs whose chosen text is shorter by more than this fraction of the rejected one were dropped
    kept           indices of the pairs that stay
    mean_chosen    words; mean_rejected likewise
    relative_gap   |mean_chosen - mean_rejected| / mean_rejected
    """

    ratio: float | None
    kept: list[int]
    mean_chosen: float | None
    mean_rejected: float | None
    relative_gap: float | None


def balance_lengths(
    chosen_words: Sequence[int], rejected_words: Sequence[int], identical: Sequence[bool]
) -> LengthBalance:
    """Drop pairs with a much shorter chosen text so that both sides have the same mean length, as far as possible.

    RLAIF-V's released code: a fraction r of 0, 0.02, ... 0.98 is searched (first best), pairs with
    (rejected - chosen) / rejected > r are dropped, and identical pairs always. Pairs with a longer chosen text stay.
    Where the released code divides by zero (an r that keeps nothing, an empty rejected text), it is left out.

    Args:
        chosen_words: words per chosen text.
        rejected_words: words per rejected text.
        identical: True where both texts are the same.
    """
    shortening = {
        i: (rejected - chosen) / rejected
        for i, (chosen, rejected, same) in enumerate(zip(chosen_words, rejected_words, identical, strict=True))
        if rejected and not same
    }
    best = LengthBalance(None, [], None, None, None)
    for step in range(50):
        ratio = step * 0.02
        kept = [i for i, share in shortening.items() if share <= ratio]
        if kept:
            mean_chosen = sum(chosen_words[i] for i in kept) / len(kept)
            mean_rejected = sum(rejected_words[i] for i in kept) / len(kept)
            gap = abs(mean_chosen - mean_rejected) / mean_rejected
            if best.relative_gap is None or gap < best.relative_gap:
                best = LengthBalance(ratio, kept, mean_chosen, mean_rejected, gap)
    return best


def balance_pairs(pairs: Sequence[Pair]) -> tuple[list[Pair], LengthBalance]:
    """`balance_lengths` on texts; words are what white space separates."""
    balance = balance_lengths(
        [len(pair.chosen.split()) for pair in pairs],
        [len(pair.rejected.split()) for pair in pairs],
        [pair.chosen.strip() == pair.rejected.strip() for pair in pairs],
    )
    return [pairs[i] for i in balance.kept], balance
