"""The rows of a board, once for every medium: runs, what constant answers reach, published figures. And as HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evalkit.analysis.leaderboard import Board, Entry, ablation
from evalkit.metrics import Metric
from evalkit.reports.tables import arrow
from evalkit.reports.templating import rendered
from evalkit.runs.run import RunSummary
from evalkit.statistics.intervals import Interval

NONE = "-"


@dataclass(frozen=True)
class Figure:
    """A value as it is printed; `limits` "" without an interval; bold where it is significantly the best."""

    text: str = NONE
    limits: str = ""
    best: bool = False

    def __str__(self) -> str:
        return " ".join(filter(None, (self.text, self.limits)))


@dataclass(frozen=True)
class BoardRow:
    """One row of a board.

    source  where the figures come from, of baselines and published rows; of blind ones what was shown for the image
    run     None for rows that are no runs
    """

    kind: Literal["run", "blind", "baseline", "published"]
    label: str
    figures: Sequence[Figure]
    n: str = NONE
    failed: str = NONE
    words: str = NONE
    source: str = ""
    run: RunSummary | None = None

    @property
    def tags(self) -> list[tuple[str, int, str, bool]]:
        """See `tags_of`."""
        return tags_of(self.run) if self.run is not None and self.kind == "run" else []


def tags_of(run: RunSummary) -> list[tuple[str, int, str, bool]]:
    """One per kind of flag, the disqualifying ones first: (words, how many, sentences, whether it disqualifies)."""
    kinds: dict[tuple[bool, str], list[str]] = {}
    for flag in run.flags:
        kinds.setdefault((not flag.disqualifies, flag.kind), []).append(flag.text)
    ordered = sorted(kinds.items(), key=lambda entry: entry[0][0])
    return [(kind.replace("_", " "), len(texts), "; ".join(texts), not note) for (note, kind), texts in ordered]


def board_rows(board: Board, metrics: Sequence[Metric], baselines: bool = False) -> list[BoardRow]:
    """The rows of a board in order, one figure per metric: runs, blind runs, baselines if asked for, published rows."""
    rows = [_run_row("run", entry, metrics) for entry in board.entries]
    rows += [_run_row("blind", entry, metrics) for entry in board.blind]
    for name, values in board.baselines.items() if baselines else ():
        rounded = {metric: round(value, 1) for metric, value in values.items() if isinstance(value, int | float)}
        rows.append(BoardRow("baseline", name, _printed(rounded, metrics), source="constant answers"))
    for row in board.published:
        rows.append(BoardRow("published", row.name, _printed(row.values, metrics), source=str(row.source)))
    return rows


def _run_row(kind: Literal["run", "blind"], entry: Entry, metrics: Sequence[Metric]) -> BoardRow:
    return BoardRow(
        kind,
        entry.label,
        [_figure(entry.values.get(metric.name), metric.name in entry.best) for metric in metrics],
        "{}/{}".format(*entry.run.counted),
        ", ".join(f"{stage} {count}" for stage, count in entry.run.failures.items()) or NONE,
        NONE if entry.run.words is None else f"{entry.run.words:.1f}",
        source=ablation(entry.run) or "",
        run=entry.run,
    )


def _figure(value: Interval | None, best: bool) -> Figure:
    return Figure() if value is None else Figure(value.value_text(), value.limits_text(), best)


def _printed(values: Mapping[str, object], metrics: Sequence[Metric]) -> list[Figure]:
    """Figures as printed, with one decimal at least."""
    shown = [values.get(metric.name) for metric in metrics]
    return [
        Figure(f"{value:.1f}" if round(value, 1) == value else f"{value:g}")
        if isinstance(value, int | float)
        else Figure()
        for value in shown
    ]


def board_html(
    board: Board,
    metrics: Sequence[Metric],
    *,
    baselines: bool = False,
    words: bool = False,
    links: Mapping[str, str] | None = None,
) -> str:
    """A board as an HTML table.

    Args:
        metrics: the columns.
        baselines: also what constant answers reach.
        words: also the mean length of responses.
        links: name of a run -> address that its label leads to; the name is then shown below.
    """
    return rendered(
        "evalkit.reports",
        "board.html",
        rows=board_rows(board, metrics, baselines),
        heads=[arrow(metric) for metric in metrics],
        words=words,
        links=links,
        none_text=NONE,
    )
