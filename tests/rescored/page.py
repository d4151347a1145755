"""docs/rescored.md: a table per group, its columns one list; another column is one more line of COLUMNS."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from evalkit.statistics.intervals import Interval
from tests.rescored.fronts import REMARK, front_cells
from tests.rescored.rows import Row

HEAD = """# Released responses, scored again

Made by `make rescored` from response files that other groups have published, each scored from the bytes as they were
released. *Published*: the figure of the paper. *Script*: the authors' own program over the same file, run by us or
stored by them. *Ours*: with its 95 % interval. Verdicts: `=` means equal to every printed digit; else what differs,
ours minus theirs. Rows that are only cited stand at the end: their files may not be passed on.
"""
CITED = """## Only cited

Measured once, on files whose licence forbids or does not state redistribution. `make rescored` does not make these.

| # | what | published or stored | ours | verdict |
|:--|:--|:--|:--|:--|
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and what stands below it."""

    heading: str
    cell: Callable[[Row], str]


def _ours(row: Row) -> str:
    if row.problem:
        return row.problem
    return "<br>".join(_interval(value) for value in row.ours)


def _interval(value: Interval) -> str:
    if value.value is None:
        return "undefined"
    if value.low is None or value.high is None:
        return f"{value.value:.3f}"
    return f"{value.value:.3f} [{value.low:.1f}, {value.high:.1f}]"


def _verdict(row: Row) -> str:
    if row.problem:
        return "only cited"
    return "<br>".join([*row.verdicts, *filter(None, [row.entry.note])]) or "nothing to compare with"


COLUMNS: tuple[Column, ...] = (
    Column("#", lambda row: str(row.entry.number)),
    Column("file", lambda row: f"`{row.entry.file.removesuffix('.gz')}`"),
    Column("what", lambda row: row.entry.what),
    Column("published", lambda row: "<br>".join(row.entry.published or ["-"])),
    Column("script", lambda row: "<br>".join(row.authors or ["-"])),
    Column("ours", _ours),
    Column("n", lambda row: f"{row.n:,}" if row.n else "-"),
    Column("verdict", _verdict),
)


def page(rows: Sequence[Row], cited: Sequence[Mapping[str, str]]) -> str:
    """The whole page, as Markdown."""
    columns = (*COLUMNS, Column("beside its base that stops earlier", front_cells(rows)))
    parts = [HEAD, _summary(rows), "\n", REMARK]
    for group, members in groupby(rows, key=lambda row: row.entry.group):
        metrics = ", ".join(f"`{name.rpartition(':')[2]}`" + _of_group(name) for name in group.metrics)
        parts.append(
            f"\n## {group.title}\n\nFigures, in this order: {metrics}. Published: {group.source}. "
            f"Script: {group.authors}.{' ' + group.remark if group.remark else ''}\n\n{table(list(members), columns)}"
        )
    lines = [f"| {c['number']} | {c['what']} | {c['stored']} | {c['ours']} | {c['verdict']} |" for c in cited]
    return "".join(parts) + "\n" + CITED + "\n".join(lines) + "\n"


def table(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> str:
    """One Markdown table."""
    head = "| " + " | ".join(column.heading for column in columns) + " |\n|" + ":--|" * len(columns) + "\n"
    return head + "".join("| " + " | ".join(column.cell(row) for column in columns) + " |\n" for row in rows)


def _summary(rows: Sequence[Row]) -> str:
    judged = [text.endswith(" =") for row in rows for text in row.verdicts]
    scored = sum(row.problem is None for row in rows)
    return (
        f"\n{scored} of {len(rows)} files scored; {sum(judged)} of {len(judged)} comparisons equal to every printed "
        "digit.\n"
    )


def _of_group(name: str) -> str:
    return f" ({name.split(':')[1]})" if ":" in name else ""
