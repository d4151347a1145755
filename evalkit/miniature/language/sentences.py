"""Tagged sentences to train the miniature's tagger on: templates of everyday captions, filled with the vocabulary.

A template is a line of words. A word in capitals is a slot for a word of that Penn Treebank tag; "word/TAG" is a word
with a tag of its own; every other word has the tag that FIXED says.

    a JJ NN is VBG near the NN .    ->    a/DT wooden/JJ boat/NN is/VBZ floating/VBG near/IN the/DT bridge/NN ./.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from random import Random

from evalkit.miniature.language.vocabulary import adjectives, adverbs, degrees, nouns, plural, verb_forms, verbs
from evalkit.miniature.lexicon import NOUNS

Tagged = list[tuple[str, str]]

_BY_TAG = {
    "DT": "a an the this these those some no each every another both",
    "CC": "and or but",
    "IN": "that of in on at with near by behind under over from for into through while as if around between above "
    "below beside along across against like outside",
    "TO": "to",
    "EX": "there",
    "PRP": "it they he she you we i",
    "PRP$": "his her their its my your",
    "NN": "image picture photo background group sign",
    "VB": "see",
    "CD": "one two three four five six seven eight nine ten 1 2 3 4 5 6 7 8 9 10 12 300 1999",
    "VBZ": "is has does",
    "VBP": "are have do",
    "MD": "can could may might will would should",
    "RB": "not n't also very so",
    "WP": "what who",
    "WDT": "which",
    "WRB": "where when how",
    ".": ". ? !",
    ",": ",",
    ":": ": ; - --",
    "``": "``",
    "''": "''",
    "(": "(",
    ")": ")",
    "POS": "'s '",
}
FIXED: Mapping[str, str] = {word: tag for tag, words in _BY_TAG.items() for word in words.split()}
_OWN_SHARE = 5  # the world's own nouns come that many times as often as others
NAMES = ("Anna", "Ben", "Clara", "Paul", "London", "Rome", "Maria", "Smith", "Boston", "Japan")

TEMPLATES = """
a JJ NN is VBG near the NN .
a NN and a NN on a JJ NN .
the image shows/VBZ a NN with a NN and two JJ NNS .
the image shows/VBZ a NN NN with two NNS and a JJ NN .
this is a picture of a NN with a JJ NN , a NN and two NNS .
this is a photo of a NN with NNS .
there is a NN .
there is a JJ NN .
there are two NNS .
there are two JJ NNS and a NN .
there is a JJ NN and a NN on the NN .
you can also see a NN .
you can also see two JJ NNS .
you can see an JJ NN and a NN .
in the background , there is a NN .
in the background , there are two NNS .
a NN VBZ on a NN .
a NN VBZ in the NN while another NN VBZ .
two NNS are VBG in a NN .
three JJ NNS are VBG RB .
CD NNS VBP in the NN .
a group of NNS VBG on the JJ NN .
a NN of NNS on a NN NN .
NNS and NNS in a NN .
a VBN NN next/JJ to a VBN NN .
the NN is VBN with NNS .
the NNS were/VBD VBN by a NN .
the NN VBD a NN in the NN .
the NN is RB JJ .
a NN is JJR than/IN the NN .
it is the JJS NN of the NN .
RB , a NN VBZ the NN .
they are VBG the NN RB .
he is VBG his NN , and she is VBG her NN .
the NN 's NN is JJ .
a NN has n't VBN the NN .
is there a NN in the image ?
are there two NNS in the image ?
what is the NN VBG ?
where is the JJ NN ?
which NN is on the NN ?
no , there is no NN .
there is a CD NNS .
there is a CD .
there is a NNS .
there is a JJ NNS .
there is a NN NN .
there is a NN NNS .
there is a JJ .
there is a VBN NN .
there is a NN of NNS .
NNS VBP .
NNS VBP NNS .
the NNS VBP RB .
a NN with two NNS VBZ NNS and a NN .
a NN , a NN , two NNS and a JJ NN .
two NNS , a NN and a JJ NN .
a picture of a NN with two NNS , two JJ NNS and a NN .
NNP VBZ a NN in NNP .
the sign reads/VBZ `` VB '' .
the NN in NNP VBD `` NN '' .
NNP NNP is VBG a JJ NN .
a NN that is VBG a NN .
a NN to VB the NN .
it will VB the NNS .
some NNS VBP JJ NNS .
a JJ , JJ NN .
DT NN IN a JJ NN .
a JJ NN VBZ IN DT NN .
CD NNS IN the NN IN a NN .
a JJ NN next/JJ to the NN NN IN two JJ NNS .
a NN ( a NN ) and NNS .
several/JJ NNS of JJ NNS VBG a NN .
a NN VBG a NN NN .
the NN looks/VBZ JJ .
NN
a NN
a JJ NN
two JJ NNS
NN NN
JJ NNS .
NN and NN
""".strip().splitlines()


def tagged_sentences(count: int, rng: Random) -> Iterator[Tagged]:
    """Sentences with their tags, each template as often as the next; a third of them in lower case throughout."""
    for index in range(count):
        sentence = [word for part in TEMPLATES[index % len(TEMPLATES)].split() for word in _fill(part, rng)]
        sentence = _agree(sentence)
        if rng.random() < 1 / 3:
            yield [(word.lower(), tag) for word, tag in sentence]
        else:
            (first, tag), *rest = sentence
            yield [(first[:1].upper() + first[1:], tag), *rest]


def _fill(part: str, rng: Random) -> Tagged:
    words = _words_of().get(part)
    if words is not None:
        return _compound(rng.choice(words), part)
    word, slash, tag = part.partition("/")
    return [(word, tag if slash else FIXED[word])]


def _compound(name: str, tag: str) -> Tagged:
    """The words of a name: "potted plant" is an adjective and a noun, "sports balls" two nouns, the first a plural."""
    *before, last = name.split()
    known = set(adjectives())
    return [(word, "JJ" if word in known else "NNS" if word.endswith("s") else "NN") for word in before] + [(last, tag)]


def _agree(sentence: Tagged) -> Tagged:
    """ "a apple" is "an apple"."""
    words = [word for word, _ in sentence]
    for index, word in enumerate(words[:-1]):
        if word in ("a", "an"):
            words[index] = "an" if words[index + 1][0] in "aeiou" else "a"
    return [(word, tag) for word, (_, tag) in zip(words, sentence, strict=True)]


@cache
def _words_of() -> dict[str, list[str]]:
    """Slot -> what may stand there."""
    names = [*sorted(nouns()), *_OWN_SHARE * NOUNS]
    forms = [verb_forms(verb) for verb in verbs()]
    compared = [three for three in map(degrees, adjectives()) if three]
    return {
        "NN": names,
        "NNS": [plural(name) for name in names],
        "NNP": list(NAMES),
        "CD": _BY_TAG["CD"].split(),
        "IN": _BY_TAG["IN"].split(),
        "DT": _BY_TAG["DT"].split(),
        "JJ": adjectives(),
        "JJR": [more for more, _ in compared],
        "JJS": [most for _, most in compared],
        "RB": adverbs(),
        "VB": verbs(),
        "VBP": verbs(),
        "VBZ": [third for third, *_ in forms],
        "VBD": [past for _, past, *_ in forms],
        "VBN": [participle for *_, participle, _ in forms],
        "VBG": [present for *_, present in forms],
    }
