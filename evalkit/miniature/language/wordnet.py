"""A small WordNet in WordNet's own file format: the miniature's words, each with one sense.

    index.POS   lemma pos synsets pointers [symbol ...] senses tagged offset ...
    data.POS    offset file type words lemma id ... pointers [symbol offset pos source/target ...] [frames] | gloss
    POS.exc     irregular form, base form
    index.sense sense key, offset, sense number, count

Format: wndb(5WN), senseidx(5WN), lexnames(5WN), https://wordnet.princeton.edu/documentation/wndb5wn. Nouns hang below
their kind, kinds below "entity". No word, gloss or number is taken from WordNet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evalkit.miniature.language.vocabulary import (
    IRREGULAR_DEGREES,
    IRREGULAR_PLURALS,
    IRREGULAR_VERBS,
    NOUN_KINDS,
    adjectives,
    adverbs,
    degrees,
    nouns,
    verb_forms,
    verbs,
)

_HEADER = "  1 The miniature's words in WordNet's file format; nothing here is taken from WordNet.  \n"
_FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_NUMBERS = {"n": 1, "v": 2, "a": 3, "r": 4}
_LEXNAMES = {"a": "adj.all", "r": "adv.all", "n": "noun.all", "v": "verb.all"}


@dataclass(frozen=True, slots=True)
class _Sense:
    """A lemma (blanks written _) with its gloss and the lemma above it."""

    lemma: str
    gloss: str
    above: str | None = None


def wordnet_files() -> dict[str, str]:
    """File name -> content of the whole folder."""
    senses = {
        "n": _noun_senses(),
        "v": [_Sense(verb, f"to {verb}") for verb in sorted(verbs())],
        "a": [_Sense(adjective, f"being {adjective}") for adjective in sorted(adjectives())],
        "r": [_Sense(adverb, f"how or where: {adverb}") for adverb in sorted(adverbs())],
    }
    files: dict[str, str] = {}
    keys: list[str] = []
    for pos, name in _FILES.items():
        data, offsets = _data(pos, senses[pos])
        files[f"data.{name}"] = data
        files[f"index.{name}"] = _HEADER + "".join(
            _index_line(pos, sense, offsets[sense.lemma]) for sense in sorted(senses[pos], key=lambda s: s.lemma)
        )
        files[f"{name}.exc"] = "".join(f"{form} {base}\n" for form, base in sorted(_exceptions()[pos].items()))
        file = _file_number(pos)
        keys += [f"{s.lemma}%{_NUMBERS[pos]}:{file:02d}:00:: {offsets[s.lemma]:08d} 1 0\n" for s in senses[pos]]
    files["index.sense"] = "".join(sorted(keys))
    files["cntlist.rev"] = ""
    files["lexnames"] = "".join(
        f"{number:02d}\t{name}\t{_NUMBERS[pos]}\n" for number, (pos, name) in enumerate(_LEXNAMES.items())
    )
    return files


def _noun_senses() -> list[_Sense]:
    kinds = [_Sense(kind, f"any {kind}", "entity") for kind in NOUN_KINDS]
    words = [
        _Sense(noun.replace(" ", "_"), f"a kind of {kind}", kind)
        for noun, kind in sorted(nouns().items())
        if noun not in NOUN_KINDS
    ]
    return [_Sense("entity", "anything that is"), *kinds, *words]


def _data(pos: str, senses: Sequence[_Sense]) -> tuple[str, dict[str, int]]:
    """The data file and the byte offset of each lemma's line; a sense stands behind the one above it."""
    lines, position = [_HEADER], len(_HEADER.encode())
    offsets: dict[str, int] = {}
    for sense in senses:
        pointers = f"001 @ {offsets[sense.above]:08d} {pos} 0000" if sense.above else "000"
        frames = " 01 + 02 00" if pos == "v" else ""
        line = f"{position:08d} {_file_number(pos):02d} {pos} 01 {sense.lemma} 0 {pointers}{frames} | {sense.gloss}  \n"
        offsets[sense.lemma] = position
        position += len(line.encode())
        lines.append(line)
    return "".join(lines), offsets


def _index_line(pos: str, sense: _Sense, offset: int) -> str:
    pointers = "1 @" if sense.above else "0"
    return f"{sense.lemma} {pos} 1 {pointers} 1 0 {offset:08d}  \n"


def _file_number(pos: str) -> int:
    return list(_LEXNAMES).index(pos)


def _exceptions() -> Mapping[str, Mapping[str, str]]:
    """Part of speech -> irregular form -> base form; only what Morphy's rules do not reach."""
    plurals = {form: noun for noun, form in IRREGULAR_PLURALS.items() if form != noun}
    forms = {form: verb for verb in IRREGULAR_VERBS for form in verb_forms(verb) if form != verb}
    forms |= {verb_forms(verb)[1]: verb for verb in verbs() if verb_forms(verb)[1] == f"{verb[:-1]}ied"}
    compared = {form: word for word in IRREGULAR_DEGREES for form in degrees(word) or ()}
    return {"n": plurals, "v": forms | {"are": "be", "were": "be", "am": "be"}, "a": compared, "r": {}}
