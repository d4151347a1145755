"""The odd results are part of CHAIR's protocol."""

import pytest

from benchmarks.singularise import singularise


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
        (".", "."),
    ],
)
def test_singularise(word, singular):
    assert singularise(word) == singular


def test_a_rule_needs_what_stands_before_its_ending():
    assert singularise("eies") == "eie"  # "y" only behind a consonant
    assert singularise("movies") == "movie"
    assert singularise("series") == "series"
