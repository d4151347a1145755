"""Reports of comparisons: effect with its interval first, p-value second; terminal, Markdown, LaTeX, CSV, JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Literal

from evalkit.analysis.comparison import Comparison, Effect, Pair
from evalkit.analysis.standing import placed_json
from evalkit.files.spreadsheet import csv_text
from evalkit.reports.tables import Cell, Table, arrow, render
from evalkit.statistics.intervals import Interval

ComparisonFormat = Literal["terminal", "markdown", "latex", "csv", "json"]
CSV_COLUMNS = (
    "benchmark", "base", "other", "group", "group_value", "metric", "higher_is_better", "base_value", "other_value",
    "difference", "low", "high", "p", "p_holm", "mcnemar_mid_p", "better", "worse", "unchanged", "items", "detectable",
    "verdict",
)  # fmt: skip


def comparison_report(
    comparison: Comparison,
    format: ComparisonFormat = "terminal",
    power: Sequence[float] | None = None,
    width: int | None = None,
) -> str:
    """A comparison as a report: effect and interval first, p-value second.

    Args:
        power: differences, in the metric's unit, for which to say how many items would show them; None leaves the
            table of what can be seen out.
        width: of the terminal, see `tables.render`.
    """
    if format == "json":
        return json.dumps(comparison_json(comparison, power or ()), ensure_ascii=False, indent=1)
    if format == "csv":
        return csv_text(_rows(comparison), CSV_COLUMNS).rstrip("\n")
    return "\n\n".join(render(part, format, width) for part in _tables(comparison, power))


def _tables(comparison: Comparison, power: Sequence[float] | None) -> Iterator[Table]:
    for pair in comparison.pairs:
        title = f"{comparison.benchmark}: {pair.base} → {pair.other}, {pair.items} of {pair.total} items scored in both"
        notes = [f"! differs in {difference}" for difference in pair.differing]
        notes += [f"! {warning}" for warning in pair.warnings]
        notes.append(
            f"difference = {pair.other} minus {pair.base}, {comparison.level:.0%} paired bootstrap over "
            f"{pair.effects[0].power.clusters} clusters; p: randomisation ({comparison.resamples:,} draws), "
            f"Holm over {comparison.tests} tests; bold or *: p Holm < {1 - comparison.level:.2g}"
        )
        notes += [placed.sentence() for placed in pair.fronts]
        notes += [one.sentence() for one in comparison.leakage if one.text_only == pair.other]
        notes.append(comparison.signature)
        columns = [
            "metric",
            pair.base,
            pair.other,
            "difference",
            "p",
            "p Holm",
            "McNemar",
            "better/worse/same",
            "verdict",
        ]
        yield Table(columns, [_effect_cells(effect) for effect in pair.effects], title, notes)
        if power is not None:
            yield _power_table(pair, power)
        for name, values in pair.groups.items():
            rows = [
                [Cell(f"{value}: {effect.metric.name}"), *_effect_cells(effect)[1:]]
                for value, effects in values.items()
                for effect in effects
                if effect.difference.value is not None
            ]
            yield Table([name, *columns[1:]], rows, f"{comparison.benchmark} by {name}: {pair.base} → {pair.other}")


def _effect_cells(effect: Effect) -> list[Cell]:
    items = "-" if effect.better is None else f"{effect.better}/{effect.worse}/{effect.unchanged}"
    return [
        Cell(arrow(effect.metric)),
        Cell(Interval(effect.base).text()),
        Cell(Interval(effect.other).text()),
        Cell(effect.difference.text(), effect.significant()),
        Cell(_p(effect.p)),
        Cell(_p(effect.p_holm)),
        Cell(_p(effect.mcnemar.mid_p if effect.mcnemar else None)),
        Cell(items),
        Cell(effect.verdict()),
    ]


def _power_table(pair: Pair, power: Sequence[float]) -> Table:
    rows = []
    for effect in pair.effects:
        power_of = effect.power
        seen = "-" if power_of.detectable is None else f"{power_of.detectable:.2f}"
        needed = ["-" if (n := power_of.items_for(size)) is None else f"{n:,}" for size in power]
        rows.append([Cell(arrow(effect.metric)), Cell(f"{power_of.items:,}"), Cell(seen), *map(Cell, needed)])
    columns = [
        "metric",
        "items",
        "smallest difference it can see",
        *(f"items for a difference of {size:g}" for size in power),
    ]
    first = pair.effects[0].power
    note = f"with probability {first.power:.0%} at level {first.alpha:.2g}, before any correction for several tests"
    return Table(columns, rows, f"power: {pair.base} → {pair.other}", [note])


def _p(value: float | None) -> str:
    return "-" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def comparison_json(comparison: Comparison, power: Sequence[float] = ()) -> dict[str, Any]:
    """A comparison as JSON."""
    return {
        "benchmark": comparison.benchmark,
        "signature": comparison.signature,
        "level": comparison.level,
        "resamples": comparison.resamples,
        "seed": comparison.seed,
        "tests": comparison.tests,
        "leakage": [asdict(one) for one in comparison.leakage],
        "pairs": [
            {
                "base": pair.base,
                "other": pair.other,
                "items": {"both": pair.items, "base": pair.n_base, "other": pair.n_other, "total": pair.total},
                "differing": [str(difference) for difference in pair.differing],
                "warnings": list(pair.warnings),
                "fronts": [placed_json(placed) for placed in pair.fronts],
                "effects": [_effect_row(effect, power) for effect in pair.effects],
                "groups": {
                    name: {
                        value: [_effect_row(effect, power) for effect in effects] for value, effects in values.items()
                    }
                    for name, values in pair.groups.items()
                },
            }
            for pair in comparison.pairs
        ],
    }


def _rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    for pair in comparison.pairs:
        common = {"benchmark": comparison.benchmark, "base": pair.base, "other": pair.other}
        yield from (common | _effect_row(effect) for effect in pair.effects)
        for name, values in pair.groups.items():
            for value, effects in values.items():
                place = {"group": name, "group_value": value}
                yield from (common | place | _effect_row(effect) for effect in effects)


def _effect_row(effect: Effect, power: Sequence[float] = ()) -> dict[str, Any]:
    return {
        "metric": effect.metric.name,
        "higher_is_better": effect.metric.higher_is_better,
        "base_value": effect.base,
        "other_value": effect.other,
        "difference": effect.difference.value,
        "low": effect.difference.low,
        "high": effect.difference.high,
        "p": effect.p,
        "p_holm": effect.p_holm,
        "mcnemar_mid_p": effect.mcnemar.mid_p if effect.mcnemar else None,
        "better": effect.better,
        "worse": effect.worse,
        "unchanged": effect.unchanged,
        "items": effect.power.items,
        "detectable": effect.power.detectable,
        "verdict": effect.verdict(),
    } | ({"items_for": {f"{size:g}": effect.power.items_for(size) for size in power}} if power else {})
