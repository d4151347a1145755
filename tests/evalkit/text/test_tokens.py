"""The text functions return what NLTK returns; NLTK itself is the reference."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import AssetError
from evalkit.text import tokens as text

nltk = pytest.importorskip("nltk")

TEXTS = [
    "",
    "   ",
    "\n\n",
    ".",
    "!!!???",
    "A dog. A cat! A bird? No",
    "Mr. Smith rides e.g. a bike at 5 p.m. near St. Paul.",
    "a u.s. bus driver in the u.s. drives buses.",
    "1. A dog\n2. A cat\n\n3. nothing",
    'The sign reads "STOP." The bus waits.',
    '"No entrance." "Really?" he said. (It is.) Done.',
    'He said "dog" and "the cat," then ("hot dog"); a "bus". Done: "no". "Yes',
    'dogs\n"cat" and\t"dog" but "bird"\n("bus")',  # NLTK opens no quote behind a line break
    '"dog""cat" "\'tis "-- "...so `"dog" ""dog" dog"" "(dog" (""dog "dog"x',
    "a cat’s toy and the cats’ toys; a dog's bone, dogs' bones.",
    "dogs'\nbones, dogs' bones, 'tis, 'twas, d'ye, gimme, wanna go, I wanna",
    "can't cannot won't it's gonna rock 'n' roll, more'n that",
    "wow... really?! yes!!! e.g.) etc. ) done. ] end",
    "hot\xa0dog and cell\xa0phone. A cell\u200bphone",
    "café – naïve — “hot dog.” Yes, it’s ‘here’.",
    "dog. >  etc. > cat ``quoted'' text `x`.",
    "http://example.org/cat/dog.jpg shows #dog @cat 50% $5 3,000 horses: yes",
    "inc.. well.. ok. . . . dots . more .",
    "A. B. C. met J. Bach in Highway 395. the end",
]
SIGNS = """dog "dog cat" cat," dog". ("a e.g."
Cat e.g. u.s Mr 5 12.5 cannot wanna dog's n't 's ’ ' " `` '' . .. ... ! ? , ; : - -- – ( ) [ ] > & etc. a.
'S / dogs' (dog é “ ” The he st."""
PIECES = st.sampled_from(SIGNS.split() + [" "] * 5 + ["\n", "\n\n", "\t", "\xa0"])
GENERATED = st.lists(PIECES, max_size=25).map("".join)


def check_tokens(given_text):
    expected = nltk.word_tokenize(given_text)
    tokens = text.tokenize(given_text)
    assert [token.text for token in tokens] == expected
    words = text.read_words(given_text)
    assert words.texts == expected
    some = range(0, len(expected), 3)
    assert words.spans(some) == [(tokens[index].start, tokens[index].end) for index in some]
    end = 0
    for token in tokens:
        assert end <= token.start < token.end
        end = token.end
        source = given_text[token.start : end]
        assert source == token.text or (source in ('"', "''", "``") and token.text in ("``", "''"))


@pytest.mark.parametrize("example", TEXTS)
def test_tokens_are_those_of_nltk(example):
    check_tokens(example)
    check_tokens(example.lower())


@settings(max_examples=600, deadline=None)
@given(GENERATED)
def test_tokens_of_generated_text_are_those_of_nltk(example):
    check_tokens(example)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
def test_tokens_of_arbitrary_unicode_are_those_of_nltk(example):
    check_tokens(example)


@settings(max_examples=200, deadline=None)
@given(GENERATED)
def test_sentences_are_those_of_nltk(example):
    assert [example[start:end] for start, end in text.sentences(example)] == nltk.sent_tokenize(example)


@settings(max_examples=300, deadline=None)
@given(GENERATED)
def test_plain_tokens_are_those_of_punkt_without_parameters(example):
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    expected = [
        word
        for sentence in PunktSentenceTokenizer().tokenize(example)
        for word in NLTKWordTokenizer().tokenize(sentence)
    ]
    assert [token.text for token in text.tokenize_plain(example)] == expected


WORDS = st.lists(
    st.one_of(
        st.sampled_from(
            ["the", "dog", "dogs", "parking", "meter", "left", "1999", "12th", "well-known", "-", "", "'s"]
        ),
        st.sampled_from(["bear", "runs", "running", "fast", "red", "plate", "stop", "light", ".", ",", "Bach", "to"]),
        st.text(max_size=5),
    ),
    max_size=15,
)


@pytest.fixture(scope="module")
def nltk_tagger():
    from nltk.tag.perceptron import PerceptronTagger

    return PerceptronTagger()


QUESTIONS = (  # what a form may depend on: noun or verb against the rest, a verb alone, every class for itself
    (("J", "no"), ("V", "yes"), ("R", "no"), ("", "yes")),
    (("V", "yes"), ("", "no")),
    (("J", "a"), ("V", "v"), ("R", "r"), ("", "n")),
)


@settings(max_examples=500, deadline=None)
@given(words=WORDS, picks=st.sets(st.integers(0, 14)))
def test_tags_are_those_of_nltk(nltk_tagger, words, picks):
    expected = [found for _, found in nltk_tagger.tag(words)]
    assert text.tag(words) == expected
    positions = sorted(pick for pick in picks if pick < len(words))
    assert text.tag_at(words, positions) == [expected[position] for position in positions]
    for question in QUESTIONS:
        answers = text.answers_at(words, [(position, question) for position in positions])
        assert answers == [dict(question).get(expected[at][:1], dict(question)[""]) for at in positions]


def test_near_ties_are_summed_in_the_order_of_nltk(nltk_tagger, monkeypatch):
    from evalkit.text import tagger

    words = nltk.word_tokenize("the man left the parking lot playing a red harmonica near the bears")
    expected = [found for _, found in nltk_tagger.tag(words)]
    monkeypatch.setattr(tagger, "NEAR_TIE", 1e9)  # every decision counts as a tie
    assert text.tag(words) == expected


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.sampled_from(
            ["us", "men", "women", "axes", "leaves", "buses", "was", "better", "ss", "", "glasses", "oxen"]
        ),
        st.text("abcdefghilmnorstuvwxyz'-", max_size=8),
    ),
    st.sampled_from("nvar"),
)
def test_lemmas_are_those_of_nltk(word, pos):
    from nltk.stem import WordNetLemmatizer

    assert text.lemma(word, pos) == WordNetLemmatizer().lemmatize(word, pos)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.sampled_from(["us", "men", "women", "axes", "leaves", "buses", "better", "glasses", "oxen", "mice", "s"]),
        st.text("abcdefghilmnorstuvwxyz'-", max_size=8),
    )
)
def test_a_word_is_among_the_sources_of_its_lemmas(word):
    for lemma in text.lemmas(word).values():
        assert word in text.lemma_sources([lemma])


@pytest.mark.parametrize(
    ("penn", "wordnet"), [("JJR", "a"), ("VBG", "v"), ("NNS", "n"), ("RB", "r"), ("RP", "r"), ("IN", "n"), (".", "n")]
)
def test_wordnet_pos(penn, wordnet):
    assert text.wordnet_pos(penn) == wordnet


@pytest.mark.parametrize(
    ("load", "package"),
    [(text._tokenizer, "punkt_tab"), (text._tagger, "averaged_perceptron"), (text._lemmatizer, "wordnet")],
)
def test_missing_nltk_data_names_package_and_remedy(load, package, monkeypatch, tmp_path: Path):
    import nltk.data

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    monkeypatch.delenv("EVALKIT_ASSETS", raising=False)
    with pytest.raises(AssetError, match=rf"{package}.*nltk\.downloader.*NLTK_DATA"):
        load.__wrapped__()
