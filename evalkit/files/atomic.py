"""Files that are replaced as a whole: whoever reads sees the earlier content or the new one, never a part.

Everything the program writes goes through here. A folder may come from somebody else, so what lies in it is never
written *through*: a link is replaced by a file, and what it led to stays as it is.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evalkit.errors import RecordError


@contextmanager
def replaced(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` when the block ends without an error.

    The folder is made if it is not there. What a killed process left beside, or a link that somebody put there, is
    removed first.

    Args:
        shared: several processes may write the file at the same time, each beside it under a name of its own.
    Raises:
        OSError: if the folder cannot be written; an earlier file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid() if shared else 'partial'}")
    beside.unlink(missing_ok=True)
    os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o666))
    try:
        yield beside
        if not shared:
            _flush(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_text(path: Path, text: str, *, shared: bool = False) -> None:
    """Write a UTF-8 text in one step; see `replaced`."""
    with replaced(path, shared=shared) as beside:
        beside.write_text(text, encoding="utf-8")


def write_output(path: Path, text: str) -> Path:
    """Write a text where the user asked for it, in one step; line ends as they are, lone surrogates kept.

    A link of the user's own is followed; anything but a regular file (/dev/stdout, a pipe) is written to as it is.

    Returns:
        The path.
    Raises:
        RecordError: if it cannot be written; an earlier file is untouched.
    """
    data = text.encode("utf-8", errors="surrogatepass")
    try:
        target = path.resolve() if path.is_symlink() else path
        if target.exists() and not target.is_file():
            with target.open("wb") as stream:
                stream.write(data)
            return path
        with replaced(target, shared=True) as beside:
            beside.write_bytes(data)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error.strerror or error}") from error
    return path
