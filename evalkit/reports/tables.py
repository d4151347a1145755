"""One table, three spellings: terminal, Markdown, LaTeX (booktabs)."""

import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from evalkit.errors import UsageError
from evalkit.metrics import Metric

TableFormat = Literal["terminal", "markdown", "latex"]
LOG_WIDTH = 140  # characters of a line in a pipe or a file that names no width with COLUMNS

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "→": r"$\to$",
    "±": r"$\pm$",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A text, bold where it is the best of its column."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """Texts in rows and columns; the first column is aligned left, the others right; notes stand below."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    notes: Sequence[str] = ()


def terminal_width() -> int:
    """Characters that a line of the output may have: the terminal's, else COLUMNS, else what a log shows well."""
    return shutil.get_terminal_size((LOG_WIDTH, 24)).columns


def render(table: Table, format: TableFormat, width: int | None = None) -> str:
    """A table as text, without a newline at its end.

    Args:
        width: of the terminal; columns that don't fit go below, beside the first column again. None: one long line.
    Raises:
        UsageError: for an unknown format.
    """
    if format == "terminal":
        return _terminal(table, width)
    if format == "markdown":
        return _markdown(table)
    if format == "latex":
        return _latex(table)
    raise UsageError(f"unknown table format {format!r}; known: {', '.join(get_args(TableFormat))}")


def arrow(metric: Metric) -> str:
    """Name of a metric with its better direction: "chair_i ↓"."""
    return metric.name + {True: " ↑", False: " ↓", None: ""}[metric.higher_is_better]


def one_line(text: str) -> str:
    """A text from outside made fit for a cell: no line breaks, no control characters."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in text)


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _terminal(table: Table, width: int | None) -> str:
    lines = [[one_line(column) for column in table.columns]]
    lines += [[one_line(cell.text) + ("*" if cell.bold else "") for cell in row] for row in table.rows]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(table.columns))]
    body: list[str] = []
    for columns in _blocks(widths, width):
        shown = ["  ".join(_padded(line[column], widths[column], column > 0) for column in columns) for line in lines]
        rule = "-" * max(_width(line) for line in shown)
        body += [*([""] if body else []), shown[0].rstrip(), rule, *(line.rstrip() for line in shown[1:])]
    return "\n".join([*([table.title] if table.title else []), *body, *map(one_line, table.notes)])


def _blocks(widths: Sequence[int], room: int | None) -> list[list[int]]:
    """Columns that stand beside each other; each block begins with the first column and has one more at least."""
    blocks = [[0]]
    for column in range(1, len(widths)):
        needed = sum(widths[own] + 2 for own in blocks[-1]) + widths[column]
        if room is not None and needed > room and len(blocks[-1]) > 1:
            blocks.append([0])
        blocks[-1].append(column)
    return blocks


def _markdown(table: Table) -> str:
    def line(texts: Iterable[str]) -> str:
        return "| " + " | ".join(one_line(text).replace("|", "\\|") for text in texts) + " |"

    rows = [line(f"**{cell.text}**" if cell.bold else cell.text for cell in row) for row in table.rows]
    rule = "|" + "|".join(":---" if column == 0 else "---:" for column in range(len(table.columns))) + "|"
    notes = [f"- {one_line(note)}" for note in table.notes]
    title = [f"### {one_line(table.title)}", ""] if table.title else []
    return "\n".join([*title, line(table.columns), rule, *rows, *([""] if notes else []), *notes])


def latex_escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_LATEX.get(character, character) for character in one_line(text))


def _latex(table: Table) -> str:
    def line(texts: Iterable[str]) -> str:
        return "  " + " & ".join(texts) + r" \\"

    rows = [
        line(rf"\textbf{{{latex_escaped(cell.text)}}}" if cell.bold else latex_escaped(cell.text) for cell in row)
        for row in table.rows
    ]
    return "\n".join(
        [
            *([f"% {one_line(table.title)}"] if table.title else []),
            *(f"% {one_line(note)}" for note in table.notes),
            r"\begin{tabular}{l" + "r" * (len(table.columns) - 1) + "}",
            r"  \toprule",
            line(latex_escaped(column) for column in table.columns),
            r"  \midrule",
            *rows,
            r"  \bottomrule",
            r"\end{tabular}",
        ]
    )
