"""Checkpoints side by side: what a method changed, what it cost, and whether the base merely talks less now.

One table per benchmark. Each checkpoint's metrics stand with their intervals, below them the paired difference to the
base with its interval; recall, cover, length and fluency stand beside every hallucination rate, and what the training
took. A collapsed model (empty or degenerate text) is flagged and listed last, however low its rates.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.analysis.comparison import Comparison, Effect, compare
from evalkit.errors import DataError, UsageError
from evalkit.files.json_values import json_value
from evalkit.metrics import Metric
from evalkit.reports.tables import Cell, Table, TableFormat, arrow, render, terminal_width
from evalkit.runs.checks import flags_of
from evalkit.runs.records import METRICS, read_manifest
from evalkit.runs.run import Run, load_run

COSTS = ("pairs", "steps", "seconds")  # fields of a card's training cost
DEGENERATE = ("empty", "repeated", "refused", "off_language")  # checks that make a text no description


def comparison_tables(
    base: Path,
    others: Sequence[Path],
    cards: Mapping[str, Path] | None = None,
    benchmarks: Sequence[str] | None = None,
) -> list[Table]:
    """One table per benchmark.

    Args:
        base: folder of the base's runs, one folder per benchmark below it.
        others: the same of the checkpoints.
        cards: label -> checkpoint folder, for the costs of training.
        benchmarks: which, None for all that the base was scored on.
    Raises:
        UsageError: if the base has no runs, or a checkpoint lacks one of them.
    """
    names = list(benchmarks or sorted(path.parent.name for path in base.glob(f"*/{METRICS}")))
    if not names:
        raise UsageError(f"{base}: no scored runs below it")
    tables = []
    for name in names:
        absent = [str(other) for other in others if not (other / name / METRICS).exists()]
        if absent:
            raise UsageError(f"{', '.join(absent)}: not scored on {name}")
        runs = [load_run(folder / name) for folder in (base, *others)]
        tables.append(comparison_table(runs, cards or {}))
    return tables


def imported_tasks(folders: Sequence[Path]) -> list[str]:
    """Tasks that another harness has run for all of these checkpoints (`evalkit import`), by name."""
    tasks = []
    for path in sorted(folders[0].glob(f"*/{METRICS}")):
        name = path.parent.name
        runs = [folder / name for folder in folders]
        if all((run / METRICS).exists() and read_manifest(run)["model"].get("engine") == "import" for run in runs):
            tasks.append(name)
    return tasks


def comparison_table(runs: Sequence[Run], cards: Mapping[str, Path]) -> Table:
    """The base (first) and its descendants on one benchmark; flagged ones last, alternative readings left out."""
    chosen = [metric for metric in runs[0].metrics if not metric.detail]
    result = compare(*runs, metrics=[metric.name for metric in chosen]) if len(runs) > 1 else None
    columns = ["checkpoint", *map(arrow, chosen), "fluent ↑", "n", *COSTS]
    rows = [_own_row(runs[0], chosen, cards)]
    order = sorted(range(1, len(runs)), key=lambda index: runs[index].disqualified)
    for index in order:
        rows.append(_own_row(runs[index], chosen, cards))
        assert result is not None  # there are others
        rows.append(_difference_row(result.pairs[index - 1].effects, len(columns)))
    return Table(columns, rows, runs[0].benchmark, _notes(runs, result))


def fluent_share(run: Run) -> float | None:
    """Percent of responses that are neither empty, repeated, refused nor in another language; None without text."""
    shares = run.checks["shares"]
    if any(shares[name] is None for name in DEGENERATE):
        return None
    return 100 * (1 - min(1.0, float(sum(shares[name] for name in DEGENERATE))))


def training_cost(checkpoint: Path | None) -> Mapping[str, Any]:
    """What the card of a checkpoint says its training took; empty without a card.

    Raises:
        DataError: if the card cannot be read.
    """
    card = checkpoint / "card.json" if checkpoint is not None else None
    if card is None or not card.is_file():
        return {}
    try:
        written = json_value(card.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{card}: not a checkpoint card: {error}") from error
    cost = written.get("cost") if isinstance(written, dict) else None
    return cost if isinstance(cost, dict) else {}


def render_all(tables: Sequence[Table], format: TableFormat = "terminal") -> str:
    """All tables as one text, no wider than the terminal if it goes to one."""
    return "\n\n".join(render(table, format, terminal_width()) for table in tables)


def _own_row(run: Run, metrics: Sequence[Metric], cards: Mapping[str, Path]) -> list[Cell]:
    values = run.intervals()
    fluent = fluent_share(run)
    cost = training_cost(cards.get(run.label))
    return [
        Cell(run.label + (" !" if run.disqualified else "")),
        *(Cell(values[metric.name].text()) for metric in metrics),
        Cell("-" if fluent is None else f"{fluent:.1f}"),
        Cell(f"{len(run.scored)}/{len(run.rows)}"),
        *(Cell(f"{cost[name]:,.0f}" if name in cost else "-") for name in COSTS),
    ]


def _difference_row(effects: Sequence[Effect], columns: int) -> list[Cell]:
    cells = [Cell("  minus base")]
    for effect in effects:
        text = effect.difference.text()
        sign = "+" if effect.difference.value is not None and effect.difference.value > 0 else ""
        cells.append(Cell(sign + text + (" *" if effect.significant() else "")))
    return cells + [Cell("")] * (columns - len(cells))


def _notes(runs: Sequence[Run], result: Comparison | None) -> list[str]:
    notes = [f"! {run.label}: {flag.text}" for run in runs for flag in flags_of(run.checks) if flag.disqualifies]
    if result is not None:
        for pair in result.pairs:
            own = [f"! {pair.other}: {w}" if w.startswith("a hallucination rate") else f"! {w}" for w in pair.warnings]
            notes += own + [f"{pair.other}: {placed.sentence()}" for placed in pair.fronts]
        notes.append(f"* p < 0.05 after Holm's correction over {result.tests} tests; differences are paired by item")
    return [*dict.fromkeys(notes), str(runs[0].signature)]
