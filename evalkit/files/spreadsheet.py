"""CSV for spreadsheets and for reading back: the one place that writes it.

Model output is text from outside. A spreadsheet runs a cell that begins with = + - @, a tab or a line end as a formula
(the list of OWASP's "CSV injection"), so such a text gets an apostrophe in front, and one more if it had some already;
`unguarded` takes it off again. Cells that hold a quote, a comma, any line end or an empty text are quoted, so that what
was written is read back byte for byte.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from evalkit.schema import Json

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_GUARDED = re.compile(r"'+[=+\-@\t\r\n]")
_NEEDS_QUOTES = re.compile(r'[",\r\n]|^\s|\s$|^$')


def csv_text(rows: Iterable[Mapping[str, Json]], columns: Sequence[str], formulas: bool = False) -> str:
    r"""Rows as CSV with a header; None is a blank cell, an empty text is "".

    >>> csv_text([{"id": 1, "text": "=1+1"}], ["id", "text"])
    "id,text\n1,'=1+1\n"

    Args:
        formulas: leave texts as they are, for programs that read CSV and are no spreadsheets.
    """
    lines = [",".join(_quoted(column) for column in columns)]
    lines += [",".join(_cell(row.get(column), formulas) for column in columns) for row in rows]
    return "".join(line + "\n" for line in lines)


def unguarded(text: str) -> str:
    """A cell as it was before `csv_text` guarded it."""
    return text[1:] if _GUARDED.match(text) else text


def _cell(value: Json, formulas: bool) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return _quoted(str(value))
    return _quoted(value if formulas or len(value) < 2 or not _FORMULA.match(value) else f"'{value}")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text
