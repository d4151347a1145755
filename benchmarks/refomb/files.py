"""RefoMB's lines: question, image address, a long description, and (in the reference file) GPT-4V's answer."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from evalkit.errors import DataError
from evalkit.files.fields import field
from evalkit.files.rows import Row, read_rows


@dataclass(frozen=True, slots=True)
class Entry:
    """One question with the answer it is compared with."""

    number: int
    image_url: str
    question: str
    description: str
    kind: str
    answer: str

    @property
    def image_name(self) -> str:
        """The image's file name, as it is called when it is downloaded from its address."""
        return PurePosixPath(urlsplit(self.image_url).path).name


def read_entries(path: Path) -> list[Entry]:
    """All lines in file order; the reference file, whose answers are not empty.

    Raises:
        DataError: if the file is missing or malformed, an answer is empty, or an id or question stands there twice.
    """
    places: dict[object, str] = {}
    entries = []
    for row in read_rows(path):
        entry = _entry(row)
        for key in (entry.number, (entry.question, entry.image_url)):
            if key in places:
                raise DataError(f"{row.where}: id {entry.number} or its question stands already at {places[key]}")
            places[key] = row.where
        entries.append(entry)
    return entries


def _entry(row: Row) -> Entry:
    answer = field(row, "answer", str)
    if not answer.strip():
        raise DataError(f"{row.where}: the reference answer is empty; is it the form, rather than GPT-4V's answers?")
    try:
        urlsplit(field(row, "image_url", str))
    except ValueError as error:
        raise DataError(f"{row.where}: 'image_url' is not an address: {error}") from error
    return Entry(
        number=field(row, "id", int),
        image_url=field(row, "image_url", str),
        question=field(row, "question", str),
        description=field(row, "description", str),
        kind=field(row, "type", str),
        answer=answer,
    )
