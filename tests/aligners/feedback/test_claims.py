"""Dividing responses into claims: by rules, and reading a model's lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aligners.feedback.candidates import Candidate
from aligners.feedback.claims import (
    Claim,
    facts_request,
    join_questions,
    parse_list,
    parse_list_as_released,
    polar_question,
    questions_request,
    split_claims,
)
from aligners.feedback.splitting import RuleSplitter


@pytest.mark.parametrize(
    ("response", "questions"),
    [
        (
            "The image shows a kitchen with two cups and a chair on the left.",
            [
                "Is there a kitchen in the image?",
                "Are there two cups in the image?",
                "Is there a chair in the image?",
                "Is the chair on the left?",
            ],
        ),
        (
            "This is a picture of a street with a car, a person and a traffic light.",
            [f"Is there {x} in the image?" for x in ("a street", "a car", "a person", "a traffic light")],
        ),
        (
            "In the background, there is a dining table. You can also see a red car.",
            [
                "Is there a dining table in the image?",
                "Is the dining table in the background?",
                "Is there a red car in the image?",
            ],
        ),
        ("There is a dog in the image.", ["Is there a dog in the image?"]),
        ("There are people.", ["Are there people in the image?"]),
        ("There is no dog.", ["Is there no dog?"]),  # a negation stays
        ("On the table there are three cups.", ["Are there three cups in the image?", "Are the cups on the table?"]),
        (
            "A man is riding a bike while a dog runs beside him.",
            ["Is a man riding a bike?", "Is it true that a dog runs beside him?"],
        ),
        ("- There is a cat.\n- There is a cat.", ["Is there a cat in the image?"]),  # repeated claims count once
        ("Overall, the mood is calm. I think it may rain.", []),  # opinions and guesses
        ("Yes.", []),
        ("", []),
    ],
)
def test_rules_divide_descriptions_into_polar_questions(response, questions):
    assert [claim.question for claim in split_claims(response)] == questions


def test_claims_carry_their_kind():
    claims = split_claims("There are two dogs in the middle. There is a cup. The cup is red.")
    assert [claim.kind for claim in claims] == ["count", "location", "existence", "statement"]
    assert [claim.text for claim in claims] == [
        "There are two dogs.",
        "The dogs are in the middle.",
        "There is a cup.",
        "The cup is red.",
    ]


@pytest.mark.parametrize(
    ("statement", "question"),
    [
        ("The cup is red.", "Is the cup red?"),
        ("The dogs were not asleep", "Were the dogs not asleep?"),
        ("No people are visible.", "Are no people visible?"),
        ("The dog has a red collar.", "Does the dog have a red collar?"),
        ("The dog has eaten it.", "Has the dog eaten it?"),
        ("London is wet.", "Is London wet?"),
        ("A cat sleeps.", "Is it true that a cat sleeps?"),
        ("The man who is tall smiles.", "Is it true that the man who is tall smiles?"),
        ("It is.", "Is it true that it is?"),
    ],
)
def test_statements_become_questions_that_yes_confirms(statement, question):
    assert polar_question(statement) == question


@given(st.text(max_size=120))
def test_any_text_is_divided_without_an_error_and_without_repeats(text):
    questions = [claim.question for claim in split_claims(text)]
    assert len(set(questions)) == len(questions)
    assert all(question.endswith("?") for question in questions)


@pytest.mark.parametrize(
    ("reply", "careful", "released"),
    [
        ("### Facts:\n- A cat.\n- A dog.", ["A cat.", "A dog."], ["A cat.", "A dog."]),
        ("1. A cat.\n2) A dog.", ["A cat.", "A dog."], [". A cat.", ") A dog."]),
        ("Sure, here it is:\n- A cat.", ["A cat."], ["ure, here it is:", "A cat."]),
        ("A cat.\n\nA dog.", ["A cat.", "A dog."], ["cat.", "dog."]),
        ("- A cat.\n- A cat.\n-", ["A cat."], ["A cat.", "A cat.", ""]),
        (
            "1.5 metres of rope.\n2.5 apples.",
            ["1.5 metres of rope.", "2.5 apples."],
            [".5 metres of rope.", ".5 apples."],
        ),
        ("", [], []),
    ],
)
def test_list_replies_are_read_carefully_or_as_released(reply, careful, released):
    assert parse_list(reply) == careful
    assert parse_list_as_released(reply) == released


def test_claims_and_questions_of_different_number_are_not_matched():
    assert join_questions(["A."], ["A?"]) == [Claim("A.", "A?")]
    assert join_questions(["A.", "B."], ["A?"]) is None


def test_requests_hold_what_the_model_must_read_in_order():
    request = facts_request("What is it?", "A cat on a mat.")
    assert request.index("What is it?") < request.index("A cat on a mat.")
    listed = questions_request(["One.", "Two."])
    assert listed.index("- One.") < listed.index("- Two.")


@pytest.mark.parametrize(
    ("response", "questions"),
    [
        ("Yes, the man is wearing a helmet.", ["Is the man wearing a helmet?"]),
        ("No, there is no dog in the image.", ["Is there no dog in the image?"]),
        (
            "There are two people, one closer to the left side and the other further away.",
            ["Are there two people in the image?"],
        ),
        ("There are also several birds, some of them sitting.", ["Are there several birds in the image?"]),
        ("The bus is red. It is parked near a curb.", ["Is the bus red?"]),
        ("The bus is red, and it has a white stripe.", ["Is the bus red?"]),
        ("He is skillfully riding the wave.", []),
        ("Others are standing.", []),
        ("This cat is black.", ["Is this cat black?"]),
        ("One of the men is smiling.", ["Is one of the men smiling?"]),
    ],
)
def test_every_question_is_understood_by_itself(response: str, questions: list[str]) -> None:
    assert [claim.question for claim in split_claims(response)] == questions


@pytest.mark.parametrize(
    ("response", "answer"), [("Red.", "Red"), ("No", "No"), ("Two dogs.", "Two dogs"), ("A red bus is here.", None)]
)
def test_a_bare_answer_claims_to_be_right(response: str, answer: str | None) -> None:
    candidate = Candidate("a#0", "a", "a.jpg", "What is  it?", response, 0)
    (divided,) = RuleSplitter().split([candidate])
    expected = None if answer is None else f'To the question "What is it?", is "{answer}" the right answer?'
    assert [claim.question for claim in divided.claims if claim.kind == "answer"] == ([expected] if expected else [])
