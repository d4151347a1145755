"""nltk 3.8.1's tokens and lemmas, restated over the installed nltk and its data.

The golden vectors of CHAIR and Object HalBench were made with that release. Four rules of its tokeniser changed later;
they move tokens only in texts with quotes, apostrophes or dashes. There, a single quote before a word or a dash between
two words stayed part of the word, so that "'dog" or "cat—dog" named nothing. And its lemmatiser took endings off a word
again and again until WordNet knew what was left ("less" -> "le", "womens" -> "woman"); today it does so once.
"""

import re
from functools import cache

from evalkit.text.lemmas import ENDINGS
from evalkit.text.tokens import Words, _lemmatizer, lemma, read_words


@cache
def old_tokenizer():
    """The function from a text to its tokens."""
    from nltk.tokenize import NLTKWordTokenizer
    from nltk.tokenize.punkt import PunktLanguageVars, PunktTokenizer

    class OldWords(NLTKWordTokenizer):
        # an apostrophe is cut off before a lone letter, inside a word too; not before longer words
        STARTING_QUOTES = [
            *NLTKWordTokenizer.STARTING_QUOTES[:-1],
            (re.compile(r"(?i)(')(?!re|ve|ll|m|t|s|d|n)(\w)\b"), r"\1 \2"),
        ]
        # dashes stay inside words
        PUNCTUATION = [rule for rule in NLTKWordTokenizer.PUNCTUATION if "2012" not in rule[0].pattern]
        # a line break does not count as the blank behind a clitic
        ENDING_QUOTES = [rule for rule in NLTKWordTokenizer.ENDING_QUOTES if rule[0].pattern != r"\s+"]

    class OldSentences(PunktLanguageVars):
        # curly quotes are letters like others
        re_boundary_realignment = re.compile(r'["\')\]}]+?(?:\s+|(?=--)|$)', re.MULTILINE)
        _re_non_word_chars = r"(?:[?!)\";}\]\*:@\'\({\[])"

    punkt = PunktTokenizer("english")
    punkt._lang_vars = OldSentences()
    return lambda text: [word for part in punkt.tokenize(text) for word in OldWords().tokenize(part)]


def read_words_then(text: str, *, plain: bool = False) -> Words:
    """`read_words`, but by the old rules for a text that they cut otherwise; to stand in for it in a scorer."""
    then = old_tokenizer()(text)
    if then == read_words(text).texts:
        return read_words(text, plain=plain)
    return Words(text, then)


def lemma_then(word: str, pos: str = "n") -> str:
    """`lemma`, but by the old rule; to stand in for it in a scorer."""
    if word in _lemmatizer().exceptions[pos]:
        return lemma(word, pos)
    forms, known = [word], []
    while forms and not known:
        forms = [form[: -len(old)] + new for form in forms for old, new in ENDINGS[pos] if form.endswith(old)]
        known = [form for form in (word, *forms) if form in _lemmatizer().entries[pos]]
    return min(known, key=len, default=word)


class _Uncut:
    """A reader that cuts no chunk on its own: every text is read as a whole."""

    def split(self, text: str) -> None:
        return None


class _Everything(frozenset):
    """Words that nothing is known of: each may be among them."""

    def __contains__(self, word: object) -> bool:
        return True


def read_as_then(monkeypatch) -> None:
    """Let the scorer read by the old rules."""
    monkeypatch.setattr("benchmarks.objects.mentions.read_words", read_words_then)
    monkeypatch.setattr("benchmarks.objects.mentions.tokenizer", lambda *, plain: _Uncut())


def lemmatise_as_then(monkeypatch) -> None:
    """Let the scorer take lemmas by the old rule."""
    monkeypatch.setattr("benchmarks.objects.mentions.lemma", lemma_then)
    monkeypatch.setattr("benchmarks.objects.mentions.lemma_sources", lambda forms: _Everything())
    monkeypatch.setattr(
        "benchmarks.objects.mentions.lemmas", lambda word: {pos: lemma_then(word, pos) for pos in ENDINGS}
    )
