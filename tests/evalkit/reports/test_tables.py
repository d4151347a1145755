"""Tables: the same cells in every spelling, and nothing from outside breaks out of a cell."""

import csv
import io
import os
import subprocess
import sys

import pytest

from evalkit.errors import UsageError
from evalkit.files.spreadsheet import csv_text
from evalkit.metrics import Metric
from evalkit.reports.tables import LOG_WIDTH, Cell, Table, arrow, latex_escaped, one_line, render

TABLE = Table(
    ["model", "chair_i ↓"],
    [[Cell("a_b"), Cell("8.4 [7.1, 9.8]", bold=True)], [Cell("100 % | x"), Cell("-")]],
    "chair",
    ["note_1"],
)


def test_terminal_columns_line_up():
    assert render(TABLE, "terminal") == (
        "chair\n"
        "model            chair_i ↓\n"
        "--------------------------\n"
        "a_b        8.4 [7.1, 9.8]*\n"
        "100 % | x                -\n"
        "note_1"
    )


def test_wide_characters_take_two_columns():
    text = render(Table(["m", "v"], [[Cell("狗"), Cell("1")], [Cell("ab"), Cell("2")]]), "terminal")
    assert text.splitlines()[2:] == ["狗  1", "ab  2"]


def test_columns_that_the_terminal_has_no_room_for_go_below_beside_the_first():
    wide = Table(["model", "chair", "cover"], [[Cell("base"), Cell("8.4 [7.1, 9.8]"), Cell("51.0")]], "t", ["note"])
    below = ["t", "model           chair", "---------------------", "base   8.4 [7.1, 9.8]", "", "model  cover"]
    assert render(wide, "terminal", 27).splitlines() == [*below, "------------", "base    51.0", "note"]
    assert render(wide, "terminal", 28) == render(wide, "terminal")
    assert len(render(wide, "terminal", 3).splitlines()) == 9


def test_a_pipe_gets_lines_that_a_log_shows_well() -> None:
    piped = "from evalkit.reports.tables import terminal_width; print(terminal_width())"
    plain = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    for environment, width in ((plain, LOG_WIDTH), (plain | {"COLUMNS": "60"}, 60)):
        assert int(subprocess.check_output([sys.executable, "-c", piped], env=environment)) == width


def test_markdown_escapes_bars_and_marks_the_best():
    assert render(TABLE, "markdown").splitlines() == [
        "### chair",
        "",
        "| model | chair_i ↓ |",
        "|:---|---:|",
        "| a_b | **8.4 [7.1, 9.8]** |",
        "| 100 % \\| x | - |",
        "",
        "- note_1",
    ]


def test_latex_is_booktabs():
    lines = render(TABLE, "latex").splitlines()
    assert lines[:5] == [
        "% chair",
        "% note_1",
        r"\begin{tabular}{lr}",
        r"  \toprule",
        r"  model & chair\_i $\downarrow$ \\",
    ]
    assert lines[6:] == [
        r"  a\_b & \textbf{8.4 [7.1, 9.8]} \\",
        r"  100 \% \textbar{} x & - \\",
        r"  \bottomrule",
        r"\end{tabular}",
    ]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("a\\input{x}", r"a\textbackslash{}input\{x\}"), ("50% & $1", r"50\% \& \$1"), ("a\n%b", r"a \%b")],
)
def test_latex_escapes_what_models_are_called(text, escaped):
    assert latex_escaped(text) == escaped


def test_control_characters_stay_out_of_a_line():
    assert one_line("a\x1b[31mb\r\nc‮d") == "a [31mb  c d"


def test_csv_reads_back_and_starts_no_formula():
    rows = [{"label": '=HYPERLINK("x")', "value": -1.5, "low": None}, {"label": 'a,"b"\nc', "value": 2, "low": 1}]
    read = list(csv.DictReader(io.StringIO(csv_text(rows, ["label", "value", "low"]))))
    assert read[0] == {"label": '\'=HYPERLINK("x")', "value": "-1.5", "low": ""}
    assert read[1] == {"label": 'a,"b"\nc', "value": "2", "low": "1"}


@pytest.mark.parametrize(("better", "shown"), [(True, "m ↑"), (False, "m ↓"), (None, "m")])
def test_arrow(better, shown):
    assert arrow(Metric("m", "a / b", higher_is_better=better)) == shown


def test_unknown_format_is_an_error():
    with pytest.raises(UsageError, match="known: terminal, markdown, latex"):
        render(TABLE, "word")
