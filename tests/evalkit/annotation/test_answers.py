"""Answers come from a browser or a file: what is malformed is refused with a reason."""

import pytest

from evalkit.annotation.answers import checked_answer, types_of
from evalkit.errors import DataError

TYPES = ("object", "number")
TEXT = "🐶 A red dog."


def test_marks_are_sorted_and_doubles_dropped():
    spans = [[8, 11, "object"], [4, 7, "number"], [8, 11, "object"]]
    assert checked_answer("mark", {"spans": spans}, [TEXT], TYPES) == {"spans": [[4, 7, "number"], [8, 11, "object"]]}


def test_no_mark_says_clean():
    answer = checked_answer("mark", {"spans": []}, [TEXT], TYPES)
    assert types_of("mark", answer) == set()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "must be an object"),
        ({}, "expected a list"),
        ({"spans": "x"}, "expected a list"),
        ({"spans": [[0, 1]]}, "a span is"),
        ({"spans": [[0, 99, "object"]]}, "outside of the response"),
        ({"spans": [[3, 3, "object"]]}, "outside of the response"),
        ({"spans": [[-1, 3, "object"]]}, "outside of the response"),
        ({"spans": [[0, True, "object"]]}, "whole numbers"),
        ({"spans": [[0, 1.0, "object"]]}, "whole numbers"),
        ({"spans": [[0, 1, "<b>"]]}, "type must be one of object, number"),
        ({"spans": [[0, 1, ["object"]]]}, "type must be one of"),
        ({"spans": [[0, 1, "object"]] * 2001}, "at most 2,000"),
    ],
)
def test_malformed_marks_are_refused(answer, words):
    with pytest.raises(DataError, match=words):
        checked_answer("mark", answer, [TEXT], TYPES)


def test_a_correction_gets_its_segments_from_the_two_texts():
    answer = checked_answer("correct", {"text": "🐶 A black dog.", "types": ["object"]}, [TEXT], TYPES)
    assert answer["segments"] == [[4, 7, 4, 9, "object"]]
    assert checked_answer("correct", answer, [TEXT], TYPES) == answer
    assert types_of("correct", answer) == {"object"}


def test_an_untouched_response_is_accepted():
    assert checked_answer("correct", {"text": TEXT}, [TEXT], TYPES) == {"text": TEXT, "segments": []}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"text": "A cat.", "types": []}, "each needs a type"),
        ({"text": "🐶 A black dog.", "types": ["colour"]}, "type must be one of"),
        ({"text": " ", "types": []}, "empty"),
        ({"text": 3}, "must be a text"),
        ({"text": "x" * 100_001}, "at most 100,000"),
        ({"text": "🐶 A black dog.", "segments": [[0, 1, 0, 1, "object"]]}, "do not turn"),
        ({"text": "🐶 A black dog.", "segments": [[0, 1]]}, "segments are lists"),
    ],
)
def test_malformed_corrections_are_refused(answer, words):
    with pytest.raises(DataError, match=words):
        checked_answer("correct", answer, [TEXT], TYPES)


def test_a_comparison_names_its_choices_and_wrong_words():
    answer = {"less_hallucinated": "second", "better": "tie", "wrong": [[0, 0, 1, "number"]]}
    assert checked_answer("compare", answer, [TEXT, "A dog."], TYPES) == answer
    assert types_of("compare", answer, 0) == {"number"}
    assert types_of("compare", answer, 1) == set()


@pytest.mark.parametrize(
    "answer",
    [
        {"less_hallucinated": "second"},
        {"less_hallucinated": "left", "better": "tie"},
        {"less_hallucinated": ["tie"], "better": "tie"},
        {"less_hallucinated": "tie", "better": "tie", "wrong": [[2, 0, 1, "number"]]},
        {"less_hallucinated": "tie", "better": "tie", "wrong": [[0, 1, "number"]]},
    ],
)
def test_malformed_comparisons_are_refused(answer):
    with pytest.raises(DataError):
        checked_answer("compare", answer, [TEXT, "A dog."], TYPES)
