"""The odd results are part of CHAIR's protocol."""

import pytest

from benchmarks.objects.singularise import singularise


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
