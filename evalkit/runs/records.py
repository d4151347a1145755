"""Run directories: an append-only journal per stage, a manifest, and files derived from them.

    run.json         manifest: everything that moves the numbers, and the signature
    responses.jsonl  journal of the generate stage, one line per finished response
    verdicts.jsonl   journal of judge calls, one line per finished call
    records.jsonl    derived: one line per sample, in item order
    metrics.json     derived: metrics with intervals, groups, failures, checks
    front.json       derived: the responses cut short, where the benchmark scores text without a judge

A journal line is flushed when its response is finished, so a killed process loses only what was in flight. A torn last
line is dropped when the journal is opened again; a broken line anywhere else is an error that names it. Derived files
are replaced as a whole (written beside, then renamed).
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from evalkit.errors import RecordError
from evalkit.files.atomic import replaced
from evalkit.files.foreign import open_regular, read_regular
from evalkit.runs.checksums import DamagedLineError, sealed, unsealed
from evalkit.schema import Json

SCHEMA = 1
LARGEST_JSON = 256 << 20  # bytes of run.json, metrics.json

MANIFEST = "run.json"
RESPONSES = "responses.jsonl"
VERDICTS = "verdicts.jsonl"
RECORDS = "records.jsonl"
METRICS = "metrics.json"
FRONT = "front.json"

MANIFEST_TYPES = {"benchmark": str, "label": str, "model": dict, "sampling": dict, "settings": dict, "metrics": list}
MANIFEST_TYPES_OR_NULL = {"judge": dict, "versions": dict}
SAMPLE_KEY = {"id": str, "sample": int}  # what every line of a journal has


def read_journal(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a journal; a torn last line is left out, an absent file is empty.

    Raises:
        RecordError: if a line that is not the last one cannot be read.
    """
    return [row for row, _ in _journal_rows(path)]


def lines_with_checksum(path: Path) -> tuple[int, bool]:
    """How many complete lines of a journal have a checksum, and whether an unfinished line follows them.

    Raises:
        RecordError: if a line cannot be read or does not fit its checksum.
    """
    *lines, torn = read_regular(path).split(b"\n")
    if _is_whole(torn):
        lines, torn = [*lines, torn], b""
    return sum(_opened(line, path, number)[1] for number, line in enumerate(lines, 1)), bool(torn)


def _journal_rows(path: Path) -> list[tuple[dict[str, Any], int]]:
    """(row, offset of its end) of every complete line."""
    try:
        data = read_regular(path)
    except FileNotFoundError:
        return []
    rows: list[tuple[dict[str, Any], int]] = []
    offset, sealed_before = 0, False
    for number, line in enumerate(data.split(b"\n"), 1):
        end = offset + len(line) + 1
        torn = end > len(data)  # the last piece of the split has no newline behind it
        offset = end
        if torn and not _is_whole(line):
            break
        row, is_sealed = _opened(line, path, number)
        if sealed_before and not is_sealed:
            raise RecordError(f"{path}:{number}: the line has no checksum, though earlier ones have; {_mend(path)}")
        sealed_before = is_sealed
        rows.append((row, end))
    return rows


def _is_whole(line: bytes) -> bool:
    """Whether a last line without its newline is all there: an editor took the newline off, no kill."""
    try:
        return bool(line) and unsealed(line)[1]
    except ValueError:
        return False


def _mend(path: Path) -> str:
    if path.name == RECORDS:
        return f"`evalkit score {path.parent}` recomputes it from the journals"
    return "remove the line and rerun the command that wrote it"


def _opened(line: bytes, path: Path, number: int) -> tuple[dict[str, Any], bool]:
    """A line of a journal or of the records, its checksum tried and taken off; whether it had one.

    Raises:
        RecordError: if it is damaged, or not a JSON object.
    """
    try:
        row, is_sealed = unsealed(line)
    except DamagedLineError as error:
        raise RecordError(f"{path}:{number}: {error}; {_mend(path)}") from error
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}:{number}: the line is not JSON ({error}); {_mend(path)}") from error
    if not isinstance(row, dict):
        raise RecordError(f"{path}:{number}: expected a JSON object, got {type(row).__name__}; {_mend(path)}")
    return row, is_sealed


class Journal:
    """An append-only JSONL file; every line is on its way to the disk before `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        rows = _journal_rows(path)
        self.rows = [row for row, _ in rows]
        self._end = rows[-1][1] if rows else 0
        try:
            handle = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            self._file = os.fdopen(handle, "r+b", buffering=0)
            if self._end > os.fstat(handle).st_size:
                self._file.write(b"\n")
            self._file.truncate(self._end)
        except OSError as error:
            raise RecordError(f"{path}: cannot be written: {error.strerror}") from error

    def append(self, row: Mapping[str, Json]) -> None:
        """Add one line.

        Raises:
            RecordError: if it cannot be written (disk full); the journal is left with its complete lines only.
        """
        line = sealed(row)
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.truncate(self._end)
            raise RecordError(f"{self.path}: cannot be written: {error.strerror}; finished lines are kept") from error
        self._end += len(line)
        self.rows.append(dict(row))

    def close(self) -> None:
        """Close the file. What was appended stays."""
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def write_json(path: Path, value: Json, indent: int | None = 1) -> None:
    """Replace a JSON file as a whole; without `indent`, on one line."""
    with _replaced(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=indent)
        file.write("\n")


def write_jsonl(path: Path, rows: Iterator[Mapping[str, Json]]) -> None:
    """Replace a JSONL file as a whole."""
    with _replaced(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Replace a file of sealed lines as a whole."""
    with _replaced(path) as file:
        for line in lines:
            file.write(line.decode("utf-8", errors="surrogatepass"))


def open_line(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """The row of a line, its checksum tried and taken off.

    Raises:
        RecordError: if it is damaged, or not a JSON object; file and line are named.
    """
    return _opened(line, path, number)[0]


@contextmanager
def _replaced(path: Path) -> Iterator[IO[str]]:
    if not path.parent.is_dir():  # removed under a running program: not made anew without its journals
        raise RecordError(f"{path}: cannot be written: no such folder")
    try:
        with replaced(path) as beside, beside.open("w", encoding="utf-8", errors="surrogatepass") as file:
            yield file
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error.strerror}; the earlier file is untouched") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a run directory.

    Raises:
        RecordError: if the file is absent or not a JSON object.
    """
    try:
        value = json.loads(read_regular(path, largest=LARGEST_JSON).decode("utf-8"))
    except FileNotFoundError as error:
        if not path.parent.exists():
            raise RecordError(f"{path.parent}: no such folder") from error
        below = sorted(str(nested.parent) for nested in path.parent.glob(f"*/{path.name}"))
        hint = f"; there is one below: {', '.join(below[:5])}" if below else ""
        raise RecordError(
            f"{path.parent} is not a finished run: {path.name} is missing{hint}{_makes_again(path)}"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"{path}: cannot be read: {error}{_makes_again(path)}") from error
    if not isinstance(value, dict):
        raise RecordError(f"{path}: expected a JSON object, got {type(value).__name__}{_makes_again(path)}")
    return value


def _makes_again(path: Path) -> str:
    """What makes a derived file of a run anew; a manifest, which nothing else tells, comes from a copy."""
    if path.name == MANIFEST:
        return f"; put back {MANIFEST} from a copy, or remove {path.parent} and make the run anew"
    command = {METRICS: "score", FRONT: "front"}.get(path.name)
    return f"; `evalkit {command} {path.parent}` makes it again" if command else ""


def read_manifest(run_dir: Path) -> dict[str, Any]:
    """The manifest of a run.

    Raises:
        RecordError: if there is none, it is of another schema version, or one of its fields is of another type.
    """
    manifest = read_json(run_dir / MANIFEST)
    if manifest.get("schema") != SCHEMA:
        raise RecordError(
            f"{run_dir / MANIFEST}: schema version {manifest.get('schema')!r}; this evalkit reads {SCHEMA}"
        )
    null = {name for name in MANIFEST_TYPES_OR_NULL if manifest.get(name) is None}
    for name, kind in (MANIFEST_TYPES | MANIFEST_TYPES_OR_NULL).items():
        if name in manifest and name not in null and not isinstance(manifest[name], kind):
            raise RecordError(f"{run_dir / MANIFEST}: {name!r} must be a {kind.__name__}, found {manifest[name]!r:.60}")
    return manifest


def check_rows(rows: Iterable[Mapping[str, Any]], path: Path, fields: Mapping[str, type]) -> None:
    """Whether every row of a journal has these fields, of these types.

    Raises:
        RecordError: naming file and line of the first that has not.
    """
    for number, row in enumerate(rows, 1):
        for name, kind in fields.items():
            if type(row.get(name)) is not kind:
                raise RecordError(
                    f"{path}:{number}: {name!r} must be a {kind.__name__}, found {row.get(name)!r:.60}; "
                    "remove the line and rerun the same command"
                )
