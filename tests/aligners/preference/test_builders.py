"""Builders of pairs: the first false sentence, corrected responses as supervised data, confidence as a weight."""

import pytest

from aligners.preference.builders import (
    JudgedResponse,
    JudgedSentence,
    conversations,
    first_error_pairs,
    order_confidence,
)
from aligners.preference.pairs import Pair


def spoken(name, *sentences, prompt="p"):
    """A response of sentences given as "text": claims all true, "!text": one false, "?text": not judged."""
    marks = {"!": 1, "?": None}
    judged = [JudgedSentence(s.lstrip("!?"), 1, marks.get(s[0], 0)) for s in sentences]
    return JudgedResponse(name, prompt, "i.png", "Describe.", tuple(judged))


def test_the_first_false_sentence_is_rejected_for_a_true_one_behind_the_same_context():
    samples = [spoken("a", "A dog.", "!A cat.", "!A cow."), spoken("b", "A dog.", "A cup.", "A hat.")]
    pairs, counts = first_error_pairs(samples, seed=0)
    assert [(p.id, p.chosen, p.rejected) for p in pairs] == [("a@1", "A dog. A cup.", "A dog. A cat.")]
    assert counts == {"responses": 2, "clean": 1, "unjudged": 0, "without_alternative": 0}


def test_what_was_said_before_is_no_alternative_and_other_prompts_are_none_either():
    samples = [spoken("a", "A dog.", "!A cat."), spoken("b", "A dog."), spoken("c", "A hat.", prompt="q")]
    pairs, counts = first_error_pairs(samples, seed=0)
    assert pairs == []
    assert counts["without_alternative"] == 1


def test_a_sentence_that_was_not_judged_makes_no_context_and_no_alternative():
    pairs, counts = first_error_pairs([spoken("a", "?A dog.", "!A cat."), spoken("b", "?A cup.")], seed=0)
    assert pairs == []
    assert counts["unjudged"] == 2


def test_a_sentence_without_a_claim_neither_errs_nor_takes_a_place():
    empty = JudgedSentence("Well.", 0, None)
    first = JudgedResponse("a", "p", None, "Q", (empty, JudgedSentence("A cat.", 1, 1)))
    second = JudgedResponse("b", "p", None, "Q", (empty, JudgedSentence("A cup.", 1, 0)))
    pairs, _ = first_error_pairs([first, second], seed=0)
    assert [(p.chosen, p.rejected) for p in pairs] == [("Well. A cup.", "Well. A cat.")]


def test_other_prompts_and_their_order_do_not_move_the_draw():
    group = [spoken("a", "!A cat."), spoken("b", "A cup."), spoken("c", "A hat."), spoken("d", "A pen.")]
    alone = first_error_pairs(group, seed=3)[0]
    beside = first_error_pairs([spoken("x", "!A cow.", prompt="q"), *reversed(group)], seed=3)[0]
    assert alone == beside


def test_conversations_hold_each_chosen_response_once():
    pairs = [Pair("1", "i.png", "Q", "A", "B"), Pair("2", "i.png", "Q", "A", "C"), Pair("3", None, "Q", "A", "C")]
    rows = conversations(pairs)
    assert rows[0] == {
        "id": "1",
        "image": "i.png",
        "conversations": [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "A"}],
    }
    assert len(rows) == 2
    assert "image" not in rows[1]
    assert rows[1]["conversations"][0]["value"] == "Q"


@pytest.mark.parametrize(
    ("chosen", "rejected", "gap", "expected"),
    [
        ([0.0], [1.0], 1, 1.0),
        ([0.5], [0.5], 1, 0.25),
        ([0.1, 0.2], [0.9], 1, 0.9 * 0.8 * 0.9),
        ([0.0], [0.9, 0.8], 2, 0.72),
        ([], [], 1, 0.0),
        ([0.3], [], 1, 0.0),
    ],
)
def test_order_confidence(chosen, rejected, gap, expected):
    assert order_confidence(chosen, rejected, min_gap=gap) == pytest.approx(expected)
