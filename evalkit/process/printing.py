r"""What reaches the terminal: every line the program prints goes through here.

Labels, groups, settings, file names and servers' words come from elsewhere. A terminal obeys control characters in them
(it clears the screen, sets the window's title, types for the user), so none but the newline and the tab is printed:
the others stand there by their number, as in \\u001b. What the terminal's encoding lacks is replaced, not fatal, and a
full disk or a closed pipe is one line and an exit code instead of a traceback.
"""

import errno
import io
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

EXIT_ABORTED = 3

_KEPT = "\n\t"
_SUBSTITUTES = {
    "↑": "^",
    "↓": "v",
    "–": "-",
    "—": "-",
    "…": "...",
    "×": "x",
    "±": "+-",
    "→": "->",
    "•": "*",
    "’": "'",
    "█": "#",
    "“": '"',
    "”": '"',
}
_HIDING = frozenset("\u2028\u2029\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    r"""The text with every character that a terminal obeys, or that turns the direction of text, shown by its number.

    Numbers are written as JSON writes them, so that what was JSON is still JSON.

    >>> print(printable("a" + chr(27) + "[2Jb"))
    a\u001b[2Jb
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in _KEPT:
        return character
    if character in _HIDING or unicodedata.category(character) in ("Cc", "Cs"):
        return f"\\u{ord(character):04x}"
    return character


class SafeStream(io.TextIOBase):
    """A text stream whose lines may be printed: see the module."""

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the printable form; returns the length of what was given."""
        self.stream.write(self._encodable(printable(text)))
        return len(text)

    def writelines(self, lines: Iterable[Any]) -> None:
        """Write every line."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream."""
        self.stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """Of the stream."""
        return self.stream.fileno()

    def writable(self) -> bool:
        """Always."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Of the stream."""
        return getattr(self.stream, "errors", None) or "strict"

    @property
    def buffer(self) -> Any:
        """Bytes, unfiltered: progress bars write none."""
        return getattr(self.stream, "buffer", None)

    def _encodable(self, text: str) -> str:
        try:
            text.encode(self.encoding)
            return text
        except UnicodeEncodeError:
            plain = "".join(_SUBSTITUTES.get(character, character) for character in text)
            return plain.encode(self.encoding, "replace").decode(self.encoding)


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Within it standard output and standard error print through `SafeStream`; a closed one swallows text."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _guarded(before[0]), _guarded(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _guarded(stream: Any) -> Any:
    if stream is None:
        return SafeStream(io.StringIO())  # closed before the program began (>&-)
    return stream if isinstance(stream, SafeStream) else SafeStream(stream)


def failed_output(error: OSError) -> int:
    """One line for an error of the operating system that nothing else has named; returns the exit code.

    What could not be written to standard output is dropped, so that the interpreter does not try it once more.
    """
    where = f"{error.filename}: " if error.filename else ""
    words = error.strerror or str(error)
    remedy = "; raise `ulimit -n`, or lower connections" if error.errno == errno.EMFILE else ""
    with suppress(OSError):  # standard error may be full as well
        sys.stderr.write(f"evalkit: {where}{words}{remedy}\n")
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]
    return EXIT_ABORTED
