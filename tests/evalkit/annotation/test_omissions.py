"""Which sentences of a correction are accepted, and the pairs that leave one out."""

import pytest
from annotation_world import make_study

from evalkit.annotation.exports import pairs
from evalkit.annotation.journal import submit
from evalkit.annotation.omissions import accepted_sentences
from evalkit.errors import DataError

SAID = "A cat sits. There is a red cup. 🐶 A dog runs. You can see a clock."
CORRECTED = "A cat sits. There is a blue cup. 🐶 A dog runs."


@pytest.fixture
def study(tmp_path):
    study = make_study(tmp_path, "correct", runs=[{"1": SAID, "2": "A cat. A bird."}])
    submit(study, "anna", "0/1/0", {"text": CORRECTED, "types": ["attribute", "object"]})
    submit(study, "anna", "0/2/0", {"text": "A cat. A bird."})
    return study


@pytest.mark.parametrize(
    ("original", "corrected", "accepted"),
    [
        ("A dog. A cat. A cup.", "A dog. A cat. A cup.", ["A dog.", " A cat.", " A cup."]),
        ("A red dog. A cat. A cup.", "A dog. A cat. A cup.", [" A cat.", " A cup."]),
        ("A dog. A cat. A cup.", "A dog. A cup.", ["A dog.", " A cup."]),  # a sentence was deleted between them
        ("A dog. One cat. Two cups.", "A dog. Two cups.", ["A dog.", " Two cups."]),
        ("A dog. A cat and a cup.", "A dog. A cat.", ["A dog."]),
        ("A dog. A cat.", "A bird.", []),
        ("A dog.", "", []),
    ],
)
def test_sentences_that_stand_as_they_were_are_accepted(original, corrected, accepted):
    assert [corrected[start:end] for _, start, end in accepted_sentences(original, corrected)] == accepted


def test_a_true_sentence_is_left_out_of_the_rejected_response(study):
    assert len(pairs(study).rows) == 1
    correction, *left_out = pairs(study, omissions=5).rows
    assert correction["chosen"] == CORRECTED
    assert {row["chosen"] for row in left_out} == {CORRECTED}
    assert {row["rejected"] for row in left_out} == {
        "There is a blue cup. 🐶 A dog runs.",
        "A cat sits. There is a blue cup.",
    }  # never the sentence that was corrected
    assert len({row["id"] for row in (correction, *left_out)}) == 3
    assert pairs(study, omissions=1).rows == pairs(study, omissions=1).rows


def test_a_response_of_one_sentence_is_never_emptied(tmp_path):
    study = make_study(tmp_path, "correct", runs=[{"1": "A red dog."}])
    submit(study, "anna", "0/1/0", {"text": "A dog.", "types": ["attribute"]})
    assert len(pairs(study, omissions=3).rows) == 1


def test_comparisons_have_no_accepted_sentences(tmp_path):
    with pytest.raises(DataError, match="holds comparisons"):
        pairs(make_study(tmp_path, "compare"), omissions=1)
