"""One process at a time in a run folder.

The folder itself is locked, not a file in it: a lock file can be a link that somebody put there, and can be removed as
"stale" under a running program. Where a folder cannot be locked (Windows, some network file systems), `.lock` in it is.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from evalkit.errors import RecordError

fcntl: Any
try:
    fcntl = import_module("fcntl")
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Make the directory and hold it against a second process.

    Raises:
        RecordError: if another process holds it, or it cannot be written.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"{run_dir}: cannot be written: {error.strerror}") from error
    if not os.access(run_dir, os.W_OK):
        raise RecordError(f"{run_dir}: cannot be written: Permission denied")
    handle = _lock_folder(run_dir)
    if handle is not None:
        try:
            yield
        finally:
            os.close(handle)
        return
    with _lock_file(run_dir / LOCK):
        yield


def _lock_folder(run_dir: Path) -> int | None:
    """A descriptor that holds the lock; None where folders cannot be locked."""
    if fcntl is None:
        return None
    handle = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise _in_use(run_dir) from error
    except OSError:  # a network file system that locks files opened for writing only
        os.close(handle)
        return None
    return handle


@contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RecordError(f"{path}: not a regular file; remove it")
    try:
        with FileLock(path, timeout=0):
            yield
    except Timeout as error:
        raise _in_use(path.parent) from error
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error.strerror}") from error


def _in_use(run_dir: Path) -> RecordError:
    return RecordError(f"{run_dir} is in use by another process; wait for it or choose another folder")
