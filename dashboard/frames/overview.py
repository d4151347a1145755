"""Tables of the overview: runs measured alike, their main metrics, the trade-off between them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from dashboard.reading.runs import RunInfo
from evalkit.analysis.leaderboard import ranked
from evalkit.metrics import Metric
from evalkit.reports.markup import clean
from evalkit.runs.signature import differences
from evalkit.statistics.intervals import Interval

# --- overview -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Protocol:
    """Runs that were measured alike, the best first."""

    benchmark: str
    metrics: Sequence[Metric]
    runs: Sequence[RunInfo]

    @property
    def signature(self) -> str:
        """The short signature that its runs share."""
        return clean(self.runs[0].signature.short())


def protocols(runs: Sequence[RunInfo]) -> list[Protocol]:
    """Runs by protocol: what was not measured alike never shares a table."""
    by_text: dict[str, list[RunInfo]] = {}
    for run in runs:
        by_text.setdefault(run.signature.short(), []).append(run)
    alike: list[list[RunInfo]] = []
    for group in by_text.values():  # signatures may differ in what is unknown to one of them
        for other in alike:
            if not any(differences(run.signature, group[0].signature) for run in _distinct(other)):
                other.extend(group)
                break
        else:
            alike.append(list(group))
    return sorted((_protocol(group) for group in alike), key=lambda found: (found.benchmark, -len(found.runs)))


def _distinct(runs: Sequence[RunInfo]) -> Iterable[RunInfo]:
    return {run.signature.short(): run for run in runs}.values()


def _protocol(runs: Sequence[RunInfo]) -> Protocol:
    by_name = {run.name: run for run in runs}
    headline = runs[0].metrics[0]
    values = {run.name: run.values.get(headline.name, Interval(None)).value for run in runs}
    order = ranked(list(by_name), values, headline, {run.name: run.disqualified for run in runs})
    return Protocol(runs[0].benchmark, runs[0].metrics, [by_name[name] for name in order])


def main_metrics(metrics: Sequence[Metric]) -> tuple[Metric, Metric | None]:
    """(the rate of hallucination, the quality beside it); without a rate the first metric and another quality."""
    shown = [metric for metric in metrics if not metric.detail]
    rates = [metric for metric in shown if metric.role == "rate" and metric.higher_is_better is False]
    first = rates[0] if rates else metrics[0]
    qualities = [m for m in shown if m.role == "quality" and m.higher_is_better and m is not first]
    percent = [metric for metric in qualities if metric.unit == "percent"]
    return first, next(iter(percent or qualities), None)


def trade_off(protocol: Protocol, rate: Metric, quality: Metric) -> pd.DataFrame:
    """Points of the plot of hallucination against recall, with the limits of both."""
    rows = []
    for run in protocol.runs:
        x, y = run.values.get(rate.name, Interval(None)), run.values.get(quality.name, Interval(None))
        if x.value is None or y.value is None:
            continue
        rows.append(
            {
                "model": run.label,
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
