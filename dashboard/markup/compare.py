"""Tables of a comparison."""

from collections.abc import Sequence

from evalkit.analysis.comparison import Effect
from evalkit.reports.markup import escaped
from evalkit.reports.tables import arrow
from evalkit.statistics.intervals import Interval


def effects_html(effects: Sequence[Effect], base: str, other: str, groups: Sequence[str] = ()) -> str:
    """Effects as an HTML table; with `groups`, the group value of each effect in a first column."""
    head = ("<th>group</th><th class='hk-left'>metric</th>" if groups else "<th>metric</th>") + (
        f"<th>{escaped(base)}</th><th>{escaped(other)}</th><th>difference</th><th>p (Holm)</th>"
        "<th>better / worse / same</th><th>verdict</th>"
    )
    rows = []
    for index, effect in enumerate(effects):
        if groups and effect.difference.value is None:
            continue  # most metrics are undefined in most groups
        first = f"<td>{escaped(groups[index])}</td>" if groups else ""
        name = f"<td class='hk-left hk-whole'>{escaped(arrow(effect.metric))}</td>"
        verdict = effect.verdict()
        kind = f" class='hk-{verdict}'" if verdict in ("better", "worse") else ""
        rows.append(
            f"<tr>{first}{name}<td>{figure(effect.base)}</td><td>{figure(effect.other)}</td>"
            f"<td><b>{signed_html(effect.difference)}</b></td><td>{_p(effect.p_holm)}</td>"
            f"<td>{_items(effect)}</td><td{kind}>{escaped(verdict)}</td></tr>"
        )
    table = f"<table class='hk-table'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<div class='hk-scroll'>{table}</div>"


def figure(value: float | None) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None else f"{value:.1f}"


def signed_html(difference: Interval) -> str:
    """A difference with its sign, and its limits smaller."""
    if difference.value is None:
        return "–"
    text = f"{difference.value:+.1f}"
    if difference.low is None or difference.high is None:
        return text
    return f'{text} <span class="hk-limits">[{difference.low:+.1f}, {difference.high:+.1f}]</span>'


def _p(value: float | None) -> str:
    return "–" if value is None else "&lt; 0.001" if value < 0.001 else f"{value:.3f}"


def _items(effect: Effect) -> str:
    return "–" if effect.better is None else f"{effect.better:,} / {effect.worse:,} / {effect.unchanged:,}"
