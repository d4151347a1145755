"""Preference pairs: the file format all preference training reads, and how scored candidates become pairs.

A pairs file is JSON Lines, one object per pair: id, image (path or null), prompt, chosen, rejected, meta (anything).

RLAIF-V (arXiv:2405.17220) makes pairs from scored candidates in four steps, each a function of indices here: all pairs
of one prompt with a score gap (`enumerate_pairs`), drop those with unjudged claims (`keep_judged`), a few per prompt
(`sample_per_group`), length balance over the whole set (`aligners.feedback.pairing`).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from evalkit.errors import DataError
from evalkit.files.atomic import replaced
from evalkit.files.rows import Row, read_rows
from evalkit.images import ImageFile
from evalkit.schema import Json
from evalkit.text.thoughts import REMOVED, STANDARD

IMAGE_COLUMNS = ("image", "images", "image_path", "image_file", "img_path")
MARKER = "<image>"  # where an image stands in the texts of other trainers' files
_NUMBERED = re.compile(r"image_?[0-9]+")
UNOPENED = "image does not open (training stops there, or leaves it out with --set bad_images=skip)"


THOUGHTS, UNFINISHED = "thoughts", "unfinished"  # key of a pair's meta, and its value where no response is left


@dataclass(frozen=True, slots=True)
class Pair:
    """One preference pair.

    id        unique in its file
    image     path, relative to the pairs file or absolute; None for a prompt without an image
    prompt    the question, without template or image placeholder
    chosen    the preferred response, rejected the other one; texts
    meta      where it comes from: scores, claims, data set, generating model (JSON)
    folder    where a relative image path begins; known from the place of the file, so not written and not compared
    """

    id: str
    image: str | None
    prompt: str
    chosen: str
    rejected: str
    meta: Mapping[str, Json] = field(default_factory=dict)
    folder: Path = field(default=Path("."), compare=False)

    @property
    def images(self) -> tuple[ImageFile, ...]:
        """The image, if there is one."""
        return () if self.image is None else (ImageFile.at(self.image, self.folder),)

    def defect(self) -> str | None:
        """Why no trainer can use this pair, in words; None if it is fine."""
        if self.meta.get(THOUGHTS) == UNFINISHED:
            return "an unfinished thought"
        if not self.chosen.strip() or not self.rejected.strip():
            return "an empty response"
        if self.chosen.strip() == self.rejected.strip():
            return "chosen and rejected are the same text"
        return None


def without_thoughts(pair: Pair) -> Pair:
    """The pair without the thoughts of a reasoning model in its responses; `meta` says that there were some.

    A thought that is not finished leaves no response, see `defect`. A row whose `meta` says {"thoughts": "kept"} stays
    as it is: its thoughts are what is to be learned.
    """
    if THOUGHTS in pair.meta:
        return pair
    chosen, rejected = STANDARD.take_off(pair.chosen), STANDARD.take_off(pair.rejected)
    if not (chosen.had_thought or rejected.had_thought):
        return pair
    whole = chosen.answer is not None and rejected.answer is not None
    meta = {**pair.meta, THOUGHTS: REMOVED if whole else UNFINISHED}
    return replace(pair, chosen=chosen.answer or pair.chosen, rejected=rejected.answer or pair.rejected, meta=meta)


def write_pairs(path: Path, pairs: Iterable[Pair]) -> int:
    """Write a pairs file; returns the number of pairs. An existing file is replaced in one step."""
    count = 0
    with replaced(path) as beside, beside.open("w", encoding="utf-8") as file:
        for pair in pairs:
            row = asdict(pair)
            del row["folder"]
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def refuse_several_images(
    fields: Mapping[str, Json], where: str, questions: Iterable[str] = (), *, what: str = "pair"
) -> None:
    """Refuse a row about several images: by a list, by two columns of images, or by what its question shows.

    Args:
        fields: of the row, as it stands in its file.
        where: file and row.
        questions: the question in each form that the row has it in, where "<image>" stands for each image.
        what: the row is, for the message.
    Raises:
        DataError: if it is; a pair that lost an image would be about another picture than its responses.
    """
    lists = [value for name in IMAGE_COLUMNS if isinstance(value := fields.get(name), list)]
    numbered = [name for name, value in fields.items() if _NUMBERED.fullmatch(name) and value is not None]
    columns = len(numbered) + (fields.get("image") is not None) if numbered else 0
    count = max([*map(len, lists), columns, *(question.count(MARKER) for question in questions)])
    if count > 1:
        raise DataError(f"{where}: {count} images; a {what} has one or none")


def read_pairs(path: Path) -> Iterator[Pair]:
    """Pairs of a file, in order; their relative image paths begin at its folder.

    Raises:
        DataError: if the file is absent, or a line is not a pair (the line number is named) or repeats an id.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such pairs file")
    seen: set[str] = set()
    for row in read_rows(path):
        pair = _pair(row, path.parent)
        if pair.id in seen:
            raise DataError(f"{row.where}: id {pair.id!r} occurs twice")
        seen.add(pair.id)
        yield pair


def _pair(line: Row, folder: Path) -> Pair:
    refuse_several_images(line.fields, line.where)
    row = dict(line.fields)
    if isinstance(row.get("image"), list) and len(row["image"]) == 1:
        row["image"] = row["image"][0]
    wrong = [key for key in ("id", "prompt", "chosen", "rejected") if not isinstance(row.get(key), str)]
    image, meta = row.get("image"), row.get("meta", {})
    if "image" not in row or not (image is None or isinstance(image, str)):
        wrong.append("image")
    if not isinstance(meta, dict):
        wrong.append("meta")
    if wrong:
        raise DataError(
            f"{line.where}: missing or of another kind: {', '.join(wrong)}; found: {', '.join(sorted(row))} "
            "(id, prompt, chosen, rejected are texts; image is a path, or null without one; meta, if any, an object)"
        )
    return Pair(row["id"], image or None, row["prompt"], row["chosen"], row["rejected"], meta, folder)


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


def drop_unopened(pairs: Iterable[Pair], dropped: Mapping[str, int]) -> tuple[list[Pair], dict[str, int]]:
    """`drop_defective` goes on: without the pairs whose image does not open, as training does with bad_images=skip."""
    kept: list[Pair] = []
    counts = dict(dropped)
    for pair in pairs:
        try:
            for image in pair.images:
                image.open()
            kept.append(pair)
        except DataError:
            counts[UNOPENED] = counts.get(UNOPENED, 0) + 1
    return kept, counts


def told(counts: Mapping[str, int]) -> str:
    """Reasons and how often each occurred, in words: "an empty response (2), image does not open (1)"."""
    return ", ".join(f"{reason} ({count})" for reason, count in counts.items()) or "there were none"
