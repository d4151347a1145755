"""From a labeler's probabilities to scores."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aligners.feedback.labeling import Judgement, fully_judged, labeler_question, response_score

masses = st.floats(0, 1)
judgement_lists = st.lists(st.builds(Judgement, st.text(max_size=5), masses, masses), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("p_yes", "p_no", "released", "paper"),
    [(0.6, 0.4, True, True), (0.4, 0.6, False, False), (0.25, 0.25, False, True), (0.0, 0.0, False, True)],
)
def test_a_claim_is_confirmed_if_yes_is_likelier_and_a_tie_is_an_option(p_yes, p_no, released, paper):
    judgement = Judgement("Is it?", p_yes, p_no)
    assert judgement.confirms() is released
    assert judgement.confirms(tie_confirms=True) is paper


def test_the_score_is_minus_the_number_of_refuted_claims():
    yes, no = Judgement("a", 0.9, 0.1), Judgement("b", 0.1, 0.9)
    assert response_score([yes, yes, yes]) == 0
    assert response_score([yes, no, no]) == -2


def test_nothing_judged_is_no_score():
    assert response_score([]) is None


@given(judgement_lists)
def test_one_more_refuted_claim_never_scores_better(judgements):
    refuted = [*judgements, Judgement("new", 0.0, 1.0)]
    assert response_score(refuted) == response_score(judgements) - 1


@pytest.mark.parametrize(
    ("claims", "questions", "complete"),
    [
        (["A", "B"], ["a?", "b?"], True),
        (["A", "A"], ["a?", "a?"], False),  # two claims share a question
        (["A", "B"], ["a?"], False),
        (["A", ""], ["a?"], True),
        ([], [], True),
    ],
)
def test_every_claim_needs_a_question_of_its_own(claims, questions, complete):
    assert fully_judged(claims, [Judgement(q, 1.0, 0.0) for q in questions]) is complete


def test_the_labeler_is_asked_for_yes_or_no():
    assert labeler_question("Is it red?").startswith("Is it red? ")
