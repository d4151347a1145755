"""Facts: caption files and the reward model's prompt."""

import json

import pytest

from aligners.reward_model.facts import (
    AnswerKind,
    Turn,
    facts_of,
    load_facts,
    rating_conversation,
    rating_request,
    shuffled,
)
from evalkit.errors import DataError

TABLE = {"1.jpg": ["A cat. ", "A mat."], "aok_1.jpg": ["Cats sleep a lot."], "2.jpg": [" "]}


@pytest.fixture
def caption_file(tmp_path):
    path = tmp_path / "image_to_caption.json"
    path.write_text(json.dumps(TABLE))
    return path


@pytest.mark.parametrize(
    ("image", "kind", "facts"),
    [
        ("1.jpg", AnswerKind.GENERAL, ("A cat.", "A mat.")),
        ("some/folder/1.jpg", AnswerKind.NO, ("A cat.", "A mat.")),
        ("1.jpg", AnswerKind.C, ("Cats sleep a lot.",)),
        ("3.jpg", AnswerKind.GENERAL, None),
        ("2.jpg", AnswerKind.GENERAL, None),  # only blank sentences
    ],
)
def test_facts_are_found_by_file_name_and_kind_of_prompt(caption_file, image, kind, facts):
    assert facts_of(load_facts(caption_file), image, kind) == facts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "expected an object"),
        ('{"a": "b"}', "'a': expected a list"),
        ('{"a": [1]}', "'a'"),
    ],
)
def test_a_bad_caption_file_is_refused(tmp_path, text, words):
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(DataError, match=words):
        load_facts(tmp_path / "f.json")


def test_an_absent_caption_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_facts(tmp_path / "none.json")


def test_without_facts_the_request_is_the_same_text_minus_their_slot():
    bare, full = rating_request(None), rating_request(["A cat.", "A mat."])
    assert rating_request([]) == bare
    assert "A cat." in full
    assert "A mat." in full
    start = next(i for i, (a, b) in enumerate(zip(bare, full, strict=False)) if a != b)
    assert full.endswith(bare[start:])


def test_facts_stand_in_the_last_turn_only():
    turns = [Turn("user", "What is it?")]
    read = rating_conversation(turns, "A dog.", ["A cat."])
    assert [turn.role for turn in read] == ["user", "assistant", "user"]
    assert read[:2] == [*turns, Turn("assistant", "A dog.")]
    assert ["A cat." in turn.text for turn in read] == [False, False, True]
    assert turns == [Turn("user", "What is it?")]


def test_the_order_of_facts_is_drawn_per_use_and_reproducible():
    facts = tuple("abcdef")
    first = shuffled(facts, seed=0, key="row 1, epoch 1")
    assert sorted(first) == list(facts)
    assert first == shuffled(facts, seed=0, key="row 1, epoch 1")
    assert any(shuffled(facts, seed=0, key=f"row {i}") != first for i in range(5))
    assert any(shuffled(facts, seed=i, key="row 1, epoch 1") != first for i in range(1, 6))
    assert facts == tuple("abcdef")
