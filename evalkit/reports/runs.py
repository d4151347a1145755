"""Reports of runs: terminal, Markdown, LaTeX, CSV, JSON.

Every number has its interval, the number of samples behind it and its signature. Runs that were not measured alike
stand in tables of their own; published figures stand in rows of their own, with their source.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from evalkit.analysis.leaderboard import Board, Entry, ablation, boards
from evalkit.analysis.published import PublishedRow
from evalkit.errors import UsageError
from evalkit.files.spreadsheet import csv_text
from evalkit.metrics import Metric
from evalkit.reports.boards import BoardRow, board_rows
from evalkit.reports.model_card import model_card
from evalkit.reports.tables import Cell, Table, arrow, render
from evalkit.runs.run import Run, load_run
from evalkit.statistics.intervals import LEVEL, Interval

Format = Literal["terminal", "markdown", "latex", "csv", "json", "card"]
CSV_COLUMNS = (
    "benchmark", "kind", "label", "group", "group_value", "metric", "higher_is_better", "value", "low", "high",
    "method", "n_scored", "n_total", "flags", "signature", "source",
)  # fmt: skip
OVERVIEW_COLUMNS = (*CSV_COLUMNS, "run", "failed", "words")


def table(paths: Sequence[Path | str], groups: bool = False, signatures: bool = False, width: int | None = None) -> str:
    """The terminal report of run directories."""
    return report([load_run(path) for path in paths], "terminal", groups, signatures, width=width)


def report(
    runs: Sequence[Run],
    format: Format = "terminal",
    groups: bool = False,
    signatures: bool = False,
    published: Sequence[PublishedRow] = (),
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
        return boards_csv(shown)
    if format == "card":
        return model_card(runs)
    return "\n\n".join(
        render(part, format, width) for board in shown for part in _board_tables(board, groups, signatures)
    )


def _board_tables(board: Board, groups: bool, signatures: bool) -> Iterator[Table]:
    yield board_table(board, baselines=True, signatures=signatures)
    details = [metric for metric in board.metrics if metric.detail and _is_measured(board, metric)]
    if details:
        rows = [_cells(row) for row in board_rows(board, details) if row.kind == "run"]
        title, notes = f"{board.benchmark}: other readings", _changed_ranks(board, details)
        yield Table(["model", *map(arrow, details), "n", "failed"], rows, title, notes)
    if groups:
        yield from _group_tables(board)


def _changed_ranks(board: Board, details: Sequence[Metric]) -> list[str]:
    """Where another reading of the headline metric (other labels, another reader) puts the runs in another order."""
    headline = board.metrics[0]
    notes = []
    first = _ranks(board, headline)
    for metric in details:
        ranks = _ranks(board, metric)
        moved = [name for name in first if name in ranks and ranks[name] != first[name]]
        if metric.name.startswith(f"{headline.name}_") and moved:
            moves = ", ".join(f"{name} {first[name]} -> {ranks[name]}" for name in moved)
            notes.append(f"ranks that change from {headline.name} to {metric.name}: {moves}")
    return notes


def _ranks(board: Board, metric: Metric) -> dict[str, int]:
    """Label -> rank of the runs by one metric, the best first; equal values share a rank."""
    values = {entry.label: entry.run.values.get(metric.name, Interval(None)).value for entry in board.entries}
    known = {label: value for label, value in values.items() if value is not None}
    if metric.higher_is_better is None:
        return {}
    sign = 1 if metric.higher_is_better else -1
    return {label: 1 + sum(sign * other > sign * value for other in known.values()) for label, value in known.items()}


def _is_measured(board: Board, metric: Metric) -> bool:
    """Whether a metric has a value in any run: the checks of a judge that nobody asked for take no column."""
    return any(entry.run.values.get(metric.name, Interval(None)).value is not None for entry in board.entries)


def board_table(
    board: Board, *, details: bool = False, baselines: bool = False, words: bool = False, signatures: bool = False
) -> Table:
    """The main table of a board with its notes.

    Args:
        details: also the alternative readings of metrics, as columns.
        baselines: also what constant answers reach.
        words: also the mean length of responses.
        signatures: long signatures, one per run, instead of the one they share.
    """
    metrics = [metric for metric in board.metrics if details or not metric.detail]
    columns = ["model", *map(arrow, metrics), *(["words"] if words else []), "n", "failed"]
    sources = {source: number for number, source in enumerate(dict.fromkeys(str(r.source) for r in board.published), 1)}
    rows = [_cells(row, sources, words) for row in board_rows(board, metrics, baselines)]
    notes = [_legend(metrics)]
    notes += [f"! {entry.label}: {flag.text}" for entry in board.entries for flag in entry.flags]
    notes += [f"[{number}] {source}" for source, number in sources.items()]
    notes += [f"? {row.name}: {name}: {doubt}" for row in board.published for name, doubt in row.doubtful.items()]
    if board.blind:
        notes.append("blind: the model did not see the image; not ranked")
    if any(entry.best for entry in board.entries):
        notes.append("bold or *: better than every other run here, p < 0.05 after Holm's correction")
    if signatures:
        notes += [f"{entry.label}: {entry.run.signature.long()}" for entry in (*board.entries, *board.blind)]
    else:
        notes.append(board.signature)
    return Table(columns, rows, board.benchmark, notes)


def _legend(metrics: Sequence[Metric]) -> str:
    others = "".join(f", {metric.name} in {metric.unit}" for metric in metrics if metric.unit != "percent")
    return f"in brackets: {LEVEL:.0%} interval; values in %{others}"


def _cells(row: BoardRow, sources: Mapping[str, int] | None = None, words: bool = False) -> list[Cell]:
    """A row of a board; `sources` numbers what published rows refer to."""
    name = row.label + (" !" if row.tags else "")
    if row.kind == "published":
        name = f"published: {row.label} [{(sources or {})[row.source]}]"
    elif row.kind == "baseline":
        name = f"baseline: {row.label}"
    elif row.kind == "blind":
        name = f"blind: {row.label} ({row.source})"
    figures = [Cell(str(figure), figure.best) for figure in row.figures]
    return [Cell(name), *figures, *([Cell(row.words)] if words else []), Cell(row.n), Cell(row.failed)]


def _group_tables(board: Board) -> Iterator[Table]:
    for name in dict.fromkeys(name for entry in board.entries for name in entry.groups):
        groups = [entry.groups.get(name, {}) for entry in board.entries]
        shown = [m for m in board.metrics if any(m.name in row["metrics"] for own in groups for row in own.values())]
        rows = [
            [
                Cell(f"{entry.label}: {value}"),
                *(Cell(Interval(**row["metrics"].get(metric.name, {"value": None})).text()) for metric in shown),
                Cell(str(row["n"])),
            ]
            for entry, own in zip(board.entries, groups, strict=True)
            for value, row in own.items()
        ]
        yield Table([name, *map(arrow, shown), "n"], rows, f"{board.benchmark} by {name}")


def boards_csv(shown: Sequence[Board], overview: bool = False) -> str:
    """Every number of some boards, one per line; for the overview also baselines and the runs' names."""
    rows = (row for board in shown for row in _csv_rows(board, overview))
    return csv_text(rows, OVERVIEW_COLUMNS if overview else CSV_COLUMNS).rstrip("\n")


def _board_json(board: Board) -> dict[str, Any]:
    return {
        "benchmark": board.benchmark,
        "signature": board.signature,
        "metrics": [metric.as_dict() for metric in board.metrics],
        "runs": [_entry_json(entry) for entry in board.entries],
        "blind": [_entry_json(entry) | {"shown": ablation(entry.run)} for entry in board.blind],
        "published": [
            {
                "model": row.model,
                "subset": row.subset,
                "values": dict(row.values),
                "doubtful": dict(row.doubtful),
                "source": str(row.source),
            }
            for row in board.published
        ],
    }


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "label": entry.label,
        "path": str(entry.run.path) if entry.run.path else None,
        "metrics": {name: value.as_dict() for name, value in entry.values.items()},
        "groups": entry.groups,
        **dict(zip(("n_scored", "n_total"), entry.run.counted, strict=True)),
        "failures": entry.run.failures,
        "checks": dict(entry.run.checks),
        "disqualified": entry.disqualified,
        "signature": entry.run.signature.long(),
    }


def _csv_rows(board: Board, baselines: bool) -> Iterator[dict[str, Any]]:
    for kind, entry in [("run", entry) for entry in board.entries] + [("blind", entry) for entry in board.blind]:
        common = {
            "benchmark": board.benchmark,
            "kind": kind,
            "label": entry.label,
            "flags": "; ".join(flag.text for flag in entry.flags),
            "signature": entry.run.signature.long(),
            "failed": sum(entry.run.failures.values()),
            "words": entry.run.words,
            "run": entry.run.name or entry.run.path,
        }
        whole = dict(zip(("n_scored", "n_total"), entry.run.counted, strict=True))
        for metric in board.metrics:
            yield common | whole | _metric_row(metric, entry.values.get(metric.name, Interval(None)))
        for name, values in entry.groups.items():
            for value, row in values.items():
                place = {"group": name, "group_value": value, "n_scored": row["n"]}
                for metric in board.metrics:
                    if metric.name in row["metrics"]:
                        yield common | place | _metric_row(metric, Interval(**row["metrics"][metric.name]))
    better = {metric.name: metric.higher_is_better for metric in board.metrics}
    for name, values in board.baselines.items() if baselines else ():
        own = {"benchmark": board.benchmark, "kind": "baseline", "label": name}
        for figure, reached in values.items():
            yield own | {"metric": figure, "higher_is_better": better.get(figure), "value": reached}
    for published in board.published:
        common = {"benchmark": board.benchmark, "kind": "published", "label": published.name}
        for name, printed in published.values.items():
            place = {"metric": name, "higher_is_better": better.get(name), "value": printed}
            yield common | place | {"flags": published.doubtful.get(name), "source": str(published.source)}


def _metric_row(metric: Metric, value: Interval) -> dict[str, Any]:
    return {"metric": metric.name, "higher_is_better": metric.higher_is_better, **value.as_dict()}
