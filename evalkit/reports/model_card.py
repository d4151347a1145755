"""A model's page on the Hub: a run's figures as YAML front matter, or as a file of evaluation results."""

import json
from collections.abc import Mapping, Sequence

from evalkit import __version__
from evalkit.analysis.leaderboard import boards
from evalkit.errors import UsageError
from evalkit.reports.tables import arrow, one_line
from evalkit.runs.run import Run
from evalkit.statistics.intervals import Interval


def model_card(runs: Sequence[Run]) -> str:
    """YAML for the head of a model card (`model-index`), one model per label."""
    lines = ["model-index:"]
    for label in dict.fromkeys(run.label for run in runs):
        lines += [f"- name: {_yaml(label)}", "  results:"]
        for run in runs:
            if run.label == label:
                lines += _card_result(run)
    return "\n".join(lines)


def _card_result(run: Run) -> list[str]:
    (board,) = boards([run], mark_best=False)
    (entry,) = board.entries
    lines = [
        "  - task:",
        "      type: image-text-to-text",
        "    dataset:",
        f"      name: {_yaml(run.benchmark)}",
        f"      type: {_yaml(run.benchmark)}",
        "    metrics:",
    ]
    for metric in run.metrics:
        value = entry.values.get(metric.name, Interval(None))
        if value.value is None:
            continue
        limits = "" if value.low is None else f", 95 % interval {value.low:.2f} to {value.high:.2f}"
        scored = f"n = {len(run.scored)}/{len(run.rows)}"
        lines += [
            f"    - name: {_yaml(f'{arrow(metric)} ({metric.unit}{limits}, {scored})')}",
            f"      type: {_yaml(metric.name)}",
            f"      value: {value.value:.4g}",
        ]
    source = f"hallu-evalkit {__version__}: {run.signature.short()}"
    lines += ["    source:", f"      name: {_yaml(source)}"]
    return lines + [f"    # {one_line(flag.text)}" for flag in entry.flags]


def _yaml(text: str) -> str:
    return json.dumps(one_line(text), ensure_ascii=False)  # a JSON string is a YAML string


def evaluation_results(runs: Sequence[Run], datasets: Mapping[str, str]) -> str:
    """YAML for a file in `.eval_results/` of a model's repository on the Hub, shown beside a benchmark's data set.

    One entry per metric: dataset.id, dataset.task_id (the metric), value; notes hold interval, n and signature.

    Args:
        runs: of one model.
        datasets: benchmark -> data set on the Hub whose page collects results ("org/name").
    Raises:
        UsageError: if the runs are of several models, or none of a benchmark that a data set is named for.
    """
    labels = sorted({run.label for run in runs})
    if len(labels) != 1:
        raise UsageError(f"evaluation results belong to one model's repository; these runs are of {', '.join(labels)}")
    lines: list[str] = []
    for run in runs:
        if run.benchmark not in datasets:
            continue
        scored = "n = {}/{}".format(*run.counted)
        for metric in run.metrics:
            value = run.values.get(metric.name, Interval(None))
            if value.value is None or metric.detail:
                continue
            limits = "" if value.low is None else f"95 % interval {value.low:.2f} to {value.high:.2f}, "
            better = {True: ", higher is better", False: ", lower is better", None: ""}[metric.higher_is_better]
            lines += [
                "- dataset:",
                f"    id: {_yaml(datasets[run.benchmark])}",
                f"    task_id: {_yaml(metric.name)}",
                f"  value: {value.value:.4g}",
                f"  notes: {_yaml(f'{metric.unit}{better}; {limits}{scored}; {run.signature.short()}')}",
            ]
    if not lines:
        raise UsageError(f"no run of {', '.join(datasets)} among these")
    return "\n".join(lines)
