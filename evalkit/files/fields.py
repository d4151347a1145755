"""Fields of a benchmark's data files, with their types checked; every error names file, place and field."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.files.rows import Row, parse_json, read_text

_KINDS = {str: "a string", int: "an integer", list: "a list"}


def field(row: Row, name: str, kind: type) -> Any:
    """A field of a JSON type: str, int (true and false are none) or list.

    Raises:
        DataError: if the field is absent or of another type.
    """
    if name not in row.fields:
        raise DataError(f"{row.where}: no field {name!r}; found {_named(row.fields)}")
    value = row.fields[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f"{row.where}: {name!r} must be {_KINDS[kind]}, found {_short(value)}")
    return value


def words(row: Row, name: str) -> list[str]:
    """A field that is a list of strings.

    Raises:
        DataError: if it is absent or anything else.
    """
    value = field(row, name, list)
    if not all(isinstance(word, str) for word in value):
        raise DataError(f"{row.where}: {name!r} must be a list of strings, found {_short(value)}")
    return list(value)


def read_object(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises:
        DataError: if it cannot be read, or holds anything else.
    """
    content = parse_json(read_text(path), str(path))
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {_short(content)}")
    return content


def _named(fields: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) for name in list(fields)[:8]) or "nothing"


def _short(value: Any) -> str:
    return repr(value)[:80]
