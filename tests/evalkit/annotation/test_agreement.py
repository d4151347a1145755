"""Agreement, disagreements and the gold set."""

import pytest
from annotation_world import make_study

from evalkit.annotation.agreement import disagreements, gold_accuracy, marked_words, reliability
from evalkit.annotation.decided import read_states
from evalkit.annotation.journal import submit

RED = {"spans": [[4, 7, "attribute"]]}


@pytest.fixture
def study(tmp_path):
    study = make_study(tmp_path, "mark", ("anna", "ben"), overlap=1.0, gold={"0/1/0": RED})
    for name, answers in {
        "anna": {"1": RED, "2": {"spans": []}, "3": {"spans": [[0, 3, "number"]]}, "4": {"spans": []}},
        "ben": {"1": RED, "2": {"spans": [[6, 9, "object"]]}, "3": {"spans": [[0, 3, "number"]]}},
    }.items():
        for item, answer in answers.items():
            submit(study, name, f"0/{item}/0", answer)
    return study


def answers_of(study):
    return {name: state.answers for name, state in read_states(study).items()}


def test_reliability_counts_items_that_two_answered(study):
    found = {row.what: row for row in reliability(study, answers_of(study))}
    assert list(found) == ["hallucinates", *study.types, "words marked"]
    assert found["hallucinates"].units == 3
    assert found["hallucinates"].kappas["anna", "ben"].value == pytest.approx(0.0)  # observed 2/3 = by chance 2/3
    assert found["attribute"].alpha.value == 1.0
    assert found["position"].alpha.value is None  # nobody gave it: there is no agreement to speak of
    assert 0 < found["words marked"].alpha.value < 1


def test_the_items_that_differ_are_listed_with_what_was_said(study):
    (found,) = disagreements(study, answers_of(study))
    assert found.item.id == "2"
    assert found.answers["anna"] == {"spans": []}
    assert found.answers["ben"]["spans"] == [[6, 9, "object"]]


def test_gold_answers_give_an_annotators_accuracy(study):
    submit(study, "ben", "0/1/0", {"spans": []}, follows=1)
    found = gold_accuracy(study, read_states(study))
    assert (found["anna"].value, found["ben"].value) == (100.0, 0.0)


def test_an_insertion_marks_no_word(tmp_path):
    study = make_study(tmp_path, "correct")
    submit(study, "anna", "0/2/0", {"text": "A black cat and a bird.", "types": ["attribute"]})
    answer = answers_of(study)["anna"]["0/2/0"]
    assert not any(marked_words(study, study.item("0/2/0"), answer))


def test_comparisons_agree_by_question(tmp_path):
    study = make_study(tmp_path, "compare", ("anna", "ben"), overlap=1.0)
    for name, better in (("anna", "first"), ("ben", "second")):
        for item in study.items:
            submit(study, name, item.key, {"less_hallucinated": "first", "better": better})
    found = {row.what: row for row in reliability(study, answers_of(study))}
    assert found["better"].alpha.value < 0
    assert found["less_hallucinated"].alpha.value is None
    assert len(disagreements(study, answers_of(study))) == 3
