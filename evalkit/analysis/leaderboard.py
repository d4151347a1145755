"""Runs that were measured alike, side by side: ranked, flagged, the best marked only where it is significantly best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from evalkit.analysis.comparison import compare, distinct_labels
from evalkit.metrics import Metric
from evalkit.runs.checks import Flag, flags_of
from evalkit.runs.run import Run
from evalkit.runs.signature import differences
from evalkit.schema import Json
from evalkit.statistics.intervals import Interval


class Source(Protocol):
    """Where published figures come from."""

    @property
    def paper(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def table(self) -> str: ...
    @property
    def measured_by(self) -> str: ...
    @property
    def judge(self) -> str: ...
    @property
    def direction(self) -> str: ...
    @property
    def evidence(self) -> str: ...
    @property
    def settings(self) -> str: ...


class Published(Protocol):
    """A published row, handed in as data; `values` are in the direction of our metrics."""

    @property
    def benchmark(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def values(self) -> Mapping[str, float]: ...
    @property
    def doubtful(self) -> Mapping[str, str]: ...
    @property
    def subset(self) -> str: ...
    @property
    def source(self) -> Source: ...


@dataclass(frozen=True)
class Entry:
    """One run in a board.

    best    metrics in which it is significantly better than every other run that is not disqualified
    groups  group name -> value -> {"n", "metrics"}, as in metrics.json
    """

    label: str
    run: Run
    values: Mapping[str, Interval]
    flags: Sequence[Flag]
    best: frozenset[str] = frozenset()
    groups: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)

    @property
    def disqualified(self) -> bool:
        """Whether a flag keeps the run below the others."""
        return any(flag.disqualifies for flag in self.flags)


@dataclass(frozen=True)
class Board:
    """Runs of one protocol, the best first by the headline metric, and published rows beside them."""

    benchmark: str
    signature: str
    metrics: Sequence[Metric]
    entries: Sequence[Entry]
    published: Sequence[Published] = ()


def boards(runs: Sequence[Run], published: Sequence[Published] = (), mark_best: bool = True) -> list[Board]:
    """One board for each protocol among the runs: what was not measured alike never shares a table.

    Args:
        published: rows of any benchmarks; each board takes its own.
        mark_best: find out which differences are significant (costs a paired comparison for every two runs).
    """
    return [_board(alike, published, mark_best) for alike in _alike(runs)]


def _alike(runs: Sequence[Run]) -> list[list[Run]]:
    protocols: list[list[Run]] = []
    for run in runs:
        for alike in protocols:
            if all(not differences(other.signature, run.signature) for other in alike):
                alike.append(run)
                break
        else:
            protocols.append([run])
    return sorted(protocols, key=lambda alike: alike[0].benchmark)


def _board(runs: Sequence[Run], published: Sequence[Published], mark_best: bool) -> Board:
    entries = [
        Entry(label, run, values_of(run), flags_of(run.checks), groups=run.results.get("groups") or {})
        for label, run in zip(distinct_labels(runs), runs, strict=True)
    ]
    by_label = {entry.label: entry for entry in entries}
    headline = runs[0].metrics[0]
    order = ranked(
        list(by_label),
        {entry.label: entry.values[headline.name].value for entry in entries},
        headline,
        {entry.label: entry.disqualified for entry in entries},
    )
    best = _best(entries) if mark_best else {}
    placed = [replace(by_label[label], best=frozenset(best.get(label, ()))) for label in order]
    own = [row for row in published if row.benchmark == runs[0].benchmark]
    return Board(runs[0].benchmark, str(runs[0].signature), runs[0].metrics, placed, own)


def values_of(run: Run) -> dict[str, Interval]:
    """The run's metrics: those in metrics.json where it is there, else computed from the records."""
    stored = run.results.get("metrics")
    if stored:
        return {name: Interval(**fields) for name, fields in stored.items()}
    return run.intervals()


def _best(entries: Sequence[Entry]) -> dict[str, set[str]]:
    """Label -> metrics in which it significantly beats every other run that is not disqualified."""
    sound = {entry.label: entry.run for entry in entries if not entry.disqualified and entry.run.scored}
    if len(sound) < 2:
        return {}
    names = list(sound)
    relabelled = [
        Run({**run.manifest, "label": name}, run.rows, None) for name, run in sound.items()
    ]  # so that pairs carry the labels of the board
    wins: dict[str, dict[str, int]] = {name: {} for name in names}
    for pair in compare(*relabelled, against="all", force=True, groups=False).pairs:
        for effect in pair.effects:
            verdict = effect.verdict()
            if verdict in ("better", "worse"):
                winner = wins[pair.other if verdict == "better" else pair.base]
                winner[effect.metric.name] = winner.get(effect.metric.name, 0) + 1
    return {name: {metric for metric, count in won.items() if count == len(names) - 1} for name, won in wins.items()}


def ranked(
    names: Sequence[str], values: Mapping[str, float | None], metric: Metric, bad: Mapping[str, bool]
) -> list[str]:
    """Names from best to worst on a metric: disqualified ones after all others, undefined values last of each part."""
    sign = -1.0 if metric.higher_is_better else 1.0

    def place(name: str) -> tuple[Any, ...]:
        value = values[name]
        return bad.get(name, False), value is None, sign * (value or 0.0)

    return sorted(names, key=place)
