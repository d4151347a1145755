"""Tables of a comparison: effects for the chart, items that changed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dashboard.frames.records import SHOWN_TEXT
from evalkit.analysis.comparison import Pair
from evalkit.metrics import Array, Metric, count_matrix
from evalkit.reports.markup import clean
from evalkit.reports.tables import arrow
from evalkit.runs.run import Run
from evalkit.statistics.intervals import evaluate


def effects_frame(pairs: Sequence[Pair]) -> pd.DataFrame:
    """Differences in percent or points for the chart: name, pair, value, low, high, verdict."""
    return pd.DataFrame(
        [
            {
                "name": arrow(effect.metric),
                "pair": clean(pair.other),
                "value": effect.difference.value,
                "low": effect.difference.value if effect.difference.low is None else effect.difference.low,
                "high": effect.difference.value if effect.difference.high is None else effect.difference.high,
                "verdict": effect.verdict(),
            }
            for pair in pairs
            for effect in pair.effects
            if effect.difference.value is not None and effect.metric.role != "length"
        ]
    )


def items_frame(base: Run, other: Run, changes: Sequence[str], wanted: str) -> pd.DataFrame:
    """Items of `other` that changed so: id, sample, both responses (cut), question."""
    theirs = {(row["id"], row["sample"]): row for row in base.rows}
    rows = []
    for row, change in zip(other.rows, changes, strict=True):
        if wanted in change.split():
            before = theirs[row["id"], row["sample"]]
            rows.append(
                {
                    "id": clean(row["id"]),
                    "sample": row["sample"],
                    "base": clean(before["response"]["text"] or "", SHOWN_TEXT),
                    "other": clean(row["response"]["text"] or "", SHOWN_TEXT),
                    "question": clean(row.get("question", ""), SHOWN_TEXT),
                }
            )
    return pd.DataFrame(rows, columns=["id", "sample", "base", "other", "question"])


def changes_against(run: Run, other: Run) -> list[str]:
    """For each row of a run what changed against another one, as words.

    "better", "worse" or "unchanged" by the first metric in which the sample's own values differ (rates first), "" where
    the other run has no such sample or one of them failed; followed by "reworded" where the responses differ.
    """
    metrics = [m for m in run.metrics if m.higher_is_better is not None and m.role != "length" and not m.detail]
    metrics.sort(key=lambda metric: metric.role != "rate")
    theirs = {(row["id"], row["sample"]): place for place, row in enumerate(other.rows)}
    our_values, their_values = own_values(run, metrics), own_values(other, metrics)
    changes = []
    for place, row in enumerate(run.rows):
        match = theirs.get((row["id"], row["sample"]))
        if match is None:
            changes.append("")
            continue
        words = [_direction(our_values[place], their_values[match])]
        if row["response"]["text"] != other.rows[match]["response"]["text"]:
            words.append("reworded")
        changes.append(" ".join(filter(None, words)))
    return changes


def own_values(run: Run, metrics: Sequence[Metric]) -> Array:
    """Value of each metric on each sample alone, higher is better, nan where undefined; shape (rows, metrics)."""
    if not metrics:
        return np.empty((len(run.rows), 0))
    names = list(dict.fromkeys(name for metric in metrics for name in metric.counts))
    matrix = count_matrix([row["score"]["counts"] or {} for row in run.rows], names)
    scored = np.array([row["score"]["counts"] is not None for row in run.rows], dtype=bool)
    values = np.stack([evaluate(m, names, matrix) * (1 if m.higher_is_better else -1) for m in metrics], axis=1)
    values[~scored] = np.nan
    return values


def _direction(ours: Array, theirs: Array) -> str:
    known = ~np.isnan(ours) & ~np.isnan(theirs)
    if not known.any():
        return ""
    differing = np.flatnonzero(known & (ours != theirs))
    if not len(differing):
        return "unchanged"
    return "better" if ours[differing[0]] > theirs[differing[0]] else "worse"
