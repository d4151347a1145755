"""JSON of files that somebody else may have written, with one kind of error for all that can be wrong with it."""

import json
from typing import Any


def json_value(text: str | bytes) -> Any:
    """The value of a JSON text.

    >>> json_value("[" * 100_000)
    Traceback (most recent call last):
    ValueError: nested too deeply

    Raises:
        ValueError: if it is not JSON, not UTF-8, or is nested deeper than a program can read.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
