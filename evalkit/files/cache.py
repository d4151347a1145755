"""A content-addressed store of answers that were paid for: the key is a hash of everything that influences an answer.

One SQLite file, so that thousands of entries cost one file and a killed process leaves no half entry. Values are JSON.
"""

import hashlib
import json
import os
import sqlite3
from pathlib import Path
from types import TracebackType

from evalkit.errors import RecordError
from evalkit.files.json_values import json_value
from evalkit.schema import Json

BUSY_S = 30.0  # how long to wait for another process that is writing


def cache_folder() -> Path:
    """EVALKIT_CACHE, else evalkit below XDG_CACHE_HOME or ~/.cache."""
    if folder := os.environ.get("EVALKIT_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evalkit"


def content_key(*parts: Json) -> str:
    """sha256 over the parts as canonical JSON, hexadecimal."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Cache:
    """Key -> JSON value, in a file.

    Raises:
        RecordError: if the file cannot be opened, is not a cache, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")  # a kill loses nothing that was put
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        except (OSError, sqlite3.Error) as error:
            raise RecordError(f"cache {path} cannot be opened: {error}; remove it or set EVALKIT_CACHE") from error

    def get(self, key: str) -> Json | None:
        """The value, or None if there is none."""
        try:
            row = self._database.execute("SELECT value FROM answers WHERE key = ?", (key,)).fetchone()
            return None if row is None else json_value(row[0])
        except (sqlite3.Error, ValueError) as error:
            raise RecordError(f"cache {self.path} cannot be read: {error}; remove it or set EVALKIT_CACHE") from error

    def put(self, key: str, value: Json) -> None:
        """Store a value; on its way to the disk when this returns."""
        text = json.dumps(value, ensure_ascii=True)
        try:
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, text))
        except sqlite3.Error as error:
            raise RecordError(f"cache {self.path} cannot be written: {error}; set EVALKIT_CACHE") from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> "Cache":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
