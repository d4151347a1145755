"""Beginnings of a text are read as if nothing had ever followed, whichever way the reading is shared."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.text.prefixes import Prefixes
from evalkit.text.tokens import read_words, tag

TEXTS = [
    "A man walks two dogs. The dogs walk.",
    "Mr. Smith eats a sandwich, i.e. bread. U.S. flags wave near St. Mary's; p. 5 says so.",
    'He said "a dog." Then (a cat) sat. "It\'s a puppy!" she wrote... and left',
    "can not  cannot   gonna\nsee the U.S.A. the\ttoilet seat's   lid.",
    "A café. Ein Hund läuft. 一只狗。 A “cat” sat—there’s one.",
    "",
    "   ",
    "Dogs.",
]


def is_noun(word: str) -> bool:
    return word.isalpha()


def read_alone(text: str) -> list[tuple[str, str]]:
    words = read_words(text).texts
    return [(word, given) for word, given in zip(words, tag(words) if words else [], strict=True) if is_noun(word)]


@pytest.mark.parametrize("text", TEXTS)
def test_every_beginning_reads_like_a_text_of_its_own(text: str) -> None:
    prefixes = Prefixes(text, is_noun)
    for end in range(len(text) + 1):
        assert prefixes.tagged(end) == read_alone(text[:end])


LINE = "a the dog cats runs run. saw Mr. U.S. Inc. can't (left) right's “up” down, 5. 12 that to walk"
WORDS = st.sampled_from(re.findall(r"\S+", LINE))


@given(st.lists(WORDS, max_size=14).map(" ".join), st.data())
def test_any_text_cut_anywhere_reads_like_a_text_of_its_own(text: str, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(text)))
    assert Prefixes(text, is_noun).tagged(end) == read_alone(text[:end])
