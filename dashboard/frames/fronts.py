"""Tables of fronts for charts: the cuts of several runs, and runs as single points."""

from collections.abc import Mapping, Sequence

import pandas as pd

from evalkit.analysis.front import WHOLE, RunFront, curve_points
from evalkit.analysis.standing import Placed
from evalkit.reports.markup import clean

CURVE_COLUMNS = ["run", "way", "cut", "step", "whole", "x", "y", "low", "high"]
POINT_COLUMNS = ["run", "x", "y", "verdict"]


def curves_frame(fronts: Mapping[str, RunFront], metric: str) -> pd.DataFrame:
    """Every defined point of the curves of some runs: x what is held equal, y the metric with its limits.

    What responses name before their first sentence ends is left out; between answers and constant answers lie
    mixtures, without a cut.

    Args:
        fronts: name of the run -> its front.
    """
    rows = []
    for name, front in fronts.items():
        known = next(one for one in front.compared if one.name == metric)
        points = {curve.name: curve_points(front, curve, known) for curve in front.curves}
        start = min((point.level for point in points.get("sentences", ()) if point.cut != 0), default=0.0)
        for way, own in points.items():
            for step, point in enumerate(own):
                if point.cut != 0 and point.level >= start:
                    figures = (point.level, point.value, point.low, point.high)
                    cut = None if point.cut is None else str(point.cut)
                    rows.append((clean(name), way, cut, step, point.cut == WHOLE, *figures))
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)


def points_frame(placed: Sequence[Placed], metric: str) -> pd.DataFrame:
    """Runs that stand beside a front, one row each."""
    rows = []
    for run in placed:
        for standing in run.standings:
            first = standing.positions[0]
            if first.metric.name == metric and first.level is not None and first.other is not None:
                rows.append((clean(run.other), first.level, first.other, standing.verdict))
    return pd.DataFrame(rows, columns=POINT_COLUMNS)
