"""Reports of fronts: the base cut ever later, and which runs lie beyond it; terminal, Markdown, LaTeX, CSV, JSON."""

import json
from collections.abc import Iterator, Sequence

from evalkit.analysis.front import RunFront
from evalkit.analysis.standing import Placed, described, placed_json, signed
from evalkit.files.spreadsheet import csv_text
from evalkit.reports.comparisons import ComparisonFormat
from evalkit.reports.tables import Cell, Table, arrow, render
from evalkit.schema import Json
from evalkit.statistics.fronts import Position, Standing
from evalkit.statistics.intervals import Interval

CSV_COLUMNS = (
    "base", "other", "items", "metric", "at", "level", "other_value", "front", "base_value", "difference", "low",
    "high", "reached", "verdict",
)  # fmt: skip
VERDICTS = {"beyond": "beyond", "on": "on the front", "behind": "behind", "undefined": "undefined"}
OUTSIDE = {1: ", and better", 0: "", -1: ", and worse"}  # than the base's whole responses


def fronts_report(
    base: str,
    signature: str,
    fronts: Sequence[tuple[RunFront, Sequence[Placed]]],
    format: ComparisonFormat = "terminal",
    width: int | None = None,
) -> str:
    """Fronts of a base with the runs beside them.

    Args:
        base: its name.
        signature: of the base.
        fronts: each with the runs placed beside it.
        width: of the terminal, see `tables.render`.
    """
    if format == "json":
        return json.dumps(
            [fronts_json(base, signature, front, placed) for front, placed in fronts], ensure_ascii=False, indent=1
        )
    if format == "csv":
        return csv_text([row for _, placed in fronts for run in placed for row in _rows(run)], CSV_COLUMNS).rstrip("\n")
    tables = [table for front, placed in fronts for table in front_tables(base, signature, front, placed)]
    return "\n\n".join(render(table, format, width) for table in tables)


def front_tables(base: str, signature: str, front: RunFront, placed: Sequence[Placed]) -> Iterator[Table]:
    """A table per curve, and one of the runs."""
    for curve in front.curves:
        shift = front.front.answers is not None
        title = f"{base}: its answers shifted blindly" if shift else f"{base} cut after n {curve.name}"
        points = front.points[curve.name]
        rows = [
            [Cell(str(cut)), *(Cell(point[metric.name].text()) for metric in front.metrics)]
            for cut, point in zip(curve.cuts, points, strict=True)
        ]
        columns = ["answers" if shift else curve.name, *map(arrow, front.metrics)]
        yield Table(
            columns,
            rows,
            title,
            [] if placed else [f"{len(front.keys)} response{'s' if len(front.keys) != 1 else ''}", signature],
        )
    if placed:
        yield standings_table(base, signature, placed)


def standings_table(base: str, signature: str, placed: Sequence[Placed]) -> Table:
    """Which runs lie beyond the front of a base, in every compared metric."""
    first = placed[0]
    paths = [position.path for position in first.headline.positions]
    at = first.at.name
    columns = ["run", "metric", at, "run", f"base at that {at}", *(f"difference, {path}" for path in paths), "verdict"]
    rows = []
    for run in placed:
        for standing in run.standings:
            start = standing.positions[0]
            rows.append(
                [
                    Cell(run.other),
                    Cell(arrow(start.metric)),
                    Cell(Interval(start.level).text()),
                    Cell(Interval(start.other).text()),
                    Cell(Interval(start.base).text()),
                    *(Cell(signed(position.difference), position.side == 1) for position in standing.positions),
                    Cell(verdict_text(standing, at)),
                ]
            )
    notes = [f"{run.other}: {described(run, run.headline)}" for run in placed]
    notes.append(
        f"paired bootstrap of run minus base at the run's own {at}, which is resampled with everything else; beyond: "
        "below every curve, behind: above the first; bold or *: the interval lies on the better side of 0"
    )
    return Table(
        columns, rows, f"beside {base} that stops earlier, {first.items} items scored in both", [*notes, signature]
    )


def verdict_text(standing: Standing, at: str) -> str:
    """A verdict in a few words: "beyond", "on the front", "behind", "higher recall, and better"."""
    if standing.verdict != "outside":
        return VERDICTS[standing.verdict]
    return f"higher {at}{OUTSIDE[standing.positions[0].side]}"


def fronts_json(base: str, signature: str, front: RunFront, placed: Sequence[Placed]) -> dict[str, Json]:
    """A front with the runs beside it, as JSON."""
    return {
        "base": base,
        "signature": signature,
        "at": front.front.at,
        "responses": len(front.keys),
        "curves": {
            curve.name: [
                {"cut": cut, **{name: value.as_dict() for name, value in point.items()}}
                for cut, point in zip(curve.cuts, front.points[curve.name], strict=True)
            ]
            for curve in front.curves
        },
        "runs": [placed_json(run) for run in placed],
    }


def _rows(run: Placed) -> Iterator[dict[str, Json]]:
    for standing in run.standings:
        for position in standing.positions:
            yield {
                "base": run.base,
                "other": run.other,
                "items": run.items,
                "at": run.at.name,
                "verdict": standing.verdict,
            } | _position_row(position)


def _position_row(position: Position) -> dict[str, Json]:
    return {
        "metric": position.metric.name,
        "level": position.level,
        "other_value": position.other,
        "front": position.path,
        "base_value": position.base,
        "difference": position.difference.value,
        "low": position.difference.low,
        "high": position.difference.high,
        "reached": position.reached,
    }
