"""Rows of files that other tools wrote: JSON, JSON lines, CSV, TSV, Excel tables, inspect logs.

Every error names the file and the line (or entry, or member). Nothing here knows what a row means.
"""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from evalkit.errors import DataError

LONGEST_LINE = 64 << 20  # bytes; a line with an embedded photograph has a few millions
LARGEST_UNPACKED = 4 << 30  # bytes of all members of an archive; beyond it a file is taken for a zip bomb
LISTS = ("samples", "sentences", "annotations")  # keys under which tools put a list of rows in a JSON object


@dataclass(frozen=True, slots=True)
class Row:
    """One row and where it stands: "file.jsonl:12", "file.json: entry 12", "file.eval: samples/3_epoch_1.json"."""

    where: str
    fields: Mapping[str, Any]


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, its kind told by its suffix.

    Raises:
        DataError: if the file is missing, of an unknown kind, or one of its rows cannot be read.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown kind of file {path.suffix!r}; known: {', '.join(READERS)}")
    try:
        rows = list(reader(path))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"{path}: too large for this machine's memory") from error
    if not rows:
        raise DataError(f"{path}: holds no rows")
    return rows


def parse_json(text: str, where: str, whole_file: bool = False) -> Any:
    """JSON without NaN and Infinity.

    Args:
        whole_file: `where` is a file, so that errors add the line.
    Raises:
        DataError: if it is not JSON, or nested too deeply.
    """

    def refuse(constant: str) -> NoReturn:
        raise DataError(f"{where}: {constant} is not JSON; a missing value is null")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        place = f"{where}:{error.lineno}" if whole_file else where
        raise DataError(f"{place}: not JSON (cut off?): {error.msg}") from error
    except RecursionError as error:
        raise DataError(f"{where}: nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"{where}: not JSON: {error}") from error


def decode(data: bytes, path: Path, first_line: int = 1) -> str:
    """UTF-8 text, with or without a byte order mark.

    Raises:
        DataError: naming the line where it is something else.
    """
    if (nul := data.find(b"\x00")) >= 0:
        line = first_line + data.count(b"\n", 0, nul)
        raise DataError(f"{path}:{line}: not UTF-8 text (holds NUL bytes, UTF-16?); convert the file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = first_line + data.count(b"\n", 0, error.start)
        raise DataError(f"{path}:{line}: not UTF-8 text (byte 0x{data[error.start]:02x}); convert the file") from error


def read_text(path: Path) -> str:
    """The text of a file that must not be blank; line ends become "\\n".

    Raises:
        DataError: if the file is missing, unreadable, blank or not UTF-8.
    """
    try:
        text = decode(path.read_bytes(), path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not text.strip():
        raise DataError(f"{path}: the file is empty")
    return text.replace("\r\n", "\n")


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            where = f"{path}:{number}"
            if len(line) > LONGEST_LINE:
                raise DataError(f"{where}: line is longer than {LONGEST_LINE:,} bytes")
            text = decode(line, path, number)
            if text.strip():
                yield _object(parse_json(text, where), where)


def _json(path: Path) -> Iterator[Row]:
    """A list of rows, an object that holds one, or (some tools name them so) JSON lines."""
    text = decode(path.read_bytes(), path)
    if text.lstrip().startswith("{") and _is_lines(text):
        yield from _json_lines(path)
        return
    value = parse_json(text, str(path), whole_file=True)
    if isinstance(value, dict):
        value = _rows_within(value, path)
    if not isinstance(value, list):
        raise DataError(f"{path}:1: expected a list of rows, found {_short(value)}")
    for number, entry in enumerate(value, 1):
        yield _object(entry, f"{path}: entry {number}")


def _is_lines(text: str) -> bool:
    """Whether the first line is an object of its own and another one follows."""
    first, _, rest = text.strip().partition("\n")
    if not rest.strip():
        return not any(f'"{name}"' in first for name in (*LISTS, "imgToEval"))
    return rest.lstrip().startswith("{") and first.rstrip().endswith("}")


def _rows_within(value: Mapping[str, Any], path: Path) -> list[Any]:
    if isinstance(value.get("imgToEval"), dict):  # the caption evaluation's own layout: image id -> row
        return list(value["imgToEval"].values())
    for name in LISTS:
        if isinstance(value.get(name), list):
            return list(value[name])
    raise DataError(
        f"{path}:1: expected a list of rows, found an object with {', '.join(list(value)[:8]) or 'no keys'}"
    )


def _table(path: Path) -> Iterator[Row]:
    """CSV or TSV with a header line."""
    text = decode(path.read_bytes(), path)
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True
    )
    try:
        _header(list(reader.fieldnames or ()), f"{path}:1")
        for fields in reader:
            where = f"{path}:{reader.line_num}"
            if None in fields:
                raise DataError(f"{where}: more cells than the {len(reader.fieldnames or ())} of the header")
            if None in fields.values():
                raise DataError(
                    f"{where}: fewer cells than the {len(reader.fieldnames or ())} of the header (cut off?)"
                )
            yield Row(where, fields)
    except csv.Error as error:
        raise DataError(f"{path}:{reader.reader.line_num}: not a table: {error}") from error


def _header(names: list[str], where: str) -> None:
    if len(names) != len(set(names)) or not all(names):
        raise DataError(
            f"{where}: the header needs distinct column names, found {', '.join(map(repr, names)) or 'none'}"
        )


def _excel(path: Path) -> Iterator[Row]:
    """The first sheet; cells that are empty are left out."""
    try:
        import openpyxl
    except ImportError as error:
        raise DataError(
            f"{path}: Excel tables need openpyxl: pip install 'hallu-evalkit[tables]', or save as TSV"
        ) from error
    with _archive(path):
        pass
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        lines = [tuple(line) for line in book.worksheets[0].iter_rows(values_only=True)]
        book.close()
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, IndexError, SyntaxError, AttributeError) as error:
        raise DataError(f"{path}: not an Excel table: {error}") from error
    names = ["" if cell is None else str(cell) for cell in lines[0]] if lines else []
    _header(names, f"{path}:1")
    for number, line in enumerate(lines[1:], 2):
        fields = {name: cell for name, cell in zip(names, line, strict=False) if cell is not None}
        if fields:
            yield Row(f"{path}:{number}", fields)


def _inspect_log(path: Path) -> Iterator[Row]:
    """Samples of an inspect `.eval` log, a zip archive with one JSON member per sample."""
    with suppress(ImportError):
        import_module("zipfile_zstd")  # where it is installed, zipfile reads the compression of newer logs
    with _archive(path) as archive:
        names = [name for name in archive.namelist() if name.startswith("samples/") and name.endswith(".json")]
        for name in names:
            where = f"{path}: {name}"
            try:
                data = archive.read(name)
            except NotImplementedError as error:
                raise DataError(
                    f"{where}: compressed in a way that Python's zipfile cannot read (zstd); "
                    "pip install zipfile-zstd, or write it out with `inspect log dump` and import that JSON"
                ) from error
            except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError) as error:
                raise DataError(f"{where}: damaged: {error}") from error
            yield _object(parse_json(_member_text(data, where), where), where)


def _member_text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 text") from error


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError) as error:
        raise DataError(f"{path}: not a zip archive, or cut off: {error}") from error
    unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > LARGEST_UNPACKED:
        archive.close()
        raise DataError(f"{path}: would unpack to {unpacked:,} bytes, more than {LARGEST_UNPACKED:,}")
    return archive


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object, found {_short(value)}")
    return Row(where, value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _table,
    ".tsv": _table,
    ".xlsx": _excel,
    ".eval": _inspect_log,
}
