"""Words and changed segments, in code points."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.annotation.segments import _words, apply_segments, changed_segments, from_utf16, to_utf16, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog.", ["A", "dog", "."]),
        ("a half-open dog's mouth", ["a", "half-open", "dog's", "mouth"]),
        ("it ends-", ["it", "ends", "-"]),
        ("e\u0301te\u0301 ", ["e\u0301te\u0301"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("一只狗", ["一", "只", "狗"]),
        ("👩‍🚀👍🏽 dog", ["👩‍🚀", "👍🏽", "dog"]),
        ("3.5 m", ["3", ".", "5", "m"]),
        ("", []),
        (" \n", []),
    ],
)
def test_words(text, expected):
    assert [text[start:end] for start, end in words(text)] == expected


@pytest.mark.parametrize(
    ("original", "corrected", "expected"),
    [
        ("A red dog.", "A red dog.", []),
        ("A red dog.", "A black dog.", [("red", "black")]),
        ("🐶 A red dog.", "🐶 A black dog.", [("red", "black")]),
        ("A dog and a cat.", "A dog.", [(" and a cat", "")]),
        ("A dog.", "A big dog.", [("", "big ")]),
        ("A dog sits. A cat too.", "A dog sits.", [(" A cat too.", "")]),
        ("two cups, one plate", "three cups, no plate", [("two", "three"), ("one", "no")]),
        ("a  dog", "a dog", [(" ", "")]),
        ("dog", "cat", [("dog", "cat")]),
    ],
)
def test_changed_segments(original, corrected, expected):
    found = changed_segments(original, corrected)
    assert [(original[s.start : s.end], corrected[s.to_start : s.to_end]) for s in found] == expected


texts = st.text(alphabet=st.sampled_from(list("ab 🐶.,'\n一-")), max_size=30)


@settings(max_examples=300, deadline=None)
@given(texts, texts)
def test_segments_turn_the_original_into_the_correction(original, corrected):
    found = changed_segments(original, corrected)
    assert apply_segments(original, corrected, found) == corrected
    assert [s.start for s in found] == sorted(s.start for s in found)


@given(st.text(max_size=20))
def test_words_cover_all_but_white_space_once(text):
    spans = words(text)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    covered = {place for start, end in spans for place in range(start, end)}
    assert all(place in covered or text[place].isspace() for place in range(len(text)))


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=30))
def test_plain_english_is_cut_alike_the_quick_way(text):
    assert words(text) == list(_words(text))


@given(st.text(max_size=20))
def test_utf16_positions_go_there_and_back(text):
    assert [from_utf16(text, to_utf16(text, place)) for place in range(len(text) + 1)] == list(range(len(text) + 1))
    assert to_utf16(text, len(text)) == len(text.encode("utf-16-le", errors="surrogatepass")) // 2


def test_a_unit_inside_a_pair_is_the_pairs_own():
    assert from_utf16("🐶a", 1) == 0
