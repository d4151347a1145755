"""Tags and answers of models with random weights are those of NLTK's tagger with the same weights."""

import random
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.text.tagger import END, START, PerceptronTagger, features_of

nltk_perceptron = pytest.importorskip("nltk.tag.perceptron")

CLASSES = ["NN", "NNS", "VB", "JJ", "RB", "IN"]
WORDS = ["the", "dogs", "run", "fast", "x-y", "1999", "A"]
QUESTIONS = (
    (("J", "a"), ("V", "v"), ("R", "r"), ("", "n")),
    (("J", ""), ("V", "run"), ("R", ""), ("", "run")),
    (("V", "run"), ("", "")),
)


def random_model(seed):
    """Weights of some features that texts of WORDS have, and tags of some words."""
    pick = random.Random(seed)
    names = [*WORDS, *START, *END, "!HYPHEN", "!YEAR", "a"]
    tags = [*CLASSES, *START]
    features = {
        feature
        for word, other, before, previous in product(WORDS, names, tags, tags)
        for feature in features_of(word, other, other, other, other, other, previous, before)
    }
    known = [feature for feature in sorted(features) if pick.random() < 0.5]
    size = pick.choice([0.003, 1, 4])  # small weights tie
    weights = {
        feature: {
            label: round(pick.uniform(-size, size), 3) for label in pick.sample(CLASSES, pick.randint(1, len(CLASSES)))
        }
        for feature in known
    }
    tagdict = {word: pick.choice(CLASSES) for word in pick.sample(WORDS, pick.randint(0, 3))}
    return weights, tagdict


def nltk_tags(weights, tagdict, words):
    theirs = nltk_perceptron.PerceptronTagger(load=False)
    theirs.model.weights, theirs.tagdict = weights, tagdict
    theirs.classes = theirs.model.classes = set(CLASSES)
    return [tag for _, tag in theirs.tag(words)]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 40), st.lists(st.sampled_from(WORDS), max_size=12), st.sets(st.integers(0, 11)))
def test_tags_and_answers_are_those_of_nltk(seed, words, picks):
    weights, tagdict = random_model(seed)
    ours = PerceptronTagger(weights, tagdict, CLASSES)
    expected = nltk_tags(weights, tagdict, words)
    assert ours.tag(words) == expected
    positions = sorted(pick for pick in picks if pick < len(words))
    assert ours.tag_at(words, positions) == [expected[at] for at in positions]
    for question in QUESTIONS:
        answers = ours.answers_at(words, [(at, question) for at in positions])
        assert answers == [dict(question).get(expected[at][:1], dict(question)[""]) for at in positions]


def test_tags_are_the_same_where_little_is_remembered(monkeypatch):
    monkeypatch.setattr("evalkit.text.tagger.CACHE_LIMIT", 2)
    for seed in range(5):
        weights, tagdict = random_model(seed)
        ours = PerceptronTagger(weights, tagdict, CLASSES)
        words = random.Random(seed).choices(WORDS, k=30)
        expected = nltk_tags(weights, tagdict, words)
        assert ours.tag(words) == expected
        answers = ours.answers_at(words, [(at, QUESTIONS[0]) for at in range(30)])
        assert answers == [dict(QUESTIONS[0]).get(tag[:1], "n") for tag in expected]
        assert max(map(len, ours.memories)) <= 2


def test_a_model_that_knows_no_feature_tags_by_the_alphabet():
    assert PerceptronTagger({}, {}, CLASSES).tag(["dogs", "run"]) == ["VB", "VB"]
