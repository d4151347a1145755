import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.amber.nouns import (
    Lexicon,
    count_cuts,
    counts_of,
    find_nouns,
    read_nouns,
    score_description,
    vocabulary_of,
)
from benchmarks.amber.similarity import Similarity, identity
from evalkit.errors import DataError

ASSOCIATIONS = {
    "person": ["man", "people"],
    "man": ["boy"],
    "dog": ["puppy"],
    "cat": ["kitten", "wolf"],
    "sign": [],
    "ship": ["boat"],
}
VOCABULARY = vocabulary_of(ASSOCIATIONS)
NEAR = {"wolf": {"puppy"}, "kitten": {"puppy"}, "puppy": {"kitten"}, "boat": {"cat", "dog"}}


def lexicon(safe_words=("sign",), near=None):
    partners = {word: frozenset({word, *(near or {}).get(word, ())}) for word in VOCABULARY}
    return Lexicon(ASSOCIATIONS, frozenset(safe_words), Similarity("test", partners))


@pytest.mark.parametrize(
    ("nouns", "truth", "hallu", "labels", "covered", "hits"),
    [
        # nothing said, nothing to find
        ([], ["dog"], ["cat"], [], [0], [0]),
        ([], [], [], [], [], []),
        # named itself; every mention counts, coverage once
        (["dog", "dog"], ["dog"], [], ["covered", "covered"], [1], []),
        # an association credits the annotated word; it comes before the word itself
        (["puppy"], ["dog"], ["cat"], ["covered"], [1], [0]),
        (["man"], ["person", "man"], [], ["covered"], [1, 0], []),
        (["boy", "person"], ["person", "man"], [], ["covered", "covered"], [1, 1], []),
        # a repeated annotation: the first one is credited
        (["ship"], ["ship", "ship"], [], ["covered"], [1, 0], []),
        # safe words neither cover nor hit nor hallucinate
        (["sign"], ["sign"], ["sign"], ["ignored"], [0], [0]),
        # expected and unexpected hallucinations
        (["cat", "ship"], ["dog"], ["cat"], ["hallucinated", "hallucinated"], [0], [1]),
        (["kitten"], ["dog"], ["dog", "cat"], ["hallucinated"], [0], [0, 1]),
        # in both lists: it is in the image
        (["dog"], ["dog"], ["dog"], ["covered"], [1], [0]),
    ],
)
def test_nouns_by_equality(nouns, truth, hallu, labels, covered, hits):
    reading = read_nouns(nouns, truth, hallu, lexicon())
    assert list(reading.labels) == labels
    assert [*map(int, reading.covered)] == covered
    assert [*map(int, reading.hits)] == hits


@pytest.mark.parametrize(
    ("noun", "truth", "hallu", "label", "covered", "hits"),
    [
        ("kitten", ["dog"], [], "correct", [1], []),  # similar to puppy, an association of dog
        ("kitten", ["dog"], ["cat"], "correct", [1], [1]),  # hits cat and is rescued by the truth all the same
        ("boat", ["person"], ["dog", "cat"], "hallucinated", [0], [1, 0]),  # similar to both: the first in the list
        ("boat", ["dog"], ["ship"], "correct", [1], [1]),  # equal to an association of ship
        ("wolf", ["person"], ["dog", "cat"], "hallucinated", [0], [1, 1]),  # an equal name, and a similar one before it
        ("boat", ["ship"], ["cat"], "covered", [1], [0]),  # equality with the truth ends the search
    ],
)
def test_nouns_by_similarity(noun, truth, hallu, label, covered, hits):
    reading = read_nouns([noun], truth, hallu, lexicon(near=NEAR))
    assert reading.labels == (label,)
    assert [*map(int, reading.covered)] == covered
    assert [*map(int, reading.hits)] == hits


def test_notes_say_why():
    reading = read_nouns(["man", "sign", "kitten", "cat", "dog"], ["person", "dog"], ["cat"], lexicon(near=NEAR))
    assert reading.notes == (
        "person: named as 'man'",
        "sign: safe word",
        "dog: 'kitten' is similar to 'puppy'; expected hallucination 'cat'",
        "cat: not in the image; expected hallucination 'cat'",
        "dog: in the image",
    )


def test_a_word_without_associations_is_an_error_that_names_it():
    with pytest.raises(DataError, match="unicorn"):
        read_nouns([], ["unicorn"], [], lexicon())


def test_counts_of_a_reading():
    reading = read_nouns(["cat", "man", "cat", "sign"], ["person", "dog"], ["cat", "ship"], lexicon())
    assert counts_of(reading) == {
        "captions": 1,
        "hallucinated_captions": 1,
        "mentions": 4,
        "hallucinated_mentions": 2,
        "truth_words": 2,
        "covered_words": 1,
        "hallu_words": 2,
        "hit_words": 1,
    }


words = st.lists(st.sampled_from(sorted(VOCABULARY)), max_size=8)
annotated = st.lists(st.sampled_from(sorted(ASSOCIATIONS)), max_size=4)


@given(words, annotated, annotated, st.randoms(use_true_random=False))
def test_the_order_of_mentions_does_not_matter(nouns, truth, hallu, rng):
    shuffled = rng.sample(nouns, len(nouns))
    first = counts_of(read_nouns(nouns, truth, hallu, lexicon(near=NEAR)))
    assert counts_of(read_nouns(shuffled, truth, hallu, lexicon(near=NEAR))) == first


@given(words, annotated, annotated)
def test_one_more_wrong_noun_never_scores_better(nouns, truth, hallu):
    before = counts_of(read_nouns(nouns, truth, hallu, lexicon(safe_words=())))
    after = counts_of(read_nouns([*nouns, "cat"], truth, hallu, lexicon(safe_words=())))
    is_wrong = "cat" not in truth
    assert after["hallucinated_mentions"] == before["hallucinated_mentions"] + is_wrong
    assert after["covered_words"] >= before["covered_words"]
    assert after["hit_words"] >= before["hit_words"]


@given(annotated)
def test_similarity_by_identity_adds_nothing_to_equality(truth):
    plain = Lexicon(ASSOCIATIONS, frozenset(), identity(VOCABULARY))
    reading = read_nouns(sorted(VOCABULARY), truth, [], plain)
    assert "correct" not in reading.labels


class TestText:
    """Reads English."""

    @pytest.mark.parametrize(
        ("response", "lemmas"),
        [
            ("", []),
            ("   \n", []),
            ("Two women and three dogs.", ["woman", "dog"]),
            ("Trees grow.", ["Trees"]),  # not lower-cased, so not lemmatised either
            ("There is no dog.", ["dog"]),  # negation is not seen
        ],
    )
    def test_nouns_are_lemmatised_and_keep_their_case(self, response, lemmas):
        assert [noun.lemma for noun in find_nouns(response)] == lemmas

    @pytest.mark.usefixtures("nltk_data")
    def test_wordnet_knows_men_and_a_sunglass(self):
        assert [noun.lemma for noun in find_nouns("The men wear sunglasses.")] == ["men", "sunglass"]

    def test_a_vocabulary_only_filters(self):
        response = "A man walks two dogs near a big ship while Dogs bark; the sign says 'cat'."
        every = find_nouns(response)
        assert find_nouns(response, VOCABULARY) == [noun for noun in every if noun.lemma in VOCABULARY]

    def test_findings_stand_where_the_nouns_stand(self):
        response = 'A "man" with two puppies\nsees  ships and a sign.'
        score = score_description(response, ["person", "dog"], ["ship"], lexicon())
        assert [(response[f.start : f.end], f.label) for f in score.findings] == [
            ("man", "covered"),
            ("puppies", "covered"),
            ("ships", "hallucinated"),
            ("sign", "ignored"),
        ]
        assert score.details == {
            "nouns": ["man", "puppy", "ship", "sign"],
            "covered": ["person", "dog"],
            "missed": [],
            "hit": ["ship"],
        }

    def test_an_empty_description_is_scored_as_saying_nothing(self):
        score = score_description("", ["dog"], ["cat"], lexicon())
        assert score.counts == counts_of(read_nouns([], ["dog"], ["cat"], lexicon()))
        assert score.findings == ()


@pytest.mark.parametrize(
    "text",
    [
        "A man and a puppy sit by a boat. The man eyes a wolf. Signs, kittens and people are behind the boats.",
        "Mr. Man boats past cats! 'A kitten's dog,' he signs. Wolf",
        "man man man",
        "",
    ],
)
def test_cuts_count_what_the_cut_texts_count(text):
    words = lexicon(near=NEAR)
    ends = list(range(len(text) + 1))
    cuts = count_cuts(text, ends, ["dog", "person"], ["cat"], words)
    alone = [score_description(text[:end], ["dog", "person"], ["cat"], words) for end in ends]
    assert cuts == [score.counts for score in alone]
