"""NLTK's rules, each tried only where it can change something: the same tokens as NLTK's own procedure."""

import random
import sys

import pytest
from nltk.tokenize import NLTKWordTokenizer

from evalkit.text.word_rules import _NEEDED, _NEEDED_LOWERED, WordRules, _quickest

NLTK = NLTKWordTokenizer()
RULES = WordRules(NLTK)
# every sign that a rule looks for, contractions in both cases, and letters whose capital is another letter's too
SIGNS = "abnst.,:;!?'\"`()[]{}<>*@#$%& -\u2013\u2014\u2015«»“”‘’„0129_\n\t\u00a0\x1c\u0130\u0131\u017f\u212aßéß…"
WORDS = """cannot CANNOT d'ye D'YE gimme G\u0130MME gonna gotta Lemme more'n MORE'N wanna 'tis 'T\u0130s 'Twas
can't I'll N'T '' `` ... -- dog the"""


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        "A man's dog (\"Rex\") can't run -- it's 3:15, 50% off!",
        "'Tis one d'ye see; 'twas gonna be wanna ",
        "D'YE'tis",  # the blank that a contraction puts in makes the next one match
        "He said: 'no'. \"Yes.\" [end]",
        "“Curly” ‘quotes’ «and» dashes – — ... * < >",
    ],
)
def test_tokens_are_nltks(sentence):
    assert RULES(sentence) == NLTK.tokenize(sentence)


def test_tokens_of_any_text_are_nltks():
    rng = random.Random(0)
    pieces = [*SIGNS, *WORDS.split(), " ", "  ", " ", " "]
    for _ in range(20_000):
        sentence = "".join(rng.choices(pieces, k=rng.randint(0, 14)))
        assert RULES(sentence) == NLTK.tokenize(sentence), repr(sentence)


def test_only_the_rule_for_blanks_is_always_tried():
    """A release of NLTK with other patterns stays right, but these should be looked at again."""
    signs = (*NLTK.STARTING_QUOTES, *NLTK.PUNCTUATION, NLTK.PARENS_BRACKETS, NLTK.DOUBLE_DASHES, *NLTK.ENDING_QUOTES)
    assert [pattern.pattern for pattern, _ in signs if pattern.pattern not in _NEEDED] == [r"\s+"]
    assert all(pattern.pattern in _NEEDED_LOWERED for pattern in (*NLTK.CONTRACTIONS2, *NLTK.CONTRACTIONS3))


def test_blanks_are_those_of_nltks_rule():
    blanks = next(pattern for pattern, _ in NLTK.ENDING_QUOTES if pattern.pattern == r"\s+")
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert _quickest(blanks, " ")("|", everything) == blanks.sub("|", everything)
