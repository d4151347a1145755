"""Curves of a training: which numbers of its log belong into one picture, smoothed; scores per iteration."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dashboard.frames.overview import main_metrics
from dashboard.reading.cache import Row
from evalkit.reports.markup import clean
from evalkit.runs.run import RunSummary
from evalkit.schema import Json
from evalkit.statistics.intervals import Interval

NOT_CURVES = {"step", "epoch", "rows", "seconds", "stage", "iteration", "total_flos"}
FAMILIES = (  # title, what the names of its lines contain; the first that fits
    ("loss", ("loss",)),
    ("reward margin", ("margin",)),
    ("accuracy", ("accurac",)),
    ("reward", ("reward", "advantage", "return", "value")),
    ("KL", ("kl",)),
    ("length", ("length", "tokens", "words")),
    ("log-probability", ("logp",)),
    ("gradient norm", ("grad_norm",)),
    ("learning rate", ("learning_rate", "lr")),
)
SMOOTHED_OVER = 0.05  # share of the steps


def curves(steps: Sequence[Row]) -> list[tuple[str, pd.DataFrame]]:
    """Title and points (step, value, smooth, name) of each picture, in the order of FAMILIES; others by themselves.

    What never changes is not a curve: see `constants`.
    """
    families: dict[str, list[str]] = {title: [] for title, _ in FAMILIES}
    for name in dict.fromkeys(str(name) for row in steps for name, value in row.items() if _is_number(value)):
        if name not in NOT_CURVES:
            families.setdefault(_family(name), []).append(name)
    pictures = []
    for title, names in families.items():
        changing = [name for name in names if len(_values(steps, name)) != 1 or len(steps) == 1]
        points = [line for name in changing for line in _lines(steps, name)]
        if points:
            pictures.append((title, pd.DataFrame(points)))
    return pictures


def constants(steps: Sequence[Row]) -> dict[str, float]:
    """Numbers of the log that are the same in every line of it that has them."""
    names = dict.fromkeys(str(name) for row in steps for name, value in row.items() if _is_number(value))
    values_of = {clean(name): _values(steps, name) for name in names if name not in NOT_CURVES}
    return {name: float(next(iter(values))) for name, values in values_of.items() if len(values) == 1}


def _values(steps: Sequence[Row], name: str) -> set[float]:
    return {row[name] for row in steps if _is_number(row.get(name))}


def iterations_table(rows: Sequence[Row]) -> pd.DataFrame:
    """Numbers of an alignment's iterations: one line per number, one column per iteration."""
    numbered = {str(row.get("iteration", index)): row for index, row in enumerate(rows, 1)}
    names = dict.fromkeys(name for row in rows for name, value in row.items() if _is_number(value))
    lines = [
        {"": clean(name)} | {f"iteration {number}": row.get(name) for number, row in numbered.items()}
        for name in names
        if name != "iteration"
    ]
    return pd.DataFrame(lines)


def _family(name: str) -> str:
    lower = name.lower()
    return next((title for title, parts in FAMILIES if any(part in lower for part in parts)), clean(name))


def _lines(steps: Sequence[Row], name: str) -> list[dict[str, Json]]:
    """One line per stage and iteration; a later line of the same step replaces an earlier one."""
    parts: dict[str, dict[float, float]] = {}
    for number, row in enumerate(steps, 1):
        if _is_number(row.get(name)):
            step = row["step"] if _is_number(row.get("step")) else number
            parts.setdefault(_part(name, row), {})[float(step)] = float(row[name])
    lines = []
    for part, values in parts.items():
        series = pd.Series(values).sort_index()
        smooth = series.rolling(max(1, round(len(series) * SMOOTHED_OVER)), min_periods=1, center=True).mean()
        shown = zip(series.index.tolist(), series.tolist(), smooth.tolist(), strict=True)
        lines += [{"step": step, "value": value, "smooth": mean, "name": part} for step, value, mean in shown]
    return lines


def _part(name: str, row: Row) -> str:
    parts = [f"{key} {row[key]}" for key in ("stage", "iteration") if row.get(key) is not None]
    return clean(", ".join([name, *parts]))


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")


def iteration_scores(runs: Sequence[RunSummary], folder: Path) -> pd.DataFrame:
    """Main metrics of the iterations' checkpoints: benchmark, iteration, metric, value, low, high.

    Iterations are told by the model's path: runs of models below the alignment's folder whose path, below it, holds a
    number ("iteration_2").
    """
    rows = []
    for run in runs:
        model = (run.manifest.get("model") or {}).get("model")
        number = _iteration(model, folder)
        if number is None:
            continue
        for metric in filter(None, main_metrics(run.metrics)):
            value = run.values.get(metric.name, Interval(None))
            rows.append({"benchmark": run.benchmark, "iteration": number, "metric": metric.name, **_limits(value)})
    frame = pd.DataFrame(rows, columns=["benchmark", "iteration", "metric", "value", "low", "high"])
    return frame.dropna(subset=["value"]).sort_values("iteration", kind="stable")


def _iteration(model: Json, folder: Path) -> int | None:
    if not isinstance(model, str):
        return None
    try:
        below = Path(model).resolve().relative_to(folder.resolve())
    except (ValueError, OSError):
        return None
    numbers = re.findall(r"\d+", str(below))
    return int(numbers[-1]) if numbers else None


def _limits(value: Interval) -> dict[str, Json]:
    low = value.value if value.low is None else value.low
    return {"value": value.value, "low": low, "high": value.value if value.high is None else value.high}
