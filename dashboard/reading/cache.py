"""Reads and computed values, kept as long as the files they come from are unchanged.

Files are known by path, time and size. A table belongs to a run, a comparison to a pair of runs.
"""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from evalkit.errors import RecordError
from evalkit.runs.records import RECORDS
from evalkit.runs.run import Run, load_run
from evalkit.schema import Json

T = TypeVar("T")


MOST = 24


_kept: OrderedDict[Hashable, tuple[list["weakref.ref[Run]"], Any]] = OrderedDict()


def remembered(name: Hashable, runs: Sequence[Run], make: Callable[[], T]) -> T:
    """What `make` returns for these very run objects, computed once."""
    key = (name, *(id(run) for run in runs))
    known = _kept.get(key)
    if known is not None and all(ref() is run for ref, run in zip(known[0], runs, strict=True)):
        _kept.move_to_end(key)
        value: T = known[1]
        return value
    value = make()
    _kept[key] = ([weakref.ref(run) for run in runs], value)
    while len(_kept) > MOST:
        _kept.popitem(last=False)
    return value


BYTES_KEPT = 48 << 20  # of records.jsonl files whose rows are held in memory; parsed rows take about 8 times as much


Row = Mapping[str, Json]


# --- caches -------------------------------------------------------------------------------------------------------

_files: OrderedDict[tuple[str, ...], tuple[tuple[tuple[int, int], ...], Any]] = OrderedDict()


_runs: OrderedDict[tuple[str, int, int], Run] = OrderedDict()


def cached(path: Path, read: Callable[[Path], Any]) -> Any:
    """What `read` makes of a file, read again when the file changes.

    Raises:
        RecordError: if the file is gone.
    """
    return cached_on((path,), getattr(read, "__name__", ""), lambda: read(path))


def cached_on(paths: Sequence[Path], name: str, read: Callable[[], T]) -> T:
    """What `read` returns, called again when one of the files changes; `name` tells readings of the same files apart.

    Raises:
        RecordError: if a file is gone.
    """
    state = tuple(map(_state, paths))
    key = (name, *map(str, paths))
    known = _files.get(key)
    if known is None or known[0] != state:
        known = (state, read())
        _files[key] = known
        while len(_files) > 4000:
            _files.popitem(last=False)
    value: T = known[1]
    return value


def _state(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    return stat.st_mtime_ns, stat.st_size


def open_run(path: Path) -> Run:
    """A run with its records; the last ones opened are kept, as many as fit into memory.

    Raises:
        RecordError: if it cannot be read; the message names file and line.
    """
    try:
        stat = (path / RECORDS).stat()
    except OSError as error:
        raise RecordError(f"{path / RECORDS}: cannot be read: {error.strerror}") from error
    key = (str(path), stat.st_mtime_ns, stat.st_size)
    if key not in _runs:
        room = BYTES_KEPT - stat.st_size
        while _runs and sum(size for _, _, size in _runs) > room:
            _runs.popitem(last=False)
        run = load_run(path)
        for number, row in enumerate(run.rows, 1):
            problem = row_problem(row)
            if problem is not None:
                raise RecordError(f"{path / RECORDS}:{number}: {problem}")
        _runs[key] = run
    _runs.move_to_end(key)
    return _runs[key]


def row_problem(row: Row) -> str | None:
    """What is wrong with the types of a record's fields, in words; None if it can be shown."""
    response, score = row.get("response"), row.get("score")
    if not isinstance(row.get("id"), str) or not isinstance(row.get("sample"), int):
        return "expected a text under 'id' and a number under 'sample'"
    if not isinstance(response, dict) or not isinstance(response.get("text"), str | None):
        return "expected {'text': text or null} under 'response'"
    if not isinstance(score, dict) or not isinstance(score.get("counts"), dict | None):
        return "expected {'counts': numbers or null} under 'score'"
    if not all(isinstance(value, int | float) for value in (score.get("counts") or {}).values()):
        return "expected numbers under 'counts'"
    for name, kind in (("groups", dict), ("reference", dict), ("verdict", dict), ("image", dict)):
        if not isinstance(row.get(name), kind | None):
            return f"expected an object or null under {name!r}"
    image = row.get("image")
    if image is not None and not ({"folder", "name"} <= image.keys()):
        return "expected 'folder' and 'name' under 'image'"
    if not isinstance(score.get("findings", []), list) or not all(map(_is_finding, score.get("findings", []))):
        return "expected a list of {'start', 'end', 'label', 'note'} under 'findings'"
    return None


def _is_finding(finding: Json) -> bool:
    return (
        isinstance(finding, dict)
        and isinstance(finding.get("start"), int)
        and isinstance(finding.get("end"), int)
        and isinstance(finding.get("label"), str)
    )
