"""Files of JSON records that others made: questions, labels, responses. Read with file and line in every error.

A file holds one JSON list, or one record a line (JSON lines). Responses are joined to items by id, never by position.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import DataError

_KINDS = {str: "a string", int: "an integer", list: "a list", dict: "an object"}


@dataclass(frozen=True, slots=True)
class Row:
    """A record and where it stands: "file.jsonl:12" or "file.json: entry 12" (both count from 1)."""

    where: str
    fields: Mapping[str, Any]

    def get(self, name: str, kind: type) -> Any:
        """A field of the given JSON type.

        Raises:
            DataError: if the field is absent or of another type.
        """
        if name not in self.fields:
            raise DataError(f"{self.where}: no field {name!r}; found {_named(self.fields)}")
        value = self.fields[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise DataError(f"{self.where}: {name!r} must be {_KINDS[kind]}, found {_short(value)}")
        return value

    def words(self, name: str) -> list[str]:
        """A field that is a list of strings."""
        value = self.get(name, list)
        if not all(isinstance(word, str) for word in value):
            raise DataError(f"{self.where}: {name!r} must be a list of strings, found {_short(value)}")
        return list(value)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: if the file is missing, empty, not UTF-8 or not JSON.
    """
    return _parse(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The text of a file that must not be empty.

    Raises:
        DataError: if the file is missing, unreadable, blank or not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    if not text.strip():
        raise DataError(f"{path}: the file is empty")
    return text


def read_rows(path: Path) -> list[Row]:
    """The records of a JSON list or of JSON lines (blank lines are skipped).

    Raises:
        DataError: if the file cannot be read, or an entry is not a JSON object.
    """
    text = read_text(path)
    if text.lstrip().startswith("["):
        entries = ((f"{path}: entry {number}", entry) for number, entry in enumerate(_parse(text, str(path)), 1))
    else:
        lines = ((f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
        entries = ((where, _parse(line, where)) for where, line in lines)
    return [_row(where, entry) for where, entry in entries]


def _row(where: str, entry: Any) -> Row:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: expected a JSON object, found {_short(entry)}")
    return Row(where, entry)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{where}: not JSON (cut off?): {error}") from error


def join_responses(
    found: Iterable[tuple[str, str, str]], ids: Sequence[str], partial: bool, what: str
) -> dict[str, str]:
    """Responses by item id, each item exactly once.

    Args:
        found: (where it stands, item id, response).
        ids: the items that are asked for.
        partial: allow items without a response.
        what: the file or files, for the error about missing items.
    Returns:
        item id -> response, in the order of `ids`.
    Raises:
        DataError: for an unknown or repeated id; for a missing one unless `partial`.
    """
    known = set(ids)
    places: dict[str, str] = {}
    responses: dict[str, str] = {}
    for where, item_id, response in found:
        if item_id not in known:
            raise DataError(f"{where}: no item {item_id!r} in this benchmark (ids are {ids[0]!r} ... {ids[-1]!r})")
        if item_id in places:
            raise DataError(f"{where}: item {item_id!r} was already answered at {places[item_id]}")
        places[item_id] = where
        responses[item_id] = response
    missing = [item_id for item_id in ids if item_id not in responses]
    if missing and not partial:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"{what}: {len(missing)} of {len(ids)} items have no response: {shown}; set partial to score the others"
        )
    return {item_id: responses[item_id] for item_id in ids if item_id in responses}


def _named(fields: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) for name in list(fields)[:8]) or "nothing"


def _short(value: Any) -> str:
    return repr(value)[:80]
