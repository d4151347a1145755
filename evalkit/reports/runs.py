"""Reports of runs: terminal, Markdown, LaTeX, CSV, JSON.

Every number has its interval, the number of samples behind it and its signature. Runs that were not measured alike
stand in tables of their own; published figures stand in rows of their own, with their source.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from evalkit.analysis.leaderboard import Board, Entry, Published, boards
from evalkit.errors import UsageError
from evalkit.metrics import Metric
from evalkit.reports.model_card import model_card
from evalkit.reports.tables import Cell, Table, arrow, csv_text, render
from evalkit.runs.run import Run, load_run
from evalkit.statistics.intervals import LEVEL, Interval

Format = Literal["terminal", "markdown", "latex", "csv", "json", "card"]
CSV_COLUMNS = (
    "benchmark", "kind", "label", "group", "group_value", "metric", "higher_is_better", "value", "low", "high",
    "method", "n_scored", "n_total", "flags", "signature", "source",
)  # fmt: skip


def table(paths: Sequence[Path | str], groups: bool = False, signatures: bool = False, width: int | None = None) -> str:
    """The terminal report of run directories."""
    return report([load_run(path) for path in paths], "terminal", groups, signatures, width=width)


def report(
    runs: Sequence[Run],
    format: Format = "terminal",
    groups: bool = False,
    signatures: bool = False,
    published: Sequence[Published] = (),
    width: int | None = None,
) -> str:
    """Runs as a report.

    Args:
        groups: also the metrics by group.
        signatures: long signatures, one per run, instead of one short line per table.
        published: published rows to show beside one's own.
        width: of the terminal, see `tables.render`.
    Raises:
        UsageError: if there is no run, or for an unknown format.
    """
    if not runs:
        raise UsageError("no scored run to report; `evalkit run` makes one")
    shown = boards(runs, published, mark_best=format in ("terminal", "markdown", "latex"))
    if format == "json":
        return json.dumps([_board_json(board) for board in shown], ensure_ascii=False, indent=1)
    if format == "csv":
        return csv_text((row for board in shown for row in _board_rows(board)), CSV_COLUMNS)
    if format == "card":
        return model_card(runs)
    return "\n\n".join(
        render(part, format, width) for board in shown for part in _board_tables(board, groups, signatures)
    )


def _board_tables(board: Board, groups: bool, signatures: bool) -> Iterator[Table]:
    metrics = [metric for metric in board.metrics if not metric.detail]
    details = [metric for metric in board.metrics if metric.detail]
    columns = ["model", *map(arrow, metrics), "n", "failed"]
    rows = [_entry_cells(entry, metrics) for entry in board.entries]
    sources = _sources(board.published)
    rows += [_published_cells(sources[_source(row)], row, metrics) for row in board.published]
    notes = [_legend(metrics)]
    notes += [f"! {entry.label}: {flag.text}" for entry in board.entries for flag in entry.flags]
    notes += [f"[{number}] {source}" for source, number in sources.items()]
    notes += [f"? {_model(row)}: {name}: {doubt}" for row in board.published for name, doubt in row.doubtful.items()]
    if any(entry.best for entry in board.entries):
        notes.append("bold or *: better than every other run here, p < 0.05 after Holm's correction")
    if signatures:
        notes += [f"{entry.label}: {entry.run.signature.long()}" for entry in board.entries]
    else:
        notes.append(board.signature)
    yield Table(columns, rows, board.benchmark, notes)
    if details:
        rows = [_entry_cells(entry, details) for entry in board.entries]
        yield Table(["model", *map(arrow, details), "n", "failed"], rows, f"{board.benchmark}: other readings")
    if groups:
        yield from _group_tables(board)


def _legend(metrics: Sequence[Metric]) -> str:
    others = "".join(f", {metric.name} in {metric.unit}" for metric in metrics if metric.unit != "percent")
    return f"in brackets: {LEVEL:.0%} interval; values in %{others}"


def _entry_cells(entry: Entry, metrics: Sequence[Metric]) -> list[Cell]:
    values = [
        Cell(entry.values.get(metric.name, Interval(None)).text(), metric.name in entry.best) for metric in metrics
    ]
    failed = ", ".join(f"{stage} {count}" for stage, count in entry.run.failures.items()) or "-"
    n = f"{len(entry.run.scored)}/{len(entry.run.rows)}"
    return [Cell(entry.label + (" !" if entry.flags else "")), *values, Cell(n), Cell(failed)]


def _published_cells(number: int, row: Published, metrics: Sequence[Metric]) -> list[Cell]:
    values = [Cell(_figure(row.values[m.name]) if m.name in row.values else "-") for m in metrics]
    return [Cell(f"published: {_model(row)} [{number}]"), *values, Cell("-"), Cell("-")]


def _model(row: Published) -> str:
    return f"{row.model}, {row.subset}" if row.subset else row.model


def _figure(value: float) -> str:
    """As printed, with one decimal at least."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:g}"


def _sources(published: Sequence[Published]) -> dict[str, int]:
    """Where the rows come from, numbered."""
    return {source: number for number, source in enumerate(dict.fromkeys(map(_source, published)), 1)}


def _source(row: Published) -> str:
    source = row.source
    parts = [
        f"{source.paper}, {source.version}, {source.table}",
        f"measured by {source.measured_by}",
        f"judge {source.judge}",
        f"evidence: {source.evidence}",
        "printed as 100 minus the value" if source.direction == "complement" else "",
        source.settings,
    ]
    return "; ".join(part for part in parts if part)


def _group_tables(board: Board) -> Iterator[Table]:
    for name in dict.fromkeys(name for entry in board.entries for name in entry.groups):
        found = [entry.groups.get(name, {}) for entry in board.entries]
        shown = [m for m in board.metrics if any(m.name in row["metrics"] for own in found for row in own.values())]
        rows = [
            [
                Cell(f"{entry.label}: {value}"),
                *(Cell(Interval(**row["metrics"].get(metric.name, {"value": None})).text()) for metric in shown),
                Cell(str(row["n"])),
            ]
            for entry, own in zip(board.entries, found, strict=True)
            for value, row in own.items()
        ]
        yield Table([name, *map(arrow, shown), "n"], rows, f"{board.benchmark} by {name}")


def _board_json(board: Board) -> dict[str, Any]:
    return {
        "benchmark": board.benchmark,
        "signature": board.signature,
        "metrics": [metric.as_dict() for metric in board.metrics],
        "runs": [
            {
                "label": entry.label,
                "path": str(entry.run.path) if entry.run.path else None,
                "metrics": {name: value.as_dict() for name, value in entry.values.items()},
                "groups": entry.groups,
                "n_scored": len(entry.run.scored),
                "n_total": len(entry.run.rows),
                "failures": entry.run.failures,
                "checks": dict(entry.run.checks),
                "disqualified": entry.disqualified,
                "signature": entry.run.signature.long(),
            }
            for entry in board.entries
        ],
        "published": [
            {
                "model": row.model,
                "subset": row.subset,
                "values": dict(row.values),
                "doubtful": dict(row.doubtful),
                "source": _source(row),
            }
            for row in board.published
        ],
    }


def _board_rows(board: Board) -> Iterator[dict[str, Any]]:
    for entry in board.entries:
        common = {
            "benchmark": board.benchmark,
            "kind": "run",
            "label": entry.label,
            "flags": "; ".join(flag.text for flag in entry.flags),
            "signature": entry.run.signature.long(),
        }
        whole = {"n_scored": len(entry.run.scored), "n_total": len(entry.run.rows)}
        for metric in board.metrics:
            yield common | whole | _metric_row(metric, entry.values.get(metric.name, Interval(None)))
        for name, values in entry.groups.items():
            for value, row in values.items():
                place = {"group": name, "group_value": value, "n_scored": row["n"]}
                for metric in board.metrics:
                    if metric.name in row["metrics"]:
                        yield common | place | _metric_row(metric, Interval(**row["metrics"][metric.name]))
    better = {metric.name: metric.higher_is_better for metric in board.metrics}
    for published in board.published:
        common = {"benchmark": board.benchmark, "kind": "published", "label": _model(published)}
        for name, figure in published.values.items():
            place = {"metric": name, "higher_is_better": better.get(name), "value": figure}
            yield common | place | {"flags": published.doubtful.get(name), "source": _source(published)}


def _metric_row(metric: Metric, value: Interval) -> dict[str, Any]:
    return {"metric": metric.name, "higher_is_better": metric.higher_is_better, **value.as_dict()}
