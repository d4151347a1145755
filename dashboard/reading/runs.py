"""Run directories and unfinished runs, as the pages read them.

Nothing here may be trusted to be well formed: a folder that cannot be read becomes a sentence among `problems`, and
the others stay usable. No streamlit in this package.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dashboard.reading.alignments import CARD, TRAINING
from dashboard.reading.cache import Row, cached, cached_on
from dashboard.reading.shown import Shown
from evalkit.errors import EvalkitError, RecordError
from evalkit.reports.markup import clean
from evalkit.runs.belonging import lost_manifest
from evalkit.runs.records import MANIFEST, METRICS, RECORDS, RESPONSES, VERDICTS, read_journal, read_manifest
from evalkit.runs.run import RunSummary
from evalkit.schema import Json

SKIPPED_FOLDERS = {".git", "__pycache__", "node_modules"}


@dataclass(frozen=True)
class Unfinished:
    """A run that is not scored yet: it goes on, or it was stopped.

    done     responses in its journal, failed ones included
    wanted   responses in all
    verdicts, failed   lines of the judge's journal; responses that failed
    changed  time of the last response, seconds since 1970
    rows     the latest line of each response, in the order in which they first came
    """

    name: str
    path: Path
    manifest: Mapping[str, Json]
    done: int
    wanted: int
    failed: int
    verdicts: int
    changed: float
    rows: Sequence[Row]

    @property
    def label(self) -> str:
        """Name of the model as shown."""
        return clean(self.manifest.get("label") or self.path.name)


@dataclass
class Contents:
    """Everything below the folders shown; `problems` are sentences about what could not be read."""

    runs: list[RunSummary] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)
    alignments: dict[str, Path] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def run(self, name: str) -> RunSummary:
        """A run by its name."""
        return next(run for run in self.runs if run.name == name)


def find(shown: Shown) -> Contents:
    """Look through the folders."""
    contents = Contents()
    for root in shown.folders:
        if not root.is_dir():
            contents.problems.append(f"{root}: no such folder")
            continue
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
            _look(Path(folder), set(files), _name(Path(folder), root, shown.folders), contents)
    contents.runs.sort(key=lambda run: (run.benchmark, run.name))
    return contents


def _name(folder: Path, root: Path, roots: Sequence[Path]) -> str:
    below = folder.relative_to(root).as_posix()
    if below == ".":
        return clean(root.name or str(root))
    return clean(f"{root.name}/{below}" if len(roots) > 1 else below)


def _look(folder: Path, files: set[str], name: str, contents: Contents) -> None:
    if MANIFEST in files or {RECORDS, METRICS} <= files:
        try:
            if RECORDS in files or METRICS in files:
                contents.runs.append(_summary(name, folder))
            elif RESPONSES in files:
                contents.unfinished.append(_unfinished(name, folder))
        except EvalkitError as error:
            contents.problems.append(str(error))
    if TRAINING in files or CARD in files:
        contents.alignments[name] = folder


def _summary(name: str, folder: Path) -> RunSummary:
    """A run's manifest and metrics.json, read again when one of them changes."""
    lost_manifest(folder)
    if not (folder / METRICS).exists():
        raise RecordError(f"{folder}: {METRICS} is missing; `evalkit score {folder}` writes it")
    if not (folder / RECORDS).exists():
        raise RecordError(f"{folder}: {RECORDS} is missing; `evalkit score {folder}` writes it")

    def read() -> RunSummary:
        summary = RunSummary(read_manifest(folder), path=folder, name=name)
        summary.check()
        return summary

    return cached_on((folder / MANIFEST, folder / METRICS), name, read)


def _unfinished(name: str, folder: Path) -> Unfinished:
    manifest = cached(folder / MANIFEST, lambda path: read_manifest(path.parent))
    rows = cached(folder / RESPONSES, read_journal)
    verdicts = cached(folder / VERDICTS, read_journal) if (folder / VERDICTS).exists() else []
    try:
        wanted = int(manifest["items"]) * int((manifest.get("sampling") or {}).get("n") or 1)
        latest = {(str(row["id"]), int(row["sample"])): row for row in rows}
        failed = sum(row.get("failure") is not None for row in latest.values())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(
            f"{folder}: {MANIFEST} or {RESPONSES} is damaged ({type(error).__name__}: {error})"
        ) from error
    changed = (folder / RESPONSES).stat().st_mtime
    return Unfinished(
        name, folder, manifest, len(latest), wanted, failed, len(verdicts), changed, list(latest.values())
    )
