"""The odd results are part of CHAIR's protocol."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.objects.singularise import IE_PLURALS, IRREGULAR, RULES, may_become, singularise


@pytest.mark.parametrize(
    ("word", "singular"),
    [
        ("dogs", "dog"),
        ("benches", "bench"),
        ("knives", "knife"),
        ("skies", "sky"),
        ("women", "woman"),
        ("people", "person"),
        ("bus", "bu"),
        ("buses", "bus"),
        ("glass", "glas"),
        ("has", "ha"),
        ("ties", "ty"),
        ("cookies", "cookies"),
        ("our", "my"),
        ("is", "is"),
        ("s", "s"),
        ("", ""),
        ("dogs'", "dog's"),
        ("mothers-in-law", "mother-in-law"),
        ("t-shirts", "t-shirt"),
        ("Dogs", "Dog"),
        ("ΟΔΟΣs", "ΟΔΟΣ"),
        ("dogſ", "dog"),  # the long s is an s to a pattern that ignores case
        (".", "."),
    ],
)
def test_singularise(word, singular):
    assert singularise(word) == singular


@pytest.mark.parametrize(
    ("word", "singular"),
    [
        ("analyses", "analysis"),
        ("psychoanalyses", "psychoanalyasis"),
        ("bases", "basis"),
        ("parentheses", "parenthesis"),
    ],
)
def test_the_letter_too_many_behind_a_prefix(word, singular):
    assert singularise(word) == singular


@pytest.mark.parametrize(("word", "singular"), [("oxen", "ox"), ("oxen-drawn", "ox-drawn"), ("musk-oxen", "musk-ox")])
def test_oxen_are_singular_at_the_start_of_a_word_too(word, singular):
    assert singularise(word) == singular


def test_a_rule_needs_what_stands_before_its_ending():
    assert singularise("eies") == "eie"  # "y" only behind a consonant
    assert singularise("movies") == "movie"
    assert singularise("series") == "series"


ENDINGS = sorted({*IRREGULAR, *(ending for _, ending, _ in RULES), *IE_PLURALS, "'", "-in-law", "ſ", "ıce", "K"})
STEMS = sorted({stem for before, _, _ in RULES for stem in re.findall("[a-z]+", before)} | {"dog", "ox", "Σ", "Dİ", ""})


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.sampled_from([*STEMS, *ENDINGS]), max_size=3).map("".join) | st.text(max_size=5), st.booleans())
def test_a_word_may_become_its_singular(word, loud):
    written = word.upper() if loud else word
    assert may_become([singularise(written)])(written)


def test_the_last_sigma_of_a_word_is_a_sigma():
    assert may_become(["ΟΔΟΣ"])("ΟΔΟΣs")


def test_what_a_word_cannot_become_is_known_without_making_its_singular():
    may = may_become(["dog", "woman", "ox", "knife"])
    assert [word for word in ("dogs", "women", "oxen", "knives", "cats", "the", ",") if may(word)] == [
        "dogs",
        "women",
        "oxen",
        "knives",
    ]
