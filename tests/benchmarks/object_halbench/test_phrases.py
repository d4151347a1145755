"""Noun phrases: which nouns come out, and which analyser reads them."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from benchmarks.object_halbench.counting import object_names
from benchmarks.object_halbench.phrases import (
    NltkAnalyser,
    PhraseToken,
    RecordedAnalyser,
    SpacyAnalyser,
    choose_analyser,
    noun_runs,
)
from benchmarks.object_halbench.words import ObjectTable
from evalkit.errors import DataError, EngineError

TABLE = ObjectTable.of(
    {
        word: category
        for category, words in {
            "person": ["person", "man", "people"],
            "dining table": ["dining table", "table"],
            "chair": ["chair"],
            "vase": ["vase"],
            "sports ball": ["sports ball"],
            "tie": ["tie"],
        }.items()
        for word in words
    }
)


def tokens(*triples: tuple[str, str]) -> list[PhraseToken]:
    return [PhraseToken(word, word, mark) for word, mark in triples]


@pytest.mark.parametrize(
    ("phrase", "runs"),
    [
        (tokens(("a", "DT"), ("cake", "NN")), ["cake"]),
        (tokens(("a", "DT"), ("birthday", "NN"), ("cake", "NN")), ["birthday cake"]),
        (tokens(("dog", "NN"), ("and", "CC"), ("Boston", "NNP"), ("cat", "NNS")), ["dog", "Boston cat"]),
        (tokens(("a", "DT"), ("red", "JJ")), []),
        ([], []),
    ],
)
def test_noun_runs_are_maximal(phrase, runs):
    assert noun_runs(phrase) == runs


def test_double_words_displace_the_rest_of_their_phrase():
    marked = zip(["a", "dining", "table", "and", "chair"], ("DT", "NN", "NN", "CC", "NN"), strict=True)
    recorded = RecordedAnalyser({"dining table and chair": [[word, word, mark] for word, mark in marked]})
    assert object_names("dining table and chair", TABLE, recorded) == ["dining table"]


def test_double_words_are_taken_greedily_from_the_left():
    table = ObjectTable.of({"hot dog": "hot dog", "dog house": "house"})
    assert table.double_words_in(["a", "hot", "dog", "house", "hot", "dog"]) == ["hot dog", "hot dog"]


@pytest.mark.parametrize(
    ("phrase", "names"),
    [
        ("wooden chairs", ["chair"]),
        ("two men", ["man"]),
        ("group of people", ["group", "people"]),
        ("Dining Tables", ["dining table"]),
        ("vases", ["vase"]),
        ("sports balls", ["sports ball"]),
        ("bow tie", ["tie"]),
        ("blue vases", ["vase"]),
        ("parked chair", ["chair"]),
        ("red", ["red"]),
        ("3", []),
        ("", []),
    ],
)
def test_nltk_reads_phrases(phrase, names):
    assert object_names(phrase, TABLE, NltkAnalyser()) == names


def test_nltk_finds_the_recorded_objects_of_nearly_all_golden_phrases(golden: Path, assets: Path):
    table = ObjectTable.read(assets / "object_halbench" / "synonyms_refine.txt")
    lines = (golden / "object_halbench" / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    recorded = {phrase: rows for line in lines for phrase, rows in json.loads(line)["phrase_tokens"].items()}
    replay, nltk = RecordedAnalyser(recorded), NltkAnalyser()

    def categories(phrase: str, analyser: NltkAnalyser | RecordedAnalyser) -> set[str | None]:
        return {table.categories.get(name) for name in object_names(phrase, table, analyser)} - {None}

    same = sum(categories(phrase, nltk) == categories(phrase, replay) for phrase in recorded)
    assert same >= 0.9 * len(recorded)


def test_nltk_finds_nearly_every_synonym_behind_an_adjective(assets: Path):
    table = ObjectTable.read(assets / "object_halbench" / "synonyms_refine.txt")
    phrases = [
        (f"{adjective} {word}", table.categories[word]) for adjective in ("red", "old") for word in table.categories
    ]
    found = sum(
        category in {table.categories.get(name) for name in object_names(phrase, table, NltkAnalyser())}
        for phrase, category in phrases
    )
    assert found >= 0.98 * len(phrases)


def test_a_phrase_that_was_not_recorded_is_an_error():
    with pytest.raises(DataError, match="'cat'"):
        RecordedAnalyser({}).analyse("cat")


def test_spacy_without_the_model_says_what_to_use_instead():
    with pytest.raises(EngineError, match="nltk"):
        SpacyAnalyser("no_such_model")


def test_spacy_reads_a_phrase_once_with_an_article_in_front(monkeypatch):
    read: list[str] = []

    class Pipeline:
        meta: ClassVar = {"version": "3.7.3"}

        def __call__(self, text: str) -> list[SimpleNamespace]:
            read.append(text)
            return [SimpleNamespace(text=word, lemma_=word.rstrip("s"), tag_="NNS") for word in text.split()[1:]]

    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=lambda model: Pipeline()))
    analyser = SpacyAnalyser()
    assert analyser.name == "en_core_web_trf-3.7.3"
    assert object_names("chairs", TABLE, analyser) == object_names("chairs", TABLE, analyser) == ["chair"]
    assert read == ["a chairs"]


def test_the_analyser_in_use_has_a_name(monkeypatch):
    monkeypatch.setattr("benchmarks.object_halbench.phrases.find_spec", lambda name: None)
    assert choose_analyser("auto").name == "nltk"
    assert choose_analyser("nltk").name == "nltk"
