"""Signatures: one line, read back, and the field that differs named."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import DataError
from evalkit.runs.signature import Signature, differences

MANIFEST = {
    "schema": 1,
    "evalkit": "0.1.0",
    "benchmark": "amber",
    "label": "llava",
    "model": {"model": "org/llava:7b", "engine": "transformers", "dtype": "bfloat16", "image_processor": {"size": 336}},
    "sampling": {"temperature": 0.0, "top_p": 1.0, "max_new_tokens": 512, "n": 1, "seed": 0, "num_beams": 1},
    "settings": {"data": "val|x", "variant": "pos_lemma", "similarity": "spacy-3.7", "ids": "cafe0123"},
    "judge": {"engine": "openai", "model": "judge-1", "prompt": "aa11bb22", "parser": "v1", "base_url": "http://a"},
    "prompts": "9be0c7d2",
    "images": "77ab01ce",
    "ids": "3f2a9c01",
    "items": 500,
    "versions": {"nltk": "3.10.4", "torch": "2.13.0"},
}


def changed(**paths):
    manifest = copy.deepcopy(MANIFEST)
    for path, value in paths.items():
        *outer, last = path.split("__")
        place = manifest
        for name in outer:
            place = place[name]
        place[last] = value
    return Signature.of(manifest)


def test_short_form_holds_the_protocol():
    assert str(Signature.of(MANIFEST)) == (
        "amber|data:val%7Cx|variant:pos_lemma|similarity:spacy-3.7|amber.ids:cafe0123|n:500|ids:3f2a9c01|"
        "prompts:9be0c7d2|images:77ab01ce|max:512|T:0|top_p:1|beams:1|judge:judge-1|judge.prompt:aa11bb22|"
        "judge.parser:v1|nltk:3.10.4|v:0.1.0"
    )


def test_long_form_adds_the_model():
    assert (
        Signature.of(MANIFEST)
        .long()
        .endswith(
            "|model.engine:transformers|model.dtype:bfloat16|model.image_processor.size:336|"
            "model.n:1|model.seed:0|model.torch:2.13.0|model.name:org/llava:7b"
        )
    )


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        ("benchmark", "pope", "benchmark"),
        ("prompts", "00000000", "prompts"),
        ("sampling__max_new_tokens", 64, "max"),
        ("sampling__temperature", 0.7, "T"),
        ("sampling__num_beams", 5, "beams"),
        ("settings__variant", "singularize", "variant"),
        ("settings__similarity", "identity", "similarity"),
        ("settings__data", "other", "data"),
        ("judge__model", "judge-2", "judge"),
        ("judge__prompt", "other", "judge.prompt"),
        ("judge__parser", "v2", "judge.parser"),
        ("ids", "00000000", "ids"),
        ("images", "00000000", "images"),
        ("versions__nltk", "3.9", "nltk"),
        ("evalkit", "0.2.0", "v"),
    ],
)
def test_one_changed_setting_is_named(path, value, name):
    found = differences(Signature.of(MANIFEST), changed(**{path: value}))
    assert name in [difference.field for difference in found]
    assert {difference.field for difference in found} <= {name, "amber.ids", "pope.ids"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model__model", "other/model"),
        ("model__dtype", "float16"),
        ("model__engine", "vllm"),
        ("model__image_processor", {"size": 448}),
        ("sampling__seed", 7),
        ("sampling__n", 4),
        ("versions__torch", "2.14.0"),
        ("judge__base_url", "http://b"),
        ("judge__shared_prefixes", "on"),
        ("images", None),
    ],
)
def test_the_subject_is_no_obstacle(path, value):
    assert differences(Signature.of(MANIFEST), changed(**{path: value})) == []


def test_an_absent_field_differs():
    (difference,) = differences(Signature.of(MANIFEST), changed(prompts=None))
    assert str(difference) == "prompts (hash of all prompts): 9be0c7d2 against absent"


def test_a_run_without_judge_differs_from_a_judged_one():
    assert "judge" in [difference.field for difference in differences(Signature.of(MANIFEST), changed(judge=None))]


def test_long_and_short_form_have_the_same_protocol():
    signature = Signature.of(MANIFEST)
    assert Signature.parse(signature.long()) == signature
    assert differences(Signature.parse(signature.short()), signature) == []


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(
    words,
    st.dictionaries(words.filter(lambda name: not name.startswith("model.")), words),
    st.dictionaries(words, words),
)
def test_any_signature_is_read_back_from_its_line(benchmark, protocol, subject):
    signature = Signature(benchmark, protocol, subject)
    line = signature.long()
    assert "\n" not in line
    assert Signature.parse(line) == signature


@pytest.mark.parametrize("text", ["", "|a:1", "chair|a", "chair|a:1|a:2", "chair|:1", "a:1|b:2"])
def test_unreadable_signatures_are_errors(text):
    with pytest.raises(DataError, match="signature"):
        Signature.parse(text)


def test_a_manifest_without_benchmark_is_an_error():
    with pytest.raises(DataError, match="benchmark"):
        Signature.of({"settings": {}})
