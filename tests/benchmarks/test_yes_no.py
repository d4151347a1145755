import pytest

from benchmarks.yes_no import read_exact, read_first_sentence, read_leading, read_substring, read_word

TABLE = [
    # response                        exact   substring  word    first_sentence  leading
    ("Yes",                           "yes",  "yes",     "yes",  "yes",          "yes"),
    ("No",                            "no",   "no",      "no",   "no",           "no"),
    ("No.",                           None,   "no",      "no",   "no",           "no"),
    ("no",                            None,   "no",      "no",   "no",           "no"),
    ("NO",                            None,   "no",      "no",   "yes",          "no"),
    (" No",                           None,   "no",      "no",   "no",           "no"),
    ("No\n",                          None,   "no",      "no",   "yes",          "no"),
    ("",                              None,   None,      None,   "yes",          None),
    ("   ",                           None,   None,      None,   "yes",          None),
    ("maybe",                         None,   None,      None,   "yes",          None),
    ("Yes, there is no doubt.",       None,   "yes",     None,   "no",           "yes"),
    ("Yes. There is no doubt.",       None,   "yes",     None,   "yes",          "yes"),
    ("I cannot tell.",                None,   "no",      None,   "yes",          None),
    ("There is not a dog.",           None,   "no",      None,   "no",           None),
    ("There is no dog.",              None,   "no",      "no",   "no",           None),
    ("I know it.",                    None,   "no",      None,   "yes",          None),
    ("yesterday",                     None,   "yes",     None,   "yes",          None),
    ('"Yes"',                         None,   "yes",     "yes",  "yes",          "yes"),
    ("**No**, it is empty",           None,   "no",      None,   "yes",          "no"),
    ("No, no",                        None,   "no",      "no",   "no",           "no"),
    ("noYes",                         None,   "yes",     None,   "yes",          None),
    ("no-one",                        None,   "no",      "no",   "yes",          "no"),
    ("Yes,it is",                     None,   "yes",     "yes",  "yes",          "yes"),
    ("Answer: no",                    None,   "no",      "no",   "no",           None),
    ("No... I mean yes",              None,   "yes",     None,   "no",           "no"),
    ("нет",                           None,   None,      None,   "yes",          None),
]  # fmt: skip


@pytest.mark.parametrize(("response", "exact", "substring", "word", "first_sentence", "leading"), TABLE)
def test_each_reading_of_an_answer(response, exact, substring, word, first_sentence, leading):
    assert read_exact(response) == exact
    assert read_substring(response) == substring
    assert read_word(response) == word
    assert read_first_sentence(response) == first_sentence
    assert read_leading(response) == leading


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("no.5", None),  # a full stop before a digit stays
        ("no!yes", None),  # a sign that touches no blank becomes one: both words
        ("no! yes", None),
        ("(no)yes ,", None),
        ("a ,no,b", None),  # the comma touches a blank somewhere, so all commas go: "nob"
        ("1,000 no,b", None),  # a number with a comma: the same
        ("x,no", "no"),
        ("." * 40 + "no", None),  # only 32 full stops are removed
        ("." * 32 + "no", "no"),
    ],
)
def test_word_reading_keeps_the_punctuation_rules_of_its_origin(response, answer):
    assert read_word(response) == answer
