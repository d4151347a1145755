"""The snippet of a model card: a run's figures as YAML front matter."""

import json
from collections.abc import Sequence

from evalkit import __version__
from evalkit.analysis.leaderboard import boards
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
