"""Which item a row of somebody's file is about: its fields that hold an id, an image, a question or a part's name.

Tools spell one field in many ways. Names are compared in small letters with underscores (`imageId`, "Image ID" and
`image_id` are one), and an image is seen wherever it stands: under any of the usual names, as the only entry of a list,
in an object beside its path, or, as a hint, under a name of its own where the value is an image's file name. So a
counter of the file's rows is not taken for the item where the row names another image.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from numbers import Number
from typing import Any, Literal

from evalkit.errors import DataError
from evalkit.files.rows import Row

Kind = Literal["id", "image", "hint", "question", "part"]

IDS = ("id", "question_id", "index", "idx", "qid")
IMAGES = (
    *("image_id", "image", "images", "image_path", "image_name", "image_file", "image_filename", "image_url"),
    *(
        "image_source",
        "file_name",
        "filename",
        "img_id",
        "img",
        "img_path",
        "img_name",
        "coco_id",
        "cocoid",
        "coco_url",
    ),
)
QUESTIONS = ("question", "prompt", "query", "instruction", "input")
PARTS = ("category", "split", "subset")
LONGEST_NAME = 500  # characters; an image's bytes in base64 are longer

_MISSING = ("NAType", "NaTType")  # by name, pandas is not imported
_WHOLE = re.compile(r"([+-]?\d+)\.0*|[+-]?\d+\.\d+[eE][+-]?\d+|[+-]?\d+\.?[eE][+-]\d+", re.ASCII)
_IMAGE_FILE = re.compile(r"[^\n]*\w\.(?:jpe?g|png|webp|bmp|gif|tiff?)(?:[?#]\S*)?", re.IGNORECASE)
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s.-]+")


def missing(value: Any) -> bool:
    """Whether a field holds nothing: None, NaN of any library (pandas writes it), or pandas' own missing values."""
    if value is None or type(value).__name__ in _MISSING:
        return True
    return isinstance(value, Number) and bool(value != value)


@lru_cache(4096)
def field_name(name: str) -> str:
    """The name of a field as it is compared.

    >>> field_name("imageId"), field_name(" Image ID"), field_name("image-path")
    ('image_id', 'image_id', 'image_path')
    """
    return _WORDS.sub("_", name.strip()).lower()


def named_alike(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields, also under the names they are compared by; a field that is spelled exactly so stays what it is."""
    other = {field_name(name): value for name, value in fields.items()}
    return {**fields, **{name: value for name, value in other.items() if name not in fields}}


def found_keys(row: Row, wanted: Sequence[tuple[Kind, tuple[str, ...]]]) -> tuple[tuple[Kind, str], ...]:
    """The keys of a row: every image it names, the first of each other kind; a value that can be no key is passed over.

    Raises:
        DataError: if there are values under these names and none of them can be a key.
    """
    keys: list[tuple[Kind, str]] = []
    problem: DataError | None = None
    for kind, names in wanted:
        for name in names:
            value = row.fields.get(name)
            value = image_name(value) if kind == "image" else value
            if missing(value) or value == "":
                continue
            try:
                keys.append((kind, key_text(value, f"{row.where}: {name!r}")))
                if kind != "image":
                    break
            except DataError as error:
                problem = problem or error
    if any(kind == "image" for kind, _ in wanted):
        keys += _hints(row.fields, {name for kind, names in wanted if kind == "image" for name in names})
    if problem is not None and not any(kind != "part" for kind, _ in keys):
        raise problem
    return tuple(dict.fromkeys(keys))


def _hints(fields: Mapping[str, Any], known: Collection[str]) -> Iterator[tuple[Kind, str]]:
    for name, value in fields.items():
        if name not in known and isinstance(value, str | list | tuple | dict):
            image = image_name(value)
            if isinstance(image, str) and _IMAGE_FILE.fullmatch(image):
                yield "hint", image


def image_name(value: Any) -> Any:
    """What names an image: also out of a list of one, or an object beside its path; None for an image's own bytes."""
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    if isinstance(value, Mapping):
        names = [name for name in ("path", *IMAGES, "id", "url") if not missing(value.get(name))]
        value = value[names[0]] if names else None if "bytes" in value else value
    embedded = isinstance(value, str) and (len(value) > LONGEST_NAME or value[:5].lower() == "data:")
    return None if embedded or isinstance(value, bytes) else value


def key_text(value: Any, where: str) -> str:
    """A key as text: 7, 7.0, "7.0", "7.0e+00" and "7" are the same one.

    Raises:
        DataError: if it is neither a text nor a whole number.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        return whole_number(value.strip()) or value.strip()
    raise DataError(f"{where} must be a text or a whole number, found {_short(value)}")


def whole_number(text: str) -> str | None:
    """The digits of a whole number that went through a float: "7.0", "2.5e+01" as numpy writes it; else None."""
    match = _WHOLE.fullmatch(text)
    if match is None:
        return None
    if match[1]:
        return match[1]
    number = float(text)
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
