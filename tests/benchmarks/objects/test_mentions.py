"""Which words of a text are mentions, and where they stand."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.object_halbench.words import ObjectTable
from benchmarks.objects.mentions import (
    CHAIR_DOUBLE_WORDS,
    SHARED_DOUBLE_WORDS,
    MentionFinder,
    Vocabulary,
    check_variant,
    join_words,
    normalise,
    read_synonyms,
)
from benchmarks.objects.singularise import singularise
from evalkit.errors import DataError, UsageError

TABLE = """person, man, woman, people, driver
bus, minibus
train
bench
chair, seat
couch
toilet
dog, puppy
hot dog
bear
teddy bear
potted plant, plant
wine glass
bowl, plate
parking meter
tie, bow
cake,  cheesecake
"""


@pytest.fixture(scope="module")
def synonyms(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "synonyms.txt"
    path.write_text(TABLE)
    return read_synonyms(path)


def finder(synonyms, variant):
    return MentionFinder(Vocabulary(synonyms, CHAIR_DOUBLE_WORDS), variant)


BOTH = [
    ("", []),
    ("   \n", []),
    ("No objects here.", []),
    ("A dog, a DOG and two puppies.", ["dog", "dog", "dog"]),
    ("Hot dogs near a dog", ["hot dog", "dog"]),
    ("hot\n\ndog", ["hot dog"]),
    ("It is hot. dog", ["dog"]),
    ("hot-dog dog/cat hot_dog", []),
    ("A baby bear and a teddy bear", ["bear", "teddy bear"]),
    ("a train track, a passenger train", ["train"]),
    ("home plate and a plate", ["bowl"]),
    ("The seat of the toilet, a bench", ["toilet", "bench"]),
    ("a toilet seat and a seat", ["toilet"]),
    ("a seat", ["chair"]),
    ("cheesecake", []),
    ("a bow tie", ["tie"]),
    ("wine glasses", ["wine glass"]),
    ("a bear’s bench", ["bear", "bench"]),
]


@pytest.mark.parametrize("variant", ["pos_lemma", "singularize"])
@pytest.mark.parametrize(("response", "objects"), BOTH)
def test_objects_in_both_variants(synonyms, variant, response, objects):
    assert [mention.object for mention in finder(synonyms, variant).find(response).mentions] == objects


@pytest.mark.parametrize(
    ("variant", "response", "objects"),
    [
        ("pos_lemma", "a bus and buses", ["bus", "bus"]),
        ("singularize", "a bus and buses", ["bus"]),
        ("singularize", "men and women", ["person", "person"]),
        ("pos_lemma", "bow ties", ["tie"]),
        ("singularize", "ties", []),
    ],
)
def test_objects_where_the_variants_differ(synonyms, variant, response, objects):
    assert [mention.object for mention in finder(synonyms, variant).find(response).mentions] == objects


@pytest.mark.parametrize("variant", ["pos_lemma", "lemma_noun"])
@pytest.mark.usefixtures("nltk_data")
def test_the_men_of_wordnet_are_no_persons(synonyms, variant):
    assert [mention.object for mention in finder(synonyms, variant).find("men and women").mentions] == ["person"]


@pytest.mark.parametrize(
    ("response", "shown"),
    [
        ("Two Hot  Dogs.", ["Hot  Dogs"]),
        ("A dog's bench", ["dog", "bench"]),
        ("İ dog İİ bench.", ["dog", "bench"]),  # lower-casing makes these letters longer
        ('"Dog," he said. “bench”', ["Dog", "bench"]),
        ('"Dog", (dog) dogs hotdog dog-house dog;', ["Dog", "dog", "dogs", "dog"]),
        ("\n dog\n\nbench\tdog  hot dog \n", ["dog", "bench", "dog", "hot dog"]),
        ("toilet seat, seat, dog. seats seat dog.", ["toilet seat", "dog", "dog"]),
    ],
)
def test_spans_point_into_the_response_itself(synonyms, response, shown):
    found = finder(synonyms, "singularize").find(response).mentions
    assert [response[mention.start : mention.end] for mention in found] == shown


@pytest.mark.parametrize(
    ("response", "indices"),
    [
        ("a toilet and a dog", [1, 4]),
        ("a seat by the toilet and a dog", [3, 6]),  # one place early behind the dropped seat
        ("a seat, a hot dog, a toilet", [3, 7]),
        ("hot dog seat toilet", [0, 2]),
    ],
)
def test_indices_repeat_the_shift_behind_a_dropped_seat(synonyms, response, indices):
    assert [mention.index for mention in finder(synonyms, "singularize").find(response).mentions] == indices


@pytest.mark.usefixtures("nltk_data")
def test_an_abbreviation_that_is_a_word_at_the_end_alone_is_placed_there():
    finder = MentionFinder(Vocabulary({"dr": "doctor"}, {}), "pos_lemma")
    mentions = finder.find("So the dr. saw the dr.").mentions
    assert [(mention.word, mention.start) for mention in mentions] == [("dr", 19)]


PIECES = st.sampled_from(
    ["dog", "Dogs", "dog.", "hotdog", "hot", "seat", "toilet", "t-v.", "e.g.", "a", "(dog)", '"dog"']
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(PIECES, st.sampled_from([" ", " ", "  ", "\n\n", "\t"])), max_size=12))
def test_a_mention_stands_where_its_token_stands(synonyms, pieces):
    text = "".join(piece + gap for piece, gap in pieces)
    short = finder(synonyms | {"t-v": "tv"}, "singularize")
    spans = short.read(text).spans()
    for mention in short.find(text).mentions:
        assert mention.start in [start for start, _ in spans]
        assert mention.end in [end for _, end in spans]
        assert mention.word in " ".join(singularise(word) for word in text[mention.start : mention.end].lower().split())
    starts = [mention.start for mention in short.find(text).mentions]
    assert starts == sorted(set(starts))


def by_the_script(response, variant, vocabulary, finder):
    """The authors' procedure over whole lists: (word, index) of each mention, number of words."""
    words = normalise(finder.read(response).texts, variant)
    joined, positions = [], []
    at = 0
    while at < len(words):
        positions.append(at)
        pair = " ".join(words[at : at + 2])
        joined.append(vocabulary.double_words.get(pair, words[at]))
        at += 2 if pair in vocabulary.double_words else 1
    kept = [word for word in joined if word != "seat"] if {"toilet", "seat"} <= set(joined) else joined
    found = [(word, positions[place]) for place, word in enumerate(kept) if word in vocabulary.categories]
    return found, joined


WORDS = """the a dog dogs hot toilet seat seats people bears bear teddy baby potted plant planted plates plate home
parking park meter meters sits sat bus buses glasses wine training trains train . , was left"""
RESPONSES = st.lists(st.sampled_from(WORDS.split()), max_size=20).map(" ".join)


@pytest.mark.parametrize("variant", ["pos_lemma", "singularize", "lemma_noun"])
@settings(max_examples=300, deadline=None)
@given(response=RESPONSES)
def test_the_short_cut_agrees_with_the_script_on_whole_lists(synonyms, variant, response):
    short = finder(synonyms, variant)
    reading = short.find(response)
    found, joined = by_the_script(response, variant, short.vocabulary, short)
    assert [(mention.word, mention.index) for mention in reading.mentions] == found
    assert reading.words == len(joined)
    assert short.joined_words(response) == joined


def test_join_words_takes_pairs_greedily_from_the_left():
    vocabulary = Vocabulary({}, {"a b": "ab", "b c": "bc", "x y z": "never"})
    assert join_words(["a", "b", "c", "b", "c", "x", "y", "z"], vocabulary) == ["ab", "c", "bc", "x", "y", "z"]


def test_a_word_of_two_lines_belongs_to_the_later(tmp_path: Path):
    path = tmp_path / "synonyms.txt"
    path.write_text("\ncup, mug, glass\n\nwine glass, glass,  goblet\n")
    assert read_synonyms(path) == {
        "cup": "cup",
        "mug": "cup",
        "glass": "wine glass",
        "wine glass": "wine glass",
        " goblet": "wine glass",
    }


def test_further_blanks_stay_for_chair_and_go_for_object_halbench(tmp_path: Path):
    path = tmp_path / "synonyms.txt"
    path.write_text("cake,  cheesecake \nwine glass, goblet\n")
    assert read_synonyms(path) == {
        "cake": "cake",
        " cheesecake": "cake",
        "wine glass": "wine glass",
        "goblet": "wine glass",
    }
    assert read_synonyms(path, strip=True) == {
        "cake": "cake",
        "cheesecake": "cake",
        "wine glass": "wine glass",
        "goblet": "wine glass",
    }
    table = ObjectTable.read(path)
    assert (dict(table.categories), len(table.objects)) == (read_synonyms(path, strip=True), 2)
    assert {word: joined for word, joined in table.double_words.items() if word not in SHARED_DOUBLE_WORDS} == {
        "wine glass": "wine glass"
    }
    assert SHARED_DOUBLE_WORDS.items() <= CHAIR_DOUBLE_WORDS.items()


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe", b"cat\tkitten\n", b"cat; kitten\n"])
def test_a_file_that_is_no_table_is_an_error(tmp_path: Path, content):
    path = tmp_path / "synonyms.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"synonyms\.txt"):
        read_synonyms(path)


def test_a_missing_table_is_an_error(tmp_path: Path):
    with pytest.raises(DataError, match="missing"):
        read_synonyms(tmp_path / "missing.txt")


def test_an_unknown_variant_is_an_error():
    with pytest.raises(UsageError, match="pos_lemma, singularize"):
        check_variant("stem")


CUT_WORDS = """a dog. dog two hot dogs, wine glass toilet seat "seat's" bears! Mr. p.m. baby bear bear; İ İİ ΑΣ plate
cakes。bus can't (tie) -- bow driving train track (dog. cat's. ok"""
CUT_TEXTS = st.lists(st.sampled_from(CUT_WORDS.split()), max_size=14).map(" ".join)


@settings(deadline=None, max_examples=150)
@example(text="İİ dog a cat", variant="singularize", gap=" ")  # lower-cased, every letter behind stands two further on
@example(text="a train track", variant="singularize", gap=" ")  # a train, cut before what makes it a track
@given(text=CUT_TEXTS, variant=st.sampled_from(["singularize", "pos_lemma"]), gap=st.sampled_from([" ", "  ", "\n"]))
def test_cuts_name_what_the_cut_texts_name(synonyms, text, variant, gap):
    """At every character, inside of words too, and where blanks are not alone."""
    text = text.replace(" ", gap, 1)
    reader, alone = finder(synonyms, variant), finder(synonyms, variant)
    ends = range(len(text) + 1)
    for end, named in zip(ends, reader.find_cuts(text, ends), strict=True):
        reading = alone.find(text[:end])
        assert named == ([mention.object for mention in reading.mentions], reading.words), repr(text[:end])
