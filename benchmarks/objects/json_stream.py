"""The arrays of a huge JSON file, one element at a time: COCO's annotation files hold hundreds of megabytes."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from evalkit.errors import DataError

BLOCK = 1 << 20  # characters read at a time


def stream_arrays(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, Any]]:
    """(key, element) of the arrays under the named keys of a file's top-level JSON object, one element at a time.

    Raises:
        DataError: if the file is missing, cut off, or no JSON object.
    """
    try:
        with path.open(encoding="utf-8") as file:
            yield from _Stream(path, file).arrays(wanted)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


class _Stream:
    """A JSON text that is decoded piece by piece; only the piece at hand is in memory."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self.file = path, file
        self.decoder = json.JSONDecoder()
        self.buffer = ""
        self.at = 0

    def arrays(self, wanted: Collection[str]) -> Iterator[tuple[str, Any]]:
        self._expect("{")
        while self._peek() != "}":
            key = self._value()
            self._expect(":")
            if self._peek() != "[":
                self._value()
            else:
                for element in self._elements():
                    if key in wanted:
                        yield key, element
            if self._peek() == ",":
                self.at += 1
            elif self._peek() != "}":
                raise self._broken("expected ',' or '}'")

    def _elements(self) -> Iterator[Any]:
        self._expect("[")
        while self._peek() != "]":
            yield self._value()
            if self._peek() == ",":
                self.at += 1
            elif self._peek() != "]":
                raise self._broken("expected ',' or ']'")
        self.at += 1

    def _value(self) -> Any:
        """The next complete JSON value; more is read until it is complete and something follows it."""
        self._peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.buffer, self.at)
                if end < len(self.buffer):
                    self.at = end
                    return value
            except json.JSONDecodeError as error:
                problem = str(error)
            except RecursionError:
                raise self._broken("nested too deeply") from None
            else:
                problem = "the file ends too early"
            if not self._more():
                raise self._broken(problem)

    def _peek(self) -> str:
        """The next character that is not white space."""
        while True:
            while self.at < len(self.buffer) and self.buffer[self.at] in " \t\r\n":
                self.at += 1
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self._more():
                raise self._broken("the file ends too early")

    def _expect(self, sign: str) -> None:
        if self._peek() != sign:
            raise self._broken(f"expected {sign!r}")
        self.at += 1

    def _more(self) -> bool:
        """Read on; the more is waiting for its end, the larger the block, so that a huge value stays cheap."""
        block = self.file.read(max(BLOCK, len(self.buffer) - self.at))
        self.buffer = self.buffer[self.at :] + block
        self.at = 0
        return bool(block)

    def _broken(self, problem: str) -> DataError:
        return DataError(f"{self.path}: not a complete COCO annotation file: {problem}")
