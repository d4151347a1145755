"""Replies of pairwise judges: what is read, what is refused, how several are combined."""

import pytest

from benchmarks.judges.pairwise import (
    Points,
    exchanged,
    mean_points,
    official_points,
    official_verdict,
    robust_points,
    robust_verdict,
)


@pytest.mark.parametrize(
    "text",
    ["8 9", "8, 9", " 8  9 ", "**8 9**", "\n8 9", "8/10 9/10", "8 out of 10, 9 out of 10", "Scores: 8 and 9",
     "Assistant 1: 8\tAssistant 2: 9", "8 | 9", "8-9", "Here is my verdict.\n8 9\nbecause 3 of 5 ..."],
)  # fmt: skip
def test_two_scores_are_read_however_they_are_decorated(text: str) -> None:
    assert robust_points(text) == Points(8, 9)


@pytest.mark.parametrize(
    "text",
    ["", "no scores", "8", "8 9 7", "100 3", "8 11", "8 -9", "-1 -1", "nan 5", "8 nine", "1,000 9", "8 9 in 2024"],
)
def test_what_is_not_two_scores_from_0_to_10_is_no_reply(text: str) -> None:
    assert robust_points(text) is None


@pytest.mark.parametrize(
    ("text", "verdict"), [("[[B]]", 1), ("**[[c]]**", 0), ("[ [A] ]", -1), ("【【B】】", 1), ("B", None)]
)
def test_verdicts_in_brackets_of_any_kind_are_read(text: str, verdict: int | None) -> None:
    assert robust_verdict(text) == verdict


def test_a_quoted_instruction_is_not_the_verdict() -> None:
    text = 'I output "[[A]]" if A is better, "[[B]]" if B is. B is more accurate: [[B]]'
    assert (official_verdict(text), robust_verdict(text)) == (-1, 1)


def test_an_array_of_words_in_brackets_is_no_verdict() -> None:
    assert robust_verdict("[a cat] and [both]") is None


def test_a_reply_with_the_sides_exchanged_is_turned_round() -> None:
    assert exchanged(Points(3, 8)) == Points(8, 3)


def test_several_replies_are_averaged_side_by_side() -> None:
    assert mean_points([Points(8, 4), Points(6, 5)]) == Points(7, 4.5)
    with pytest.raises(ValueError, match="no reply"):
        mean_points([])


def test_the_official_reading_has_no_range() -> None:
    assert official_points("100 -3") == Points(100, -3)
