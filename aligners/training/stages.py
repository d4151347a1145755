"""Stages of an iteration: each writes a journal, can be killed anywhere, and is never run again once it is finished.

    candidates.jsonl   one line per finished piece of work, in the order in which it was finished
    stages.json        seeds and settings; of each finished stage: rows, failures, content hash, seconds

The same call continues: rows that are in the journal are not asked for again. A finished stage whose file was changed
afterwards is an error, for the later stages would no longer fit it.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aligners.training.run_folder import claim
from aligners.training.run_folder import settings_hash as settings_hash
from evalkit.errors import RecordError
from evalkit.process.progress import Progress
from evalkit.runs.records import Journal, read_journal, read_json, write_json
from evalkit.schema import Json

MANIFEST = "stages.json"
Row = dict[str, Any]


def content_hash(rows: Iterable[Mapping[str, Json]]) -> str:
    """Hash of rows in order, 16 hex digits."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()[:16]


def claim_settings(path: Path, settings: Mapping[str, Json]) -> dict[str, Any]:
    """`aligners.training.run_folder.claim` for a journal's folder.

    Raises:
        RecordError: if it holds other settings; the differing ones are named.
    """
    return claim(path, settings, RecordError)


def note_stage(path: Path, name: str, entry: Mapping[str, Json]) -> None:
    """Note in a stages.json that a stage is done, if it does not say so yet; the flat form of 0.1.0 is taken over."""
    content = read_json(path) if path.is_file() else {"stages": {}}
    if "stages" not in content:
        content = {"stages": content}
    if name not in content["stages"]:
        content["stages"][name] = dict(entry)
        write_json(path, content)


class Stages:
    """The stages of one iteration's folder.

    Args:
        folder: made if absent.
        settings: everything that determines the iteration's results (JSON).
    Raises:
        RecordError: if the folder belongs to other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Json]) -> None:
        self.folder = folder
        self._manifest = claim_settings(folder / MANIFEST, settings)

    @property
    def finished(self) -> Mapping[str, Mapping[str, Json]]:
        """Name of each finished stage -> what the manifest says about it."""
        stages: dict[str, dict[str, Json]] = self._manifest.get("stages", {})
        return stages

    def rows(
        self,
        name: str,
        keys: Sequence[str],
        work: Callable[[set[str]], Iterable[Row]],
        progress: Progress | None = None,
    ) -> list[Row]:
        """The rows of a stage, one per key and in the order of the keys; what is missing is worked out now.

        Args:
            name: of the stage; its file is `name`.jsonl.
            keys: the "id" of every row that the stage has in the end.
            work: given the missing keys, yields rows as soon as they are finished, in any order; rows that are not
                missing are ignored. A row with a "failure" is tried again when a killed stage is continued.
            progress: called with (name, rows, all rows).
        Raises:
            RecordError: if `work` ends too early, or the file of a finished stage was changed.
        """
        path = self.folder / f"{name}.jsonl"
        if name in self.finished:
            return self._reread(name, path, keys)
        begin = time.perf_counter()
        with Journal(path) as journal:
            by_id = {row["id"]: row for row in journal.rows if row.get("failure") is None}
            missing = set(keys) - by_id.keys()
            if progress:
                progress(name, len(keys) - len(missing), len(keys))
            for row in work(set(missing)) if missing else ():
                if row["id"] in missing:
                    missing.discard(row["id"])
                    journal.append(row)
                    by_id[row["id"]] = row
                    if progress:
                        progress(name, len(keys) - len(missing), len(keys))
        if missing:
            raise RecordError(
                f"{path}: the stage ended without {len(missing)} of {len(keys)} rows, e.g. {min(missing)!r}; "
                "the same call continues"
            )
        rows = [by_id[key] for key in keys]
        self.finish(name, begin, rows=len(rows), failures=_failures(rows), content=content_hash(rows))
        return rows

    def finish(self, name: str, begin: float, **facts: Json) -> None:
        """Note that a stage is done; `begin` is when this process started with it, by time.perf_counter()."""
        entry = {**facts, "seconds": round(time.perf_counter() - begin, 3)}
        self._manifest.setdefault("stages", {})[name] = entry
        write_json(self.folder / MANIFEST, self._manifest)

    def _reread(self, name: str, path: Path, keys: Sequence[str]) -> list[Row]:
        by_id = {row["id"]: row for row in read_journal(path)}
        rows = [by_id[key] for key in keys if key in by_id]
        if content_hash(rows) != self.finished[name]["content"]:
            raise RecordError(
                f"{path} is not what this stage wrote when it was finished; remove {self.folder} and run again"
            )
        return rows


def _failures(rows: Iterable[Row]) -> int:
    return sum(row.get("failure") is not None for row in rows)
