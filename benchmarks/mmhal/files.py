"""Files of MMHal-Bench: the answer template (JSON), or the Hub's table (parquet, JSON lines)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from evalkit.errors import DataError
from evalkit.files.cache import cache_folder
from evalkit.files.embedded import certain_bytes, store_embedded
from evalkit.files.fields import field, words
from evalkit.files.rows import Row, read_rows
from evalkit.images import ImageFile


@dataclass(frozen=True, slots=True)
class Entry:
    """One question. `embedded`: the image's bytes, where the file holds them; `where`: file and entry, for errors."""

    where: str
    question_type: str
    topic: str
    image_id: str
    image_names: tuple[str, ...]
    labels: tuple[str, ...]
    question: str
    human_answer: str
    embedded: bytes | None


def read_entries(path: Path) -> list[Entry]:
    """All questions in file order.

    Raises:
        DataError: if the file is missing or malformed, or a field is missing.
    """
    entries = [_entry(row) for row in read_rows(path)]
    if not entries:
        raise DataError(f"{path}: holds no rows")
    return entries


def _entry(row: Row) -> Entry:
    source = field(row, "image_src", str)
    try:
        names = [PurePosixPath(urlsplit(source).path).name]
    except ValueError as error:
        raise DataError(f"{row.where}: 'image_src' is not an address: {error}") from error
    if isinstance(path := row.fields.get("image_path"), str):
        names = [path, PurePosixPath(path).name, *names]
    image_id = field(row, "image_id", str)
    names += [f"{image_id}.jpg", f"{image_id}.png"]
    question = field(row, "question", str)
    if not question.strip():
        raise DataError(f"{row.where}: the question is empty")
    return Entry(
        where=row.where,
        question_type=field(row, "question_type", str),
        topic=field(row, "question_topic", str),
        image_id=image_id,
        image_names=tuple(dict.fromkeys(name for name in names if name)),
        labels=tuple(words(row, "image_content")),
        question=question,
        human_answer=field(row, "gt_answer", str),
        embedded=_embedded(f"{row.where}: 'image'", row.fields.get("image")),
    )


def _embedded(where: str, image: Any) -> bytes | None:
    """The image a row holds: {"bytes": ...} as in the Hub's tables, or base64 text."""
    if isinstance(image, dict) and image.get("bytes") is None:
        return None
    return None if image is None else certain_bytes(image["bytes"] if isinstance(image, dict) else image, where)


def find_image(entry: Entry, folder: Path | None, data: Path) -> ImageFile:
    """The photograph of a question, as a file; an embedded one is written out once.

    Raises:
        DataError: if it is not in the folder.
    """
    if entry.embedded is not None:
        name = f"{entry.image_id}-{hashlib.sha256(entry.embedded).hexdigest()[:8]}"
        place = folder or cache_folder() / "images" / "mmhal"
        return store_embedded(entry.embedded, place, f"{entry.where}: image of {entry.image_id}", name)
    if folder is None:
        raise DataError(
            f"{data} holds no images; name the folder of the photographs with `images`, "
            "or set without_images to score responses made elsewhere"
        )
    for name in entry.image_names:
        if (image := ImageFile(folder, name)).is_there():
            return image
    raise DataError(f"{entry.where}: no image {' or '.join(_shown(entry.image_names))} in {folder}")


def _shown(names: Sequence[str]) -> list[str]:
    return [repr(name[:100]) for name in names[:3]]
