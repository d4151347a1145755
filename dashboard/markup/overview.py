"""The overview as HTML: checkpoints x benchmarks, and the board of one benchmark."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from dashboard.frames.overview import main_metrics
from evalkit.analysis.leaderboard import Board
from evalkit.reports.boards import board_html, tags_of
from evalkit.reports.tables import arrow
from evalkit.reports.templating import rendered
from evalkit.statistics.intervals import Interval

AT_MOST = 3  # runs of one checkpoint and one protocol in a cell


def matrix_html(boards: Sequence[Board]) -> str:
    """Checkpoints x benchmarks: the rate of hallucination with the quality and length that belong beside it."""
    names = [board.benchmark for board in boards]
    columns = [(board, *main_metrics(board.metrics)) for board in boards]
    cells = {
        label: [
            [
                {
                    "run": run,
                    "rate": run.values.get(rate.name, Interval(None)),
                    "quality": None
                    if quality is None
                    else (quality.name, run.values.get(quality.name, Interval(None))),
                    "tags": tags_of(run),
                }
                for run in [run for run in board.runs if run.label == label][:AT_MOST]
            ]
            for board, rate, quality in columns
        ]
        for label in dict.fromkeys(run.label for board in boards for run in board.runs)
    }
    heads = [(board, arrow(rate), names.count(board.benchmark) > 1) for board, rate, _ in columns]
    return rendered("dashboard.markup", "matrix.html", heads=heads, rows=cells)


def overview_board(board: Board, details: bool) -> str:
    """All metrics of the runs of one protocol, the best first; below, marked: blind runs, baselines, published rows."""
    metrics = [metric for metric in board.metrics if details or not metric.detail]
    runs = [*board.runs, *(entry.run for entry in board.blind)]
    links: Mapping[str, str] = {run.name: f"samples?{urlencode({'run': run.name})}" for run in runs}
    return board_html(board, metrics, baselines=True, words=True, links=links)
