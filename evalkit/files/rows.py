"""Rows of files that other tools wrote: JSON, JSON lines, CSV, TSV, Excel and Parquet tables, inspect logs.

Every error names the file and the line (or entry, or member). Nothing here knows what a row means. A JSON file is read
by what it holds, not by its name: one list, one object that holds a list, objects one a line or one after the other.
"""

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.files.spreadsheet import unguarded

LONGEST_LINE = 64 << 20  # bytes; a line with an embedded photograph has a few millions
LARGEST_UNPACKED = 4 << 30  # bytes of all members of an archive; beyond it a file is taken for a zip bomb
ID_OF_MAPPING, TEXT_OF_MAPPING = "id_or_image", "text"  # fields of the rows of an object {id: text}
NOT_A_NUMBER = ("nan", "<na>", "nat", "null", "#n/a")  # a missing cell that went through str()
_UNNAMED = "\x00unnamed"
_EMPTY_TEXT = "\ue000"  # a private character: no file has it as a cell
_ID = re.compile(r"-?\d{1,18}|[^\s]*\d[^\s]*\.(?:jpe?g|png|webp)|[\w-]+/\d+", re.IGNORECASE)
_SOMETHING = re.compile(r"\S")
LISTS = (  # keys under which tools put a list of rows in a JSON object
    *("samples", "sentences", "annotations", "data", "results", "responses", "predictions", "answers", "captions"),
)
_BLANKS = " \t\r\n\x0b\x0c\u00a0\u2007\u202f\u3000\u200b\u2060\ufeff"  # white space, and what has no width


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
    """JSON whose objects have every key once. NaN, which pandas writes for a missing value, is None.

    Args:
        whole_file: `where` is a file, so that errors add the line.
    Raises:
        DataError: if it is not JSON, holds a key twice or an infinite number, or is nested too deeply.
    """
    with _naming(where, whole_file):
        return json.loads(text, parse_constant=_constant, object_pairs_hook=_unique)
    raise AssertionError  # `_naming` lets no error pass silently


class _RefusedError(Exception):
    """A value that JSON allows, or Python reads, and no file here may hold."""


@contextmanager
def _naming(where: str, whole_file: bool = False) -> Iterator[None]:
    """Turn the errors of a JSON decoder into ones that name the place."""
    try:
        yield
    except _RefusedError as error:
        raise DataError(f"{where}: {error}") from error
    except json.JSONDecodeError as error:
        place = f"{where}:{error.lineno}" if whole_file else where
        raise DataError(f"{place}: not JSON (cut off?): {error.msg}") from error
    except RecursionError as error:
        raise DataError(f"{where}: nested too deeply") from error
    except ValueError as error:  # a number of thousands of digits
        raise DataError(f"{where}: not JSON: {error}") from error


def _constant(name: str) -> None:
    if name != "NaN":
        raise _RefusedError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _RefusedError(f"the key {twice[:60]!r} occurs twice in one object; which one counts?")
    return value


def decode(data: bytes, path: Path, first_line: int = 1) -> str:
    """UTF-8 text, with or without a byte order mark.

    Raises:
        DataError: naming the line where it is something else.
    """
    nul = data.find(b"\x00")
    wrong = None
    try:
        text = data.decode("utf-8-sig")
        start = nul
    except UnicodeDecodeError as error:
        wrong = error
        start = error.start if nul < 0 else min(error.start, nul)
    if start < 0:
        return text
    line = first_line + data.count(b"\n", 0, start)
    fault = "holds NUL bytes, UTF-16?" if nul >= 0 else f"byte 0x{data[start]:02x}"
    raise DataError(f"{path}:{line}: not UTF-8 text ({fault}); convert the file") from wrong


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


def _json(path: Path) -> Iterator[Row]:
    """A list of rows, an object that holds one, or objects one after the other, whatever the file is called."""
    data = _read(path)
    if path.suffix.lower() == ".jsonl" and not data.strip():
        return
    begin = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if begin[:1] == b"{" and _is_lines(data):
        yield from _json_lines(data, path)
        return
    text = decode(data, path)
    if text.lstrip()[:1] == "{":
        yield from _objects(text, path)
        return
    value = parse_json(text, str(path), whole_file=True)
    if not isinstance(value, list):
        raise DataError(f"{path}:1: expected a list of rows, found {_short(value)}")
    for number, entry in enumerate(value, 1):
        yield _object(entry, f"{path}: entry {number}")


def _read(path: Path) -> bytes:
    size = path.stat().st_size
    if size > LARGEST_UNPACKED:
        raise DataError(f"{path}: {size:,} bytes, more than {LARGEST_UNPACKED:,}")
    return path.read_bytes()


def _is_lines(data: bytes) -> bool:
    """Whether the first line that is not blank looks like an object of its own, and holds no list of rows."""
    first = data.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0].strip()
    if not first.endswith(b"}"):
        return False
    alone = data.strip().endswith(first)
    return not (alone and (any(f'"{name}"'.encode() in first for name in (*LISTS, "imgToEval")) or _is_mapping(first)))


def _is_mapping(line: bytes) -> bool:
    """Whether a line is an object of texts by id: {"25": "A giraffe.", ...}."""
    try:
        value = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and _maps_ids(value)


def _maps_ids(value: Mapping[str, Any]) -> bool:
    texts = all(text is None or isinstance(text, str) for text in value.values())
    return bool(value) and texts and all(_ID.fullmatch(key) for key in value)


def _json_lines(data: bytes, path: Path) -> Iterator[Row]:
    for number, line in enumerate(data.split(b"\n"), 1):
        where = f"{path}:{number}"
        if len(line) > LONGEST_LINE:
            raise DataError(f"{where}: line is longer than {LONGEST_LINE:,} bytes")
        text = decode(line, path, number)
        if text.strip():
            yield _object(parse_json(text, where), where)


def _objects(text: str, path: Path) -> Iterator[Row]:
    """Objects one after the other, each over one line or several; a single one may hold a list of rows."""
    decoder = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_unique)
    at, values = 0, []
    while (at := _next(text, at)) < len(text):
        line = text.count("\n", 0, at) + 1
        with _naming(f"{path}:{line}"):
            value, at = decoder.raw_decode(text, at)
        values.append((value, f"{path}:{line}"))
        at = _next(text, at)
        at += text[at : at + 1] == ","
    if len(values) == 1 and isinstance(values[0][0], dict) and (within := _rows_within(values[0][0])) is not None:
        values = [(entry, f"{path}: entry {number}") for number, entry in enumerate(within, 1)]
    for value, where in values:
        yield _object(value, where)


def _next(text: str, at: int) -> int:
    """The place of the next character that is not white space."""
    match = _SOMETHING.search(text, at)
    return match.start() if match else len(text)


def _rows_within(value: Mapping[str, Any]) -> list[Any] | None:
    """The rows that an object holds; None if it is a row itself."""
    if isinstance(value.get("imgToEval"), dict):  # the caption evaluation's own layout: image id -> row
        return list(value["imgToEval"].values())
    for name in LISTS:
        rows = value.get(name)
        alone = len(value) == 1  # an empty list beside other fields is one of a row's fields
        if isinstance(rows, list) and (rows or alone) and all(isinstance(row, dict) for row in rows):
            return list(rows)
    if _maps_ids(value):
        return [{ID_OF_MAPPING: key, TEXT_OF_MAPPING: text} for key, text in value.items()]
    return None


def _table(path: Path) -> Iterator[Row]:
    """CSV or TSV with a header line; a first or last column without a name (pandas' index, a comma) is left out.

    A blank cell is None: a table has no other way to write a missing value. Where the header is not quoted but the
    blank cell is ("" between two commas), it is an empty text.
    """
    text = _mark_empty_texts(decode(_read(path), path), path)
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(path, text), strict=True)
    try:
        names = list(reader.fieldnames or ())
        unnamed = [place for place, name in enumerate(names) if not name.strip()]
        if unnamed in ([0], [len(names) - 1]) and len(names) > 1:
            reader.fieldnames = names = [name if name.strip() else _UNNAMED for name in names]
        _header(names, f"{path}:1")
        for fields in reader:
            where = f"{path}:{reader.line_num}"
            if None in fields:
                raise DataError(f"{where}: more cells than the {len(reader.fieldnames or ())} of the header")
            if None in fields.values():
                raise DataError(
                    f"{where}: fewer cells than the {len(reader.fieldnames or ())} of the header (cut off?)"
                )
            cells = {name: _cell(text) for name, text in fields.items() if name != _UNNAMED}
            yield Row(where, cells)
    except csv.Error as error:
        raise DataError(f"{path}:{reader.reader.line_num}: not a table: {error}") from error


def _cell(text: str) -> str | None:
    """A cell's text, without the apostrophe that keeps a spreadsheet from running it; None where it is blank."""
    if text == _EMPTY_TEXT:
        return ""
    return None if not text.strip(_BLANKS) or text.strip().lower() in NOT_A_NUMBER else unguarded(text)


def _mark_empty_texts(text: str, path: Path) -> str:
    """The text of a table with _EMPTY_TEXT in its quoted empty cells; unchanged where every text is quoted."""
    header = text.lstrip("\ufeff").partition("\n")[0]
    if '""' not in text or '"' in header:
        return text
    edges = _delimiter(path, text) + "\r\n"
    parts, inside, at = [], False, 0
    for match in re.finditer('"+', text):
        begin, end = match.span()
        count = end - begin
        if not inside and count == 2:
            if (begin == 0 or text[begin - 1] in edges) and (end == len(text) or text[end] in edges):
                parts += [text[at:begin], _EMPTY_TEXT]
                at = end
        elif count % 2:
            inside = not inside
    return "".join([*parts, text[at:]])


def _delimiter(path: Path, text: str) -> str:
    """A tab for .tsv; for .csv the one of comma, semicolon and tab that the header line has most of."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = text.lstrip().partition("\n")[0]
    return max((",", ";", "\t"), key=header.count)


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


def _parquet(path: Path, batch: int = 64) -> Iterator[Row]:
    """Rows of a Parquet table, a few at a time in memory."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"{path}: Parquet files need pyarrow: pip install 'hallu-evalkit[align]'") from error
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for table in file.iter_batches(batch):
                for fields in table.to_pylist():
                    number += 1
                    yield Row(f"{path}: row {number}", fields)
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json,
    ".json": _json,
    ".csv": _table,
    ".tsv": _table,
    ".xlsx": _excel,
    ".eval": _inspect_log,
    ".parquet": _parquet,
}
