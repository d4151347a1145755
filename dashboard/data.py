"""What the pages read: run directories, unfinished runs, alignments. Reads are cached by path, time and size.

Nothing here may be trusted to be well formed: a folder that cannot be read becomes a sentence among `problems`, and
the others stay usable. No streamlit in this file.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from evalkit.checks import Flag, flags_of
from evalkit.errors import EvalkitError, RecordError
from evalkit.intervals import Interval
from evalkit.markup import clean
from evalkit.metrics import Metric
from evalkit.records import MANIFEST, METRICS, RECORDS, RESPONSES, VERDICTS, read_journal, read_json, read_manifest
from evalkit.runs import Run, load_run
from evalkit.schema import Json
from evalkit.signature import Signature

ENVIRONMENT = "EVALKIT_DASHBOARD"  # how the command tells the app what to show: JSON, see `Shown`
CARD, TRAINING, PAIRS, ITERATIONS = "card.json", "training.jsonl", "pairs.jsonl", "iterations.jsonl"
SKIPPED_FOLDERS = {".git", "__pycache__", "node_modules"}
BYTES_KEPT = 48 << 20  # of records.jsonl files whose rows are held in memory; parsed rows take about 8 times as much
Row = Mapping[str, Json]


@dataclass(frozen=True)
class Shown:
    """What one dashboard shows.

    folders    run folders, or folders above them
    images     where images lie; empty: where the records say
    published  file with published rows (`evalkit report --published --format json`), None for none
    """

    folders: tuple[Path, ...]
    images: tuple[Path, ...] = ()
    published: Path | None = None

    @classmethod
    def from_environment(cls) -> "Shown":
        """As the command `evalkit dashboard` wrote it; the folder `runs` without."""
        told = json.loads(os.environ.get(ENVIRONMENT, '{"folders": ["runs"]}'))
        published = told.get("published")
        return cls(
            tuple(map(Path, told["folders"])),
            tuple(map(Path, told.get("images", []))),
            Path(published) if published else None,
        )

    def as_text(self) -> str:
        """For the environment."""
        return json.dumps(
            {
                "folders": [str(folder.resolve()) for folder in self.folders],
                "images": [str(folder.resolve()) for folder in self.images],
                "published": str(self.published.resolve()) if self.published else None,
            }
        )


@dataclass(frozen=True)
class RunInfo:
    """A scored run as the overview needs it: manifest and metrics.json, not the records.

    name  its path below the folder shown, as in URLs
    """

    name: str
    path: Path
    manifest: Mapping[str, Json]
    results: Mapping[str, Json]

    @property
    def benchmark(self) -> str:
        """Name of the benchmark."""
        return clean(self.manifest["benchmark"])

    @property
    def label(self) -> str:
        """Name of the model as shown."""
        return clean(self.manifest.get("label") or self.path.name)

    @cached_property
    def metrics(self) -> list[Metric]:
        """The benchmark's metrics, the headline first."""
        return [Metric(**fields) for fields in self.manifest["metrics"]]

    @cached_property
    def values(self) -> dict[str, Interval]:
        """Metrics with intervals."""
        return {name: Interval(**fields) for name, fields in self.results["metrics"].items()}

    @cached_property
    def signature(self) -> Signature:
        """What the scores depend on."""
        return Signature.of(self.manifest)

    @cached_property
    def flags(self) -> list[Flag]:
        """Warnings of the run's checks."""
        return flags_of(self.results.get("checks") or {})

    @property
    def disqualified(self) -> bool:
        """Whether a flag keeps it below the others."""
        return any(flag.disqualifies for flag in self.flags)

    @property
    def words(self) -> float | None:
        """Mean length of its responses in words."""
        mean = ((self.results.get("checks") or {}).get("words") or {}).get("mean")
        return None if mean is None else float(mean)

    @cached_property
    def counted(self) -> tuple[int, int]:
        """Scored and all samples."""
        return int(self.results["n_scored"]), int(self.results["n_total"])

    @cached_property
    def failures(self) -> dict[str, int]:
        """Stage -> failed samples."""
        return {clean(stage): int(count) for stage, count in (self.results.get("failures") or {}).items()}


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
class Found:
    """Everything below the folders shown; `problems` are sentences about what could not be read."""

    runs: list[RunInfo] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)
    alignments: dict[str, Path] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def run(self, name: str) -> RunInfo:
        """A run by its name."""
        return next(run for run in self.runs if run.name == name)


def find(shown: Shown) -> Found:
    """Look through the folders."""
    found = Found()
    for root in shown.folders:
        if not root.is_dir():
            found.problems.append(f"{root}: no such folder")
            continue
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS)
            _look(Path(folder), set(files), _name(Path(folder), root, shown.folders), found)
    found.runs.sort(key=lambda run: (run.benchmark, run.name))
    return found


def _name(folder: Path, root: Path, roots: Sequence[Path]) -> str:
    below = folder.relative_to(root).as_posix()
    if below == ".":
        return clean(root.name or str(root))
    return clean(f"{root.name}/{below}" if len(roots) > 1 else below)


def _look(folder: Path, files: set[str], name: str, found: Found) -> None:
    if MANIFEST in files:
        try:
            if RECORDS in files:
                found.runs.append(_run_info(name, folder))
            elif RESPONSES in files:
                found.unfinished.append(_unfinished(name, folder))
        except EvalkitError as error:
            found.problems.append(str(error))
    if TRAINING in files or CARD in files:
        found.alignments[name] = folder


def _run_info(name: str, folder: Path) -> RunInfo:
    manifest = cached(folder / MANIFEST, lambda path: read_manifest(path.parent))
    if not (folder / METRICS).exists():
        raise RecordError(f"{folder}: {METRICS} is missing; `evalkit score {folder}` writes it")
    info = RunInfo(name, folder, manifest, cached(folder / METRICS, read_json))
    try:
        info.values, info.metrics, info.signature, info.flags, info.counted, info.failures, info.words  # noqa: B018
        if not info.metrics or not all(metric.counts is not None for metric in info.metrics):
            raise KeyError("metrics")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"{folder}: {MANIFEST} or {METRICS} is damaged ({type(error).__name__}: {error})") from error
    return info


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


# --- caches -------------------------------------------------------------------------------------------------------

_files: OrderedDict[tuple[str, str], tuple[tuple[int, int], Any]] = OrderedDict()
_runs: OrderedDict[tuple[str, int, int], Run] = OrderedDict()


def cached(path: Path, read: Callable[[Path], Any]) -> Any:
    """What `read` makes of a file, read again when the file changes.

    Raises:
        RecordError: if the file is gone.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error
    key, state = (str(path), getattr(read, "__name__", "")), (stat.st_mtime_ns, stat.st_size)
    known = _files.get(key)
    if known is None or known[0] != state:
        known = (state, read(path))
        _files[key] = known
        while len(_files) > 4000:
            _files.popitem(last=False)
    return known[1]


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


# --- alignments and published rows --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Alignment:
    """What an alignment left behind; absent parts are empty.

    card        card.json
    steps       lines of training.jsonl; of an alignment in iterations those of all of them, each with its "iteration"
    pairs       lines of pairs.jsonl, likewise; image paths are absolute
    iterations  lines of iterations.jsonl
    """

    path: Path
    card: Mapping[str, Json]
    steps: Sequence[Row]
    pairs: Sequence[Row]
    iterations: Sequence[Row]


def open_alignment(path: Path) -> Alignment:
    """Read a checkpoint folder.

    Raises:
        RecordError: if a file of it cannot be read.
    """
    steps, pairs = _lines(path / TRAINING), _pairs(path)
    for number, folder in _iterations(path):
        steps += [row | {"iteration": number} for row in _lines(folder / "checkpoint" / TRAINING)]
        pairs += _pairs(folder)
    card = cached(path / CARD, read_json) if (path / CARD).exists() else {}
    return Alignment(path, card, steps, pairs, _lines(path / ITERATIONS))


def _lines(path: Path) -> list[dict[str, Json]]:
    return list(cached(path, read_journal)) if path.exists() else []


def _pairs(path: Path) -> list[dict[str, Json]]:
    folder = _pairs_folder(path)
    return [
        pair | ({"image": str(folder / pair["image"])} if pair.get("image") and isinstance(pair["image"], str) else {})
        for pair in _lines(folder / PAIRS)
        if all(isinstance(pair.get(key), str) for key in ("prompt", "chosen", "rejected"))
    ]


def _pairs_folder(path: Path) -> Path:
    """Where an alignment keeps its pairs: beside the card, where it made them, or above the iteration's checkpoint."""
    folders = [path, path / "training" / "pairs"]
    if path.name == "checkpoint":
        folders.append(path.parent)
    return next((folder for folder in folders if (folder / PAIRS).exists()), path)


def _iterations(path: Path) -> list[tuple[int, Path]]:
    """Numbers and folders of an alignment's iterations, in order."""
    folders = {folder: folder.name.removeprefix("iteration_") for folder in path.glob("iteration_*")}
    return sorted((int(number), folder) for folder, number in folders.items() if number.isdecimal())


@dataclass(frozen=True)
class PublishedRow:
    """Figures that a paper prints: never mixed with one's own, shown with their source."""

    benchmark: str
    model: str
    values: Mapping[str, float]
    source: str


def read_published(path: Path) -> list[PublishedRow]:
    """Published rows of a report: `evalkit report RUNS --published --format json`.

    Raises:
        RecordError: if the file is no such report.
    """
    try:
        return [
            PublishedRow(
                clean(board["benchmark"]),
                clean(f"{row['model']}, {row['subset']}" if row.get("subset") else row["model"]),
                {str(name): float(value) for name, value in row["values"].items()},
                clean(row["source"]),
            )
            for board in json.loads(path.read_text("utf-8"))
            for row in board["published"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{path}: expected the output of `evalkit report --published --format json`: {error}"
        ) from error
