"""Singular of an English token, as pattern.en's `singularize` gives it (clips/pattern, used by the original CHAIR).

CHAIR puts every token through it, verbs and signs too, and its scores hold what comes out ("bus" -> "bu", "ties" ->
"ty"), so the odd results are part of the protocol. Steps, the first that applies decides:

1. a hyphenated word whose second part is a preposition: its first part is made singular ("mothers-in-law");
2. a trailing apostrophe: the word before it, made singular, with 's;
3. a word that is the END of one without a plural ("s", "is" of "debris") stays. The reverse was meant;
4. a word that ends in one of the -ie words with an s stays ("cookies");
5. an irregular plural at the end of the word ("women" -> "woman", "our" -> "my");
6. the first suffix rule that fits.
"""

import re
from collections.abc import Callable, Collection
from functools import lru_cache

_PREPOSITIONS = """about above across after among around at athwart before behind below beneath beside besides between
betwixt beyond but by during except for from in into near of off on onto out over since till to under until unto upon
with"""
_WITHOUT_PLURAL = """bison bream breeches britches carp chassis christmas clippers cod contretemps corps debris diabetes
djinn eland elk flounder gallows georgia graffiti headquarters herpes high-jinks homework innings jackanapes mackerel
measles mews mumps news pincers pliers proceedings rabies salmon scissors series shears species swine swiss trout tuna
whiting wildebeest
advice bread butter cheese electricity equipment fruit furniture garbage gravel happiness information ketchup
knowledge love luggage mathematics mayonnaise meat mustard progress research rice sand software understanding water"""
_IE_WORDS = """alergie auntie beanie birdie bogie bombie collie cookie cutie doggie eyrie freebie goonie groupie hankie
hippie hoagie hottie indie junkie laddie laramie lingerie meanie newbie nightie oldie pixie quickie reverie rookie
softie sortie stoolie sweetie techie toughie valkyrie veggie weenie yuppie zombie"""

PREPOSITIONS = frozenset(_PREPOSITIONS.split())
ENDS_WITHOUT_PLURAL = frozenset(word[at:] for word in _WITHOUT_PLURAL.split() for at in range(len(word) + 1))
IE_PLURALS = tuple(f"{word}s" for word in _IE_WORDS.split())
IRREGULAR = {
    "atlantes": "atlas",
    "atlases": "atlas",
    "axes": "axe",
    "beeves": "beef",
    "brethren": "brother",
    "children": "child",
    "corpora": "corpus",
    "corpuses": "corpus",
    "ephemerides": "ephemeris",
    "feet": "foot",
    "ganglia": "ganglion",
    "geese": "goose",
    "genera": "genus",
    "genii": "genie",
    "graffiti": "graffito",
    "helves": "helve",
    "kine": "cow",
    "leaves": "leaf",
    "loaves": "loaf",
    "men": "man",
    "mongooses": "mongoose",
    "monies": "money",
    "moves": "move",
    "mythoi": "mythos",
    "numena": "numen",
    "occipita": "occiput",
    "octopodes": "octopus",
    "opera": "opus",
    "opuses": "opus",
    "our": "my",
    "oxen": "ox",
    "penes": "penis",
    "penises": "penis",
    "people": "person",
    "sexes": "sex",
    "soliloquies": "soliloquy",
    "teeth": "tooth",
    "testes": "testis",
    "trilbys": "trilby",
    "turves": "turf",
    "zoa": "zoon",
}
# (what must stand before, ending, replacement); the first that fits is applied at the end of the word
RULES = (
    (".", "ae", "a"),
    (".", "itis", "itis"),
    (".", "eaux", "eau"),
    ("quiz", "zes", ""),
    ("matr", "ices", "ix"),
    ("ap|vert|ind", "ices", "ex"),
    ("alias|status", "es", ""),
    ("[octop|vir]", "i", "us"),  # a class of letters where the words were meant
    ("cris|ax|test", "es", "is"),
    ("shoe", "s", ""),
    ("o", "es", ""),
    ("bus", "es", ""),
    ("[m|l]", "ice", "ouse"),
    ("x|ch|ss|sh", "es", ""),
    ("m", "ovies", "ovie"),
    (".", "ombies", "ombie"),
    ("s", "eries", "eries"),
    ("[^aeiouy]|qu", "ies", "y"),
    ("[aeo]l", "ves", "f"),
    ("[^d]ea", "ves", "f"),
    ("", "arves", "arf"),
    ("", "erves", "erve"),
    ("[nlw]i", "ves", "fe"),
    ("[lr]", "ves", "f"),
    ("[aeo]", "ves", "ve"),
    ("[sth]ive", "s", ""),
    ("[^f]", "ves", "fe"),
    ("^analy", "ses", "sis"),
    ("analy", "ses", "asis"),  # "psychoanalyasis": a letter too many, as in pattern
    ("ba|diagno|parenthe|progno|synop|the", "ses", "sis"),
    (".", "opses", "opsis"),
    (".", "yses", "ysis"),
    ("[hdronb]|cl|p", "oses", "ose"),
    (".", "oses", "osis"),
    ("[ti]", "a", "um"),
    ("n", "ews", "ews"),
    ("", "s", ""),
)
_IRREGULAR_PLURALS = tuple(IRREGULAR)
_ENDINGS = tuple({ending for _, ending, _ in RULES})
_RULES = [(re.compile(f"({before}){ending}\\Z", re.IGNORECASE), ending, new) for before, ending, new in RULES]


@lru_cache(maxsize=200_000)
def singularise(word: str) -> str:
    """Singular of a word, cached.

    >>> [singularise(word) for word in ("dogs", "women", "bus", "ties", "is")]
    ['dog', 'woman', 'bu', 'ty', 'is']
    """
    first, hyphen, rest = word.partition("-")
    if hyphen and rest.split("-")[0] in PREPOSITIONS:
        return f"{singularise(first)}-{rest}"
    if word.endswith("'"):
        return f"{singularise(word[:-1])}'s"
    lowered = word.lower()
    if lowered in ENDS_WITHOUT_PLURAL:
        return word
    if lowered.endswith(IE_PLURALS):
        return lowered
    if lowered.endswith(_IRREGULAR_PLURALS):
        plural = next(plural for plural in IRREGULAR if lowered.endswith(plural))
        return word[: -len(plural)] + IRREGULAR[plural]
    if lowered.startswith("oxen"):  # a rule without an end: "oxen-drawn" -> "ox-drawn"
        return word[:2] + word[4:]
    folded = _fold(word)
    if folded.endswith(_ENDINGS):
        for pattern, ending, new in _RULES:
            if folded.endswith(ending) and (match := pattern.search(word)):
                return word[: match.end(1)] + new
    return word


def may_become(singulars: Collection[str]) -> Callable[[str], bool]:
    """Whether the singular of a word can be one of these; quicker than to make it, and never wrong in saying no.

    >>> may_dog = may_become(["dog"])
    >>> may_dog("dogs"), may_dog("cats")
    (True, False)
    """
    folded = {_fold(singular) for singular in singulars}
    changes = {*IRREGULAR.items(), *((ending, new) for _, ending, new in RULES)}
    sources = {word[: len(word) - len(new)] + old for old, new in changes for word in folded if word.endswith(new)}
    sources |= folded | {f"oxen{word[2:]}" for word in folded if word.startswith("ox")}
    return lambda word: _fold(word) in sources or "-" in word or word.endswith("'")


def _fold(word: str) -> str:
    """A word as a pattern reads it that ignores case."""
    folded = word.lower()
    return folded if folded.isascii() else folded.replace("ſ", "s").replace("ı", "i").replace("ς", "σ")
