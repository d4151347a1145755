"""CSV that starts no formula and is read back byte for byte."""

import csv
import io

import pytest

from evalkit.files.spreadsheet import csv_text, unguarded

SIGNS = "=+-@\t\r\n"


@pytest.mark.parametrize("text", [sign + "1+1" for sign in SIGNS] + ["'=1", "''@x", "'", "", " a ", 'a "b", c', "a\rb"])
def test_a_text_starts_no_formula_and_comes_back(text: str) -> None:
    (row,) = csv.DictReader(io.StringIO(csv_text([{"text": text, "more": 1}], ["text", "more"]), newline=""))
    assert row["text"][:1] not in tuple(SIGNS)
    assert unguarded(row["text"]) == text


def test_numbers_and_single_signs_stay_what_they_are() -> None:
    assert csv_text([{"a": -1.5, "b": "-", "c": None}], ["a", "b", "c"]) == "a,b,c\n-1.5,-,\n"


def test_formulas_are_kept_for_programs_that_are_no_spreadsheets() -> None:
    assert csv_text([{"a": "=1"}], ["a"], formulas=True) == "a\n=1\n"
