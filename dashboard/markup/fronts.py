"""What is said of fronts beside their picture: which colour is which run, and where a run stands beside its base."""

from collections.abc import Mapping, Sequence

from dashboard.markup.compare import figure, signed_html
from dashboard.reading.fronts import Stored
from evalkit.reports.fronts import VERDICTS
from evalkit.reports.markup import escaped

KINDS = {"beyond": " hk-better", "behind": " hk-worse"}
OUTSIDE = "higher than the base reaches"


def key_html(colours: Mapping[str, str]) -> str:
    """Name -> colour as a line of dots and names that wraps."""
    parts = [
        f'<span class="hk-key"><span class="hk-dot" style="background:{colour}"></span>{escaped(name)}</span>'
        for name, colour in colours.items()
    ]
    return f"<div>{''.join(parts)}</div>"


def standings_html(standings: Mapping[str, Sequence[Stored]]) -> str:
    """Runs beside their bases, a row per metric; "" where none was placed."""
    rows = [_row(name, stored) for name, own in standings.items() for stored in own]
    if not rows:
        return ""
    head = (
        "<th>run</th><th class='hk-left'>base</th><th class='hk-left'>metric</th><th>held equal</th><th>run</th>"
        "<th>base there</th><th>difference</th><th class='hk-left'>verdict</th><th>items</th>"
    )
    table = f"<table class='hk-table'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f"<div class='hk-scroll'>{table}</div>"


def _row(name: str, stored: Stored) -> str:
    verdict = OUTSIDE if stored.verdict == "outside" else VERDICTS.get(stored.verdict, stored.verdict)
    kind = KINDS.get(stored.verdict, "")
    return (
        f"<tr><td>{escaped(name)}</td><td class='hk-left'>{escaped(stored.base)}</td>"
        f"<td class='hk-left hk-whole'>{escaped(stored.metric)}</td>"
        f"<td class='hk-whole'>{escaped(stored.at)} {figure(stored.level)}</td>"
        f"<td>{figure(stored.value)}</td><td>{figure(stored.there)}</td>"
        f"<td class='hk-whole'><b>{signed_html(stored.difference)}</b></td>"
        f"<td class='hk-left hk-whole{kind}'>{escaped(verdict)}</td><td>{stored.items:,}</td></tr>"
    )
