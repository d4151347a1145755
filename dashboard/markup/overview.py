"""Tables of the overview: as HTML for the page, as tables of `evalkit.reports.tables` for export."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dashboard.frames.overview import Protocol, main_metrics
from dashboard.markup.samples import link
from dashboard.reading.published import PublishedRow
from dashboard.reading.runs import RunInfo
from evalkit.metrics import Metric
from evalkit.reports.markup import attribute, clean, escaped
from evalkit.reports.tables import Cell, Table, arrow, csv_text
from evalkit.runs.checks import Flag
from evalkit.statistics.intervals import Interval

CSV_COLUMNS = (
    "benchmark", "kind", "label", "run", "metric", "higher_is_better", "value", "low", "high", "method", "n_scored",
    "n_total", "failed", "words", "flags", "signature", "source",
)  # fmt: skip


def matrix_html(protocols: Sequence[Protocol]) -> str:
    """Checkpoints x benchmarks: the rate of hallucination with the quality and length that belong beside it."""
    columns = [(protocol, *main_metrics(protocol.metrics)) for protocol in protocols]
    labels = list(dict.fromkeys(run.label for protocol in protocols for run in protocol.runs))
    repeated = {p.benchmark for p in protocols if sum(other.benchmark == p.benchmark for other in protocols) > 1}
    head = "".join(
        f'<th title="{attribute(protocol.signature)}">{escaped(protocol.benchmark)}'
        f"{' *' if protocol.benchmark in repeated else ''}"
        f'<br><span class="hk-limits">{escaped(arrow(rate))}</span></th>'
        for protocol, rate, _ in columns
    )
    rows = []
    for label in labels:
        cells = []
        for protocol, rate, quality in columns:
            own = [run for run in protocol.runs if run.label == label]
            cells.append("<td>" + "<hr>".join(_cell(run, rate, quality) for run in own[:3]) + "</td>")
        rows.append(f"<tr><td><b>{escaped(label)}</b></td>{''.join(cells)}</tr>")
    note = "* several protocols of one benchmark: their numbers must not be compared" if repeated else ""
    return _table(f"<th>checkpoint</th>{head}", rows) + (f'<div class="hk-small">{note}</div>' if note else "")


def _cell(run: RunInfo, rate: Metric, quality: Metric | None) -> str:
    lines = [f"<b>{_number(run.values.get(rate.name))}</b>"]
    if quality is not None:
        beside = _number(run.values.get(quality.name))
        lines.append(f'<span class="hk-limits">{escaped(quality.name)}</span> {beside}')
    scored, total = run.counted
    words = "" if run.words is None else f" · {run.words:.0f} words"
    lines.append(f'<span class="hk-limits">n {scored:,}/{total:,}{words}</span>')
    tags = _tags(run.flags)
    return "<br>".join(lines + ([" ".join(tags)] if tags else []))


def board_html(protocol: Protocol, published: Sequence[PublishedRow], details: bool) -> str:
    """All metrics of the runs of one protocol, the best first; baselines and published rows below, marked."""
    metrics = [metric for metric in protocol.metrics if details or not metric.detail]
    head = "<th>checkpoint</th>" + "".join(f"<th>{escaped(arrow(metric))}</th>" for metric in metrics)
    head += "<th>words</th><th>n</th><th>failed</th>"
    rows = [_run_row(run, metrics) for run in protocol.runs]
    for name, values in baselines(protocol).items():
        rows.append(_other_row(f"baseline: {name}", values, metrics, "constant answers"))
    for row in published:
        rows.append(_other_row(row.model, row.values, metrics, row.source, "published"))
    return _table(head, rows, "hk-table hk-board")


def _run_row(run: RunInfo, metrics: Sequence[Metric]) -> str:
    cells = "".join(f"<td>{_number(run.values.get(metric.name))}</td>" for metric in metrics)
    scored, total = run.counted
    failed = ", ".join(f"{escaped(stage)} {count}" for stage, count in run.failures.items()) or "–"
    words = "–" if run.words is None else f"{run.words:.1f}"
    name = f"{link('samples', run.label, run=run.name)}<br>"
    name += f'<span class="hk-limits">{escaped(run.name)}</span>'
    name += "".join(f"<br>{tag}" if index == 0 else f" {tag}" for index, tag in enumerate(_tags(run.flags)))
    flagged = ' class="hk-flagged"' if run.disqualified else ""
    return f"<tr{flagged}><td>{name}</td>{cells}<td>{words}</td><td>{scored:,}/{total:,}</td><td>{failed}</td></tr>"


def _other_row(name: str, values: Mapping[str, Any], metrics: Sequence[Metric], title: str, tag: str = "") -> str:
    cells = "".join(f"<td>{_plain(values.get(metric.name))}</td>" for metric in metrics)
    mark = f'<span class="hk-tag">{tag}</span> ' if tag else ""
    first = f'<td title="{attribute(title)}">{mark}{escaped(name)}</td>'
    return f'<tr class="hk-published">{first}{cells}<td>–</td><td>–</td><td>–</td></tr>'


def baselines(protocol: Protocol) -> dict[str, Mapping[str, Any]]:
    """What constant answers reach: name -> metric -> value, of the first run that stored them."""
    for run in protocol.runs:
        stored = run.results.get("baselines")
        if isinstance(stored, dict) and all(isinstance(row, dict) for row in stored.values()):
            return {clean(name): row for name, row in stored.items()}
    return {}


def _tags(flags: Iterable[Flag]) -> list[str]:
    """One tag per kind of flag, the disqualifying ones first and red; sentences on hovering."""
    kinds: dict[tuple[bool, str], list[str]] = {}
    for flag in flags:
        kinds.setdefault((not flag.disqualifies, flag.kind), []).append(flag.text)
    return [
        f'<span class="hk-tag{"" if note else " hk-tag-flag"}" title="{attribute("; ".join(texts))}">'
        f"{escaped(kind.replace('_', ' '))}{f' × {len(texts)}' if len(texts) > 1 else ''}</span>"
        for (note, kind), texts in sorted(kinds.items(), key=lambda item: item[0][0])
    ]


def _number(value: Interval | None) -> str:
    if value is None or value.value is None:
        return "–"
    text, bracket, limits = value.text().partition(" [")
    return text + (f' <span class="hk-limits">[{limits}</span>' if bracket else "")


def _plain(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, int | float) else "–"


def _table(head: str, rows: Iterable[str], classes: str = "hk-table") -> str:
    body = "".join(rows)
    table = f"<table class='{classes}'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div class='hk-scroll'>{table}</div>"


# --- export -------------------------------------------------------------------------------------------------------


def board_table(protocol: Protocol, published: Sequence[PublishedRow], details: bool) -> Table:
    """The board for Markdown and LaTeX."""
    metrics = [metric for metric in protocol.metrics if details or not metric.detail]
    rows = []
    for run in protocol.runs:
        scored, total = run.counted
        failed = ", ".join(f"{stage} {count}" for stage, count in run.failures.items()) or "-"
        values = [run.values.get(metric.name, Interval(None)).text() for metric in metrics]
        words = "-" if run.words is None else f"{run.words:.1f}"
        name = run.label + (" !" if run.flags else "")
        rows.append([Cell(text) for text in (name, *values, words, f"{scored}/{total}", failed)])
    for name, figures in baselines(protocol).items():
        texts = [_plain(figures.get(metric.name)).replace("–", "-") for metric in metrics]
        rows.append([Cell(text) for text in (f"baseline: {name}", *texts, "-", "-", "-")])
    for row in published:
        texts = [_plain(row.values.get(metric.name)).replace("–", "-") for metric in metrics]
        rows.append([Cell(text) for text in (f"published: {row.model}", *texts, "-", "-", "-")])
    notes = [f"! {run.label}: {clean(flag.text)}" for run in protocol.runs for flag in run.flags]
    notes += [f"published: {source}" for source in dict.fromkeys(row.source for row in published)]
    columns = ["checkpoint", *map(arrow, metrics), "words", "n", "failed"]
    return Table(columns, rows, protocol.benchmark, [*notes, protocol.signature])


def boards_csv(protocols: Sequence[Protocol], published: Sequence[PublishedRow]) -> str:
    """Every number of the overview, one per line."""
    return csv_text((row for protocol in protocols for row in _csv_rows(protocol, published)), CSV_COLUMNS)


def _csv_rows(protocol: Protocol, published: Sequence[PublishedRow]) -> Iterable[dict[str, Any]]:
    for run in protocol.runs:
        scored, total = run.counted
        for metric in protocol.metrics:
            yield {
                "benchmark": protocol.benchmark,
                "kind": "run",
                "label": run.label,
                "run": run.name,
                "metric": metric.name,
                "higher_is_better": metric.higher_is_better,
                **run.values.get(metric.name, Interval(None)).as_dict(),
                "n_scored": scored,
                "n_total": total,
                "failed": sum(run.failures.values()),
                "words": run.words,
                "flags": "; ".join(flag.text for flag in run.flags),
                "signature": run.signature.long(),
            }
    common = {"benchmark": protocol.benchmark}
    for name, values in baselines(protocol).items():
        for figure, value in values.items():
            yield common | {"kind": "baseline", "label": name, "metric": figure, "value": value}
    for row in published:
        if row.benchmark == protocol.benchmark:
            for figure, value in row.values.items():
                place = {"kind": "published", "label": row.model, "metric": figure, "value": value}
                yield common | place | {"source": row.source}
