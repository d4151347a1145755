"""Where sentences and words of a response end."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.text.cuts import cut_text, sentence_ends, word_ends


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("A dog. A cat.", ["A dog.", " A cat."]),
        ("A dog.\n\nA cat", ["A dog.", "\n\nA cat"]),  # the unfinished last one counts
        ("Really?! Yes... No.", ["Really?!", " Yes...", " No."]),
        ('He said "stop." Then (he left.) Bye.', ['He said "stop."', " Then (he left.)", " Bye."]),
        ("1. A dog 2. A cat", ["1. A dog 2.", " A cat"]),  # a number alone is no sentence
        ("It costs 3.50 dollars. OK.", ["It costs 3.50 dollars.", " OK."]),
        ("一只狗。两只猫！", ["一只狗。", "两只猫！"]),
        ("no full stop", ["no full stop"]),
        ("A dog. \n", ["A dog. \n"]),
        ("...", ["..."]),
        ("  ", []),
        ("", []),
    ],
)
def test_sentences(text: str, pieces: list[str]) -> None:
    ends = sentence_ends(text)
    assert [text[start:end] for start, end in zip([0, *ends], ends, strict=False)] == pieces


@given(st.text(alphabet="ab1 .!?\"')\n。", max_size=60))
def test_cuts_grow_and_the_last_is_the_whole_text(text: str) -> None:
    for ends in (sentence_ends(text), word_ends(text)):
        assert ends == sorted(set(ends))
        cuts = [cut_text(text, ends, count) for count in range(len(ends) + 2)]
        assert cuts[-1] == text
        assert all(longer.startswith(shorter) for shorter, longer in pairwise(cuts))
        if ends:
            assert cuts[0] == ""
            assert ends[-1] == len(text)


def test_words_are_what_stands_between_blanks() -> None:
    text = " A dog,\ta  cat. "
    assert [text[:end] for end in word_ends(text)] == [" A", " A dog,", " A dog,\ta", text]
