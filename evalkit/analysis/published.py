"""Published figures as data: who printed what, where, measured by whom, with which judge, and what is doubtful.

They stand beside our own rows, labelled, and are never mixed with them: image sets, prompts, judges and word lists
differ between papers.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args

from evalkit.errors import DataError, RecordError
from evalkit.files.json_values import json_value

Direction = Literal["rate", "complement"]


Evidence = Literal["paper", "figure", "quoted", "memory"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where figures come from.

    direction  "rate": printed as our metric is; "complement": 100 minus it was printed (a rate of correct responses)
    evidence   "paper": read there; "figure": read off a drawing; "quoted": from a page that quotes it; "memory": a lead
    judge      the judge or extractor, "none" for benchmarks without one, "not stated"
    """

    paper: str
    version: str
    table: str
    measured_by: str
    judge: str
    direction: Direction
    evidence: Evidence
    settings: str = ""

    @property
    def where(self) -> str:
        """Paper, version and table."""
        return f"{self.paper}, {self.version}, {self.table}"

    def __str__(self) -> str:
        parts = [
            self.where,
            f"measured by {self.measured_by}",
            f"judge {self.judge}",
            f"evidence: {self.evidence}",
            "printed as 100 minus the value" if self.direction == "complement" else "",
            self.settings,
        ]
        return "; ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Told:
    """A source as a report told it, in one sentence; its figures are in the direction of our metrics."""

    text: str
    direction: Direction = "rate"

    @property
    def where(self) -> str:
        """The sentence."""
        return self.text

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """Figures of one model in one table.

    printed   metric -> figure, as printed
    doubtful  metric -> what is odd about its figure
    subset    part of the benchmark ("random" of POPE), "" for all of it
    """

    benchmark: str
    model: str
    source: Source | Told
    printed: Mapping[str, float]
    doubtful: Mapping[str, str] = field(default_factory=dict)
    subset: str = ""
    note: str = ""

    @property
    def values(self) -> dict[str, float]:
        """The figures in the direction of our metrics."""
        if self.source.direction == "rate":
            return dict(self.printed)
        return {name: round(100 - figure, 4) for name, figure in self.printed.items()}

    @property
    def name(self) -> str:
        """The model, with the part of the benchmark it was measured on."""
        return f"{self.model}, {self.subset}" if self.subset else self.model

    @property
    def label(self) -> str:
        """How a message names the row: model, paper, version and table."""
        return f"{self.name} [{self.source.where}]"


def read_report(path: Path) -> list[PublishedRow]:
    """Published rows of a report that was written before: `evalkit report RUNS --published --format json`.

    Raises:
        RecordError: if the file is not such a report.
    """
    try:
        return [
            PublishedRow(
                str(board["benchmark"]),
                str(row["model"]),
                Told(str(row["source"])),
                {str(name): float(value) for name, value in row["values"].items()},
                {str(name): str(doubt) for name, doubt in (row.get("doubtful") or {}).items()},
                str(row.get("subset") or ""),
            )
            for board in json_value(path.read_text("utf-8"))
            for row in board["published"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{path}: expected the output of `evalkit report --published --format json`: {error}"
        ) from error


def parse(benchmark: str, text: str) -> list[PublishedRow]:
    """Read and check the text of a file of published figures.

    Raises:
        DataError: naming the source or row and what is wrong with it.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"published figures of {benchmark}: no TOML: {error}") from error
    sources = {name: _source(f"{benchmark}: source {name!r}", entry) for name, entry in data.get("sources", {}).items()}
    rows = [_row(benchmark, number, entry, sources) for number, entry in enumerate(data.get("rows", []), 1)]
    seen: set[tuple[Source | Told, str, str]] = set()
    for row in rows:
        key = (row.source, row.model, row.subset)
        if key in seen:
            raise DataError(f"{benchmark}: {row.label} stands there twice")
        seen.add(key)
    return rows


def _source(where: str, entry: Mapping[str, Any]) -> Source:
    _keys(where, entry, required=set(Source.__slots__) - {"settings"}, optional={"settings"})
    for name, value in entry.items():
        if not isinstance(value, str) or (not value and name != "settings"):
            raise DataError(f"{where}: {name} must be a text, got {value!r}")
    for name, words in (("direction", get_args(Direction)), ("evidence", get_args(Evidence))):
        if entry[name] not in words:
            raise DataError(f"{where}: {name} must be one of {', '.join(words)}, got {entry[name]!r}")
    return Source(**entry)


def _row(benchmark: str, number: int, entry: Mapping[str, Any], sources: Mapping[str, Source]) -> PublishedRow:
    where = f"{benchmark}: row {number} ({entry.get('model', 'without a model')})"
    _keys(where, entry, required={"source", "model", "values"}, optional={"doubtful", "note", "subset"})
    if entry["source"] not in sources:
        raise DataError(f"{where}: unknown source {entry['source']!r}")
    values, doubtful = entry["values"], entry.get("doubtful", {})
    if not isinstance(values, dict) or not values or not all(map(_is_figure, values.values())):
        raise DataError(f"{where}: values must be numbers by metric, got {values!r}")
    if unknown := set(doubtful) - set(values):
        raise DataError(f"{where}: doubtful names {sorted(unknown)}, which has no value")
    return PublishedRow(
        benchmark=benchmark,
        model=entry["model"],
        source=sources[entry["source"]],
        printed={name: float(figure) for name, figure in values.items()},
        doubtful=dict(doubtful),
        subset=entry.get("subset", ""),
        note=entry.get("note", ""),
    )


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0


def _keys(where: str, entry: Mapping[str, Any], required: set[str], optional: set[str]) -> None:
    if missing := required - entry.keys():
        raise DataError(f"{where}: missing {', '.join(sorted(missing))}")
    if unknown := entry.keys() - required - optional:
        raise DataError(f"{where}: unknown {', '.join(sorted(unknown))}")
