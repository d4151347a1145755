"""What comes out of a study, checked by hand."""

import hashlib

import pytest
from annotation_world import BASE, OTHER, make_study

from evalkit.annotation.exports import comparisons, labels, marked_segments, mhumaneval, pairs
from evalkit.annotation.journal import submit
from evalkit.annotation.study import ADJUDICATOR
from evalkit.errors import DataError


@pytest.fixture
def corrected(tmp_path):
    study = make_study(tmp_path, "correct", ("anna", "ben"), overlap=1.0)
    submit(study, "anna", "0/1/0", {"text": "🐶 A black dog sits on a sofa.", "types": ["attribute"]})
    submit(study, "ben", "0/1/0", {"text": "🐶 A brown dog sits on a sofa.", "types": ["attribute"]})
    submit(study, "anna", "0/2/0", {"text": BASE["2"]})
    return study


def test_corrections_become_pairs_with_their_segments(corrected):
    found = pairs(corrected)
    assert [row["id"] for row in found.rows] == ["0/1/0@anna", "0/1/0@ben"]
    row = found.rows[0]
    assert (row["chosen"], row["rejected"]) == ("🐶 A black dog sits on a sofa.", BASE["1"])
    assert row["meta"]["segments"] == [[4, 7, 4, 9, "attribute"]]
    assert row["image"].endswith("/images/1.png")
    assert found.left_out == {"accepted as it is": 1}


def test_an_adjudicated_answer_counts_alone(corrected):
    submit(corrected, ADJUDICATOR, "0/1/0", {"text": "🐶 A dog sits on a sofa.", "types": ["attribute"]})
    assert [(row["id"], row["chosen"]) for row in pairs(corrected).rows] == [
        ("0/1/0@adjudicated", "🐶 A dog sits on a sofa.")
    ]


def test_corrections_become_comparisons_in_drawn_order(corrected):
    found, folder = comparisons(corrected)
    assert folder.name == "images"
    for row in found.rows:
        better = row[f"output_{row['preference']}"]["value"]
        worse = row[f"output_{3 - row['preference']}"]["value"]
        assert (better != BASE["1"], worse) == (True, BASE["1"])
        assert row["hallucination"] is True
        assert row["image"] == "1.png"
        assert row["conversations"] == [{"from": "human", "value": "<image>\nDescribe."}]


@pytest.fixture
def compared(tmp_path):
    study = make_study(tmp_path, "compare")
    for item in study.items:
        if item.id == "2":
            submit(study, "anna", item.key, {"less_hallucinated": "tie", "better": "tie"})
        else:
            place = item.texts.index(BASE[item.id])
            words = ("first", "second")
            wrong = [[place, 0, 1, "object"]] if item.id == "1" else []
            answer = {"less_hallucinated": words[1 - place], "better": words[place], "wrong": wrong}
            submit(study, "anna", item.key, answer)
    return study


def test_the_response_that_hallucinates_less_is_chosen(compared):
    found = pairs(compared)
    assert sorted((row["chosen"], row["rejected"]) for row in found.rows) == sorted(
        (OTHER[name], BASE[name]) for name in ("1", "3")
    )
    assert {row["meta"]["chosen_model"] for row in found.rows} == {"other"}
    assert found.left_out == {"a tie": 1}


def test_comparisons_say_which_is_better_and_whether_the_worse_hallucinates(compared):
    found, _ = comparisons(compared)
    by_image = {row["image"]: row for row in found.rows}
    for name in ("1", "3"):
        row = by_image[f"{name}.png"]
        assert row[f"output_{row['preference']}"]["value"] == BASE[name]
        assert row["hallucination"] is False  # the worse one hallucinates less, and only the better one is marked
    assert found.left_out == {"a tie": 1}


@pytest.fixture
def marked(tmp_path):
    study = make_study(tmp_path, "mark", ("anna", "ben", "cora"), overlap=1.0)
    said = {
        "1": (["object"], ["object"], []),
        "2": (["number"], ["object"], []),
        "3": ([], [], []),
    }
    for name, by in said.items():
        for annotator, kinds in zip(study.annotators, by, strict=True):
            submit(study, annotator, f"0/{name}/0", {"spans": [[0, 1, kind] for kind in kinds]})
    submit(study, "anna", "0/4/0", {"spans": [[0, 1, "object"]]})
    submit(study, "ben", "0/4/0", {"spans": []})
    return study


def test_labels_follow_the_majority_and_leave_ties_out(marked):
    found = labels(marked)
    assert {row["id"]: row["label"] for row in found.rows} == {"1": 1, "2": 1, "3": 0}
    assert found.left_out == {"annotators are divided": 1}


def test_mhumaneval_counts_a_response_once_per_type(marked):
    rates = mhumaneval(marked)["base"]
    assert rates["all"].value == pytest.approx(100 * 2 / 3)
    assert rates["object"].value == pytest.approx(100 / 3)  # item 2: one voice of three; item 4: divided, left out
    assert rates["number"].value == 0
    assert rates["all"].low is not None


def test_segments_carry_the_hash_of_the_response_they_speak_of(marked):
    rows = [row for row in marked_segments(marked) if row["item"] == "1"]
    assert [(row["annotator"], row["start"], row["type"]) for row in rows] == [
        ("anna", 0, "object"), ("ben", 0, "object"), ("cora", None, None),
    ]  # fmt: skip
    assert rows[0]["response_sha256"] == hashlib.sha256(BASE["1"].encode()).hexdigest()


@pytest.mark.parametrize("export", [pairs, comparisons])
def test_marks_are_no_pairs(marked, export):
    with pytest.raises(DataError, match="holds marks"):
        export(marked)


@pytest.mark.parametrize(
    "export", [lambda study: labels(study, "base"), mhumaneval, lambda study: list(marked_segments(study))]
)
def test_comparisons_are_no_labels(compared, export):
    with pytest.raises(DataError, match="compares responses"):
        export(compared)


def test_labels_of_several_runs_need_a_name(tmp_path):
    study = make_study(tmp_path, "mark", runs=[BASE, OTHER])
    with pytest.raises(DataError, match="--run"):
        labels(study)
    with pytest.raises(DataError, match="no run 'x'"):
        labels(study, "x")
    submit(study, "anna", "1/2/0", {"spans": []})
    assert labels(study, "other").rows == [{"id": "2", "sample": 0, "label": 0}]
