"""Files that are replaced as a whole: whoever reads sees the earlier content or the new one, never a part."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` when the block ends without an error.

    The folder is made if it is not there. What a killed process left beside is overwritten by the next one.

    Args:
        shared: several processes may write the file at the same time, each beside it under a name of its own.
    Raises:
        OSError: if the folder cannot be written; an earlier file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid() if shared else 'partial'}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def replace_text(path: Path, text: str, *, shared: bool = False) -> None:
    """Write a UTF-8 text in one step; see `replaced`."""
    with replaced(path, shared=shared) as beside:
        beside.write_text(text, encoding="utf-8")
