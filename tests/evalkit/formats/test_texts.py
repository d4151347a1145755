"""One rule for the text of a response, whatever the file: a text, a missing value, or an error with its place."""

import math
from decimal import Decimal

import numpy as np
import pandas
import pytest

from evalkit.errors import DataError
from evalkit.files.rows import Row
from evalkit.formats.answers import format_named
from evalkit.formats.given import spoken
from evalkit.formats.keys import missing


@pytest.mark.parametrize("value", [None, math.nan, np.float32("nan"), Decimal("nan"), pandas.NA, pandas.NaT], ids=repr)
def test_none_and_nan_are_missing(value: object) -> None:
    assert missing(value)
    answer = format_named("plain").read(Row("a.jsonl:1", {"id": "1", "text": value}))
    assert (answer.text, answer.absent) == (None, True)
    assert spoken({"1": value}, "chair")["1"].failure == "no response"


@pytest.mark.parametrize("value", ["", " ", "nan", "None", "0"])
def test_a_text_of_a_json_file_is_a_response_as_it_stands(value: str) -> None:
    assert not missing(value)
    assert format_named("plain").read(Row("a.jsonl:1", {"id": "1", "text": value})).text == value
    assert spoken({"1": value}, "chair")["1"].answer == value


@pytest.mark.parametrize("value", [0, 1.5, True, math.inf, [], ["a"], {"text": "a"}])
def test_what_is_neither_is_an_error_with_its_place(value: object) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl:1: the response must be a text"):
        format_named("plain").read(Row("a.jsonl:1", {"id": "1", "text": value}))
    with pytest.raises(DataError, match="the response to '1' must be a text"):
        spoken({"1": value}, "chair")
