"""Tables of the overview: the main metrics of runs measured alike, and the trade-off between them."""

from collections.abc import Sequence

import pandas as pd

from evalkit.analysis.leaderboard import Board
from evalkit.metrics import Metric
from evalkit.reports.markup import clean
from evalkit.statistics.intervals import Interval


def main_metrics(metrics: Sequence[Metric]) -> tuple[Metric, Metric | None]:
    """(the rate of hallucination, the quality beside it); without a rate the first metric and another quality."""
    shown = [metric for metric in metrics if not metric.detail]
    rates = [metric for metric in shown if metric.role == "rate" and metric.higher_is_better is False]
    first = rates[0] if rates else metrics[0]
    qualities = [m for m in shown if m.role == "quality" and m.higher_is_better and m is not first]
    percent = [metric for metric in qualities if metric.unit == "percent"]
    return first, next(iter(percent or qualities), None)


def trade_off(board: Board, rate: Metric, quality: Metric) -> pd.DataFrame:
    """Points of the plot of hallucination against recall, with the limits of both."""
    rows = []
    for run in board.runs:
        x, y = run.values.get(rate.name, Interval(None)), run.values.get(quality.name, Interval(None))
        if x.value is None or y.value is None:
            continue
        rows.append(
            {
                "model": clean(run.label),
                "run": run.name,
                "x": x.value,
                "x_low": x.value if x.low is None else x.low,
                "x_high": x.value if x.high is None else x.high,
                "y": y.value,
                "y_low": y.value if y.low is None else y.low,
                "y_high": y.value if y.high is None else y.high,
                "words": run.words,
                "flagged": "flagged" if run.disqualified else "sound",
                "note": "; ".join(clean(flag.text) for flag in run.flags),
            }
        )
    return pd.DataFrame(rows)
