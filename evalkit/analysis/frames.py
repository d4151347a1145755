"""Run directories as pandas tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.runs.run import Run, cluster_of, failed_stage, find_runs, load_run

if TYPE_CHECKING:
    import pandas

SAMPLE_COLUMNS = (
    "run", "benchmark", "model", "id", "sample", "cluster", "question", "response", "finish", "failed", "failure",
)  # fmt: skip
METRIC_COLUMNS = (
    "run", "benchmark", "model", "metric", "value", "low", "high", "method", "higher_is_better", "unit", "role",
    "n_scored", "n_total", "disqualified", "signature",
)  # fmt: skip


def load_runs(*folders: Path | str) -> "pandas.DataFrame":
    """All samples of the runs at or below folders, one row each.

    Columns: run, benchmark, model, id, sample, cluster, question, response, finish, failed (stage or None), failure,
    then `group.<name>` and `count.<name>` of every group and count there is; no count where the sample failed.

    Raises:
        RecordError: if a folder does not exist, or a run cannot be read.
    """
    import pandas

    rows = [row for run in _runs(folders) for row in _sample_rows(run)]
    extra = dict.fromkeys(name for row in rows for name in row if name not in SAMPLE_COLUMNS)
    return pandas.DataFrame(rows, columns=[*SAMPLE_COLUMNS, *extra])


def load_metrics(*folders: Path | str) -> "pandas.DataFrame":
    """All metrics of the runs at or below folders with their intervals, one row per run and metric.

    Raises:
        RecordError: if a folder does not exist, or a run cannot be read.
    """
    import pandas

    return pandas.DataFrame([row for run in _runs(folders) for row in _metric_rows(run)], columns=list(METRIC_COLUMNS))


def _runs(folders: Sequence[Path | str]) -> list[Run]:
    return [load_run(path) for path in find_runs(*folders)]


def _sample_rows(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "run": str(run.path),
            "benchmark": run.benchmark,
            "model": run.label,
            "id": row["id"],
            "sample": row["sample"],
            "cluster": cluster_of(row),
            "question": row["question"],
            "response": row["response"]["text"],
            "finish": row["response"].get("finish"),
            "failed": failed_stage(row),
            "failure": row["score"]["failure"],
            **{f"group.{name}": value for name, value in (row.get("groups") or {}).items()},
            **{f"count.{name}": value for name, value in (row["score"]["counts"] or {}).items()},
        }
        for row in run.rows
    ]


def _metric_rows(run: Run) -> list[dict[str, Any]]:
    values = run.values
    return [
        {
            "run": str(run.path),
            "benchmark": run.benchmark,
            "model": run.label,
            "metric": metric.name,
            **values[metric.name].as_dict(),
            "higher_is_better": metric.higher_is_better,
            "unit": metric.unit,
            "role": metric.role,
            "n_scored": len(run.scored),
            "n_total": len(run.rows),
            "disqualified": run.disqualified,
            "signature": run.signature.long(),
        }
        for metric in run.metrics
        if metric.name in values
    ]
