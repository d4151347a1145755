"""Files of a folder that somebody else may have made: regular files of a sane size, never through a link."""

import errno
import os
import stat
from pathlib import Path

from evalkit.errors import RecordError

LARGEST_FILE = 4 << 30  # bytes of one file of a run
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def is_regular(path: Path) -> bool:
    """Whether the path itself (not what a link leads to) is a regular file."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def open_regular(path: Path, flags: int = os.O_RDONLY, *, largest: int = LARGEST_FILE) -> int:
    """A descriptor of a regular file; a link, a pipe, a device or a folder is refused, and nothing is waited for.

    Args:
        flags: as of `os.open`; with O_CREAT the file is made, readable and writable as the umask allows.
        largest: bytes.
    Raises:
        FileNotFoundError: if there is none (and none is to be made).
        RecordError: if it is anything but a regular file, larger than that, or cannot be opened.
    """
    try:
        handle = os.open(path, flags | _FLAGS, 0o666)
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:  # something on the way is a file: there is none here either
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK) or path.is_symlink():
            raise RecordError(
                f"{path}: a link, not a regular file; files of a run are not read through links"
            ) from error
        raise RecordError(f"{path}: cannot be opened: {error.strerror}") from error
    about = os.fstat(handle)
    problem = None
    if not stat.S_ISREG(about.st_mode):
        problem = "not a regular file"
    elif about.st_size > largest:
        problem = f"{about.st_size:,} bytes, more than {largest:,}"
    if problem is not None:
        os.close(handle)
        raise RecordError(f"{path}: {problem}")
    return handle


def read_regular(path: Path, *, largest: int = LARGEST_FILE) -> bytes:
    """All bytes of a regular file.

    Raises:
        FileNotFoundError: if there is none.
        RecordError: if it is not a regular file, is larger than `largest`, or cannot be read.
    """
    with os.fdopen(open_regular(path, largest=largest), "rb") as file:
        try:
            return file.read()
        except (OSError, MemoryError) as error:
            reason = error.strerror if isinstance(error, OSError) else "too large for this machine's memory"
            raise RecordError(f"{path}: cannot be read: {reason}") from error
