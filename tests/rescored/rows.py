"""The rows of the page: what was printed, what we find, and how the two compare. One function makes every row.

A file is scored as `evalkit score BENCHMARK --responses FILE` scores it, from the bytes that were released.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from benchmarks.cli.registry import build
from evalkit.errors import AssetError, DataError
from evalkit.files.assets import all_assets, asset
from evalkit.formats.importers import read_answers
from evalkit.harness.stages import score
from evalkit.harness.stored import import_run
from evalkit.runs.records import METRICS, read_json
from evalkit.statistics.intervals import Interval
from tests.rescored.files import document, index, unpacked

UNDEFINED = "undefined"  # a figure that the authors' program could not give
TABLE = Path(__file__).with_name("rows.toml")
_IMAGE_NUMBER = re.compile(r"(\d+)(?:\.\w+)?$")  # 000000002239.jpg, 2239


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are scored alike; `metrics` is the order in which figures stand."""

    title: str
    benchmark: str
    metrics: tuple[str, ...]
    source: str
    authors: str
    remark: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One file and what was printed about it; figures as printed, None where there are none."""

    group: Group
    number: int
    file: str
    what: str
    options: Mapping[str, str]
    published: tuple[str, ...] | None
    authors: tuple[str, ...] | None
    authors_in: str | None
    note: str


@dataclass(frozen=True, slots=True)
class Row:
    """An entry with our figures; `problem` says why there are none.

    run  the run directory that holds every sample, for whatever else is to be said of it
    """

    entry: Entry
    authors: tuple[str, ...] | None
    ours: tuple[Interval, ...] = ()
    n: int = 0
    run: Path | None = None
    problem: str | None = None
    verdicts: tuple[str, ...] = field(default=())


def entries() -> tuple[list[Entry], list[dict[str, str]]]:
    """Entries in the order of their numbers, and the rows that are only cited."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    found = [entry for group in table["group"] for entry in _entries(group)]
    return found, table["cited"]


def _entries(group: Mapping[str, Any]) -> Iterator[Entry]:
    known = Group(
        group["title"],
        group["benchmark"],
        tuple(group["metrics"]),
        group["source"],
        group.get("authors", "none"),
        group.get("remark", ""),
    )
    rows = group.get("rows") or [
        {"number": number, "file": name, "what": _named(name)}
        for number, name in enumerate(_every(group["every"]), start=group["first_number"])
    ]
    for row in rows:
        yield Entry(
            known,
            row["number"],
            row["file"],
            row["what"],
            {**group["options"], **row.get("options", {})},
            _figures(row.get("published")),
            _figures(row.get("authors")),
            group.get("authors_in"),
            row.get("note", ""),
        )


def _figures(given: Sequence[str] | None) -> tuple[str, ...] | None:
    return tuple(given) if given else None


def _every(pattern: str) -> list[str]:
    return sorted(name for name in index() if fnmatch(name, pattern))


def _named(name: str) -> str:
    """What a file of HALC's is, out of its name: "llava-1.5 greedy, beams, 500"."""
    _, model, method, *rest = Path(name).name.removesuffix(".json.gz").split("_")
    setting = " ".join(part for part in rest if part not in ("coco", "num", "images", "chair", "results"))
    return f"{model} {method}, {setting}"


def build_row(entry: Entry, folder: Path) -> Row:
    """Score the file of an entry and compare; a file that is not here, or is refused, leaves a row that says so."""
    try:
        responses = unpacked(entry.file, folder / "files")
        authors = entry.authors or _stored_figures(entry, folder / "files")
        benchmark = build(entry.group.benchmark, _options(entry, responses, folder))
        run = folder / "runs" / f"{entry.number}-{responses.stem}" / entry.group.benchmark
        work = import_run(benchmark, [responses], run, responses.stem, partial=True, origin={"name": benchmark.name})
        summary = score(work, run, rescore=True)
    except (AssetError, DataError) as error:
        return Row(entry, entry.authors, problem=f"{error}")
    ours = tuple(_metric(summary.metrics, run, name) for name in entry.group.metrics)
    verdicts = tuple(
        f"{whose}: {text}"
        for whose, printed in (("published", entry.published), ("script", authors))
        if printed and (text := compared(printed, ours, entry.group.metrics))
    )
    return Row(entry, authors, ours, summary.n_scored, run, None, verdicts)


def compared(printed: Sequence[str], ours: Sequence[Interval], names: Sequence[str]) -> str:
    """ "=" if every figure is ours to the digits it was printed with, else what differs and by how much.

    >>> compared(["14.8", "25.4"], [Interval(14.812, None, None), Interval(25.9, None, None)], ["chair_i", "chair_s"])
    'chair_s +0.5'
    """
    apart = []
    for figure, interval, name in zip(printed, ours, names, strict=False):
        if figure == UNDEFINED or interval.value is None:
            apart += (
                []
                if figure == UNDEFINED and interval.value is None
                else [f"{name} {'theirs' if figure == UNDEFINED else 'ours'} undefined"]
            )
        elif not agrees(figure, interval.value):
            digits = len(figure.partition(".")[2])
            apart.append(f"{name.rpartition(':')[2]} {interval.value - float(figure):+.{digits}f}")
    return ", ".join(apart) or "="


def agrees(printed: str, value: float) -> bool:
    """Whether a value rounds to a printed figure; a tie may have been rounded either way.

    >>> agrees("14.8", 14.8499), agrees("14.8", 14.85), agrees("14.8", 14.8501)
    (True, True, False)
    """
    digits = len(printed.partition(".")[2])
    return abs(value - float(printed)) <= 0.5 * 10**-digits + 1e-9


def _metric(metrics: Mapping[str, Interval], run: Path, name: str) -> Interval:
    """A metric of the run, or of one of its groups: "split:random:f1"."""
    if ":" not in name:
        return metrics[name]
    group, value, metric = name.split(":")
    found = read_json(run / METRICS)["groups"][group][value]["metrics"][metric]
    return Interval(found["value"], found["low"], found["high"])


def _options(entry: Entry, responses: Path, folder: Path) -> dict[str, str]:
    options = {name: _place(text) for name, text in entry.options.items()}
    if entry.authors_in == "overall_metrics":
        options["references"] = str(_their_references(entry, folder))
    if entry.group.benchmark == "chair":
        options["image_ids"] = str(_image_ids(entry, responses, folder))
    return options


def _image_ids(entry: Entry, responses: Path, folder: Path) -> Path:
    """The images that a file of captions is about, as a list: only these of the 123,287 become items."""
    path = folder / "image_ids" / f"{entry.number}-{responses.stem}.json"
    values = [value for answer in read_answers(responses) for kind, value in answer.keys if kind == "image"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sorted({int(_IMAGE_NUMBER.search(value)[1]) for value in values})), encoding="utf-8")
    return path


def _place(text: str) -> str:
    kind, _, name = text.partition(":")
    if kind == "asset":
        return str(asset(name))
    if kind == "folder":
        return str([asset(known).parent for known in all_assets() if known.startswith(f"{name}/")].pop())
    return text


def _their_references(entry: Entry, folder: Path) -> Path:
    """The reference objects that the authors' output names for every image, as a ready file."""
    path = folder / "references" / f"{Path(entry.file).name.partition('.')[0]}-{entry.number}.json"
    sentences: Any = document(entry.file, folder / "files")["sentences"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({row["image_id"]: row["mscoco_gt_words"] for row in sentences}), encoding="utf-8")
    return path


def _stored_figures(entry: Entry, files: Path) -> tuple[str, ...] | None:
    """The figures that the authors' own output holds; printed with five significant decimals of a percentage."""
    names = {"chair_s": "CHAIRs", "chair_i": "CHAIRi", "recall": "Recall", "length": "Len"}
    if entry.authors_in is not None:
        stored: Any = document(entry.file, files)[entry.authors_in]
        return tuple(f"{100 * stored[names[name]]:.3f}" for name in entry.group.metrics)
    metrics = entry.file.replace("__predictions__", "__metrics__").replace(".jsonl.gz", ".json")
    if metrics == entry.file or metrics not in index():
        return None
    kept: Any = document(metrics, files)["metrics"]
    return tuple(_printed(kept, entry.group.benchmark, name) for name in entry.group.metrics)


def _printed(kept: Mapping[str, float | None], benchmark: str, name: str) -> str:
    value = kept.get(f"{benchmark}_{name}", kept.get({"chair_s": "chairs", "chair_i": "chairi"}.get(name, name)))
    digits = 1 if benchmark == "amber" else 2
    return UNDEFINED if value is None else f"{value:.{digits}f}"
