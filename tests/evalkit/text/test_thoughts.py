"""Thoughts of reasoning models are no answers."""

import pytest

from evalkit.errors import UsageError
from evalkit.text.thoughts import STANDARD, Thoughts


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\nA dog? No.\n</think>\n\nA cat.", "A cat."),
        ("<THINK>a</THINK> A cat.", "A cat."),
        ("<thinking>a</thinking>A cat.", "A cat."),
        ("<reasoning>a</reasoning>A cat.", "A cat."),
        ("<think>a</think>A cat.<think>b</think> A dog.", "A cat. A dog."),
        ("<think>a <think>b</think> c</think>A cat.", "A cat."),
        ("A dog. <think>a <think>b</think> c</think>A cat.", "A dog. A cat."),
        ("A dog? No.\n</think>\nA cat.", "A cat."),
        ("[THINK]a[/THINK]A cat.", "A cat."),
        ("◁think▷a◁/think▷A cat.", "A cat."),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>A cat.", "A cat."),
        ("<think>a</think><answer>No</answer>", "No"),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>A cat.<|END_RESPONSE|>", "A cat."),
        ("<think>a</think><|begin_of_box|>No<|end_of_box|>", "No"),
        ("<|channel>thought\na<channel|>A cat.", "A cat."),
        ("<unused94>thought\na<unused95>A cat.", "A cat."),
        ("A cat.", "A cat."),
        ("", ""),
        ("1 < 2 and <b>bold</b> [x]", "1 < 2 and <b>bold</b> [x]"),
        ("I think> so", "I think> so"),
        ("<answer>No</answer>", "<answer>No</answer>"),
    ],
)
def test_what_stands_between_the_marks_is_taken_off_and_nothing_else(text, answer):
    assert STANDARD.take_off(text).answer == answer


@pytest.mark.parametrize("text", ["<think>A dog? Wait", "A cat. <think>or", "<think>a</think><think>b"])
def test_an_unfinished_thought_is_a_failure(text):
    said = STANDARD.take_off(text)
    assert said.answer is None
    assert "unfinished thought" in said.failure


@pytest.mark.parametrize("text", ["<think>A cat.</think>", "<think></think>\n \n", "a</think>"])
def test_a_thought_alone_is_no_answer(text):
    assert STANDARD.take_off(text).failure == "a thought without an answer after it"


def test_a_cut_response_without_marks_is_unfinished_where_others_close_what_the_prompt_opened():
    responses = [("A dog? No.</think>A cat.", "stop"), ("A dog? Let me", "length"), ("A bird.", "stop"), (None, None)]
    said = STANDARD.read_all(responses)
    assert [None if one is None else one.answer for one in said] == ["A cat.", None, "A bird.", None]
    assert "unfinished thought" in said[1].failure
    plain = STANDARD.read_all([("<think>a</think>A cat.", "stop"), ("A dog on a", "length")])
    assert [one.answer for one in plain] == ["A cat.", "A dog on a"]


def test_tags_can_be_named_and_removal_switched_off():
    own = Thoughts.parse("reflection")
    assert own.take_off("<reflection>a</reflection>A cat.").answer == "A cat."
    assert own.take_off("<think>a</think>A cat.").answer == "<think>a</think>A cat."
    assert Thoughts.parse("kept").take_off("<think>a").answer == "<think>a"
    assert [Thoughts.parse(text).name for text in ("removed", "kept", "a,b")] == ["removed", "kept", "removed(a+b)"]
    assert Thoughts.parse("removed(a+b)") == Thoughts(("a", "b"))
    with pytest.raises(UsageError, match="not the name of a tag"):
        Thoughts.parse("a b")
