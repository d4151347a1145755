"""Label Studio and Potato: what goes out and what comes in."""

import json
import xml.etree.ElementTree as ElementTree

import pytest
from annotation_world import BASE, make_study

from evalkit.annotation.answers import checked_answer
from evalkit.annotation.exchange import label_studio, potato
from evalkit.errors import DataError
from evalkit.files.rows import Row

DOG = BASE["1"]  # the dog's emoji is one code point and two UTF-16 units


@pytest.mark.parametrize(
    ("task", "tags"), [("mark", {"Labels"}), ("correct", {"Labels", "TextArea"}), ("compare", {"Pairwise"})]
)
def test_the_configuration_is_xml_with_the_controls_of_the_task(tmp_path, task, tags):
    study = make_study(tmp_path, task, types=("object", 'a"<b'))
    found = ElementTree.fromstring(label_studio.config(study))
    assert tags <= {element.tag for element in found.iter()}
    fields = {element.get("value")[1:] for element in found.iter() if (element.get("value") or "").startswith("$")}
    assert fields <= label_studio.tasks(study)[0]["data"].keys()


def test_what_the_benchmark_found_goes_out_in_utf16_units(tmp_path):
    study = make_study(tmp_path)
    task = next(task for task in label_studio.tasks(study, "/images/") if task["data"]["key"] == "0/1/0")
    (result,) = task["predictions"][0]["result"]
    place = DOG.index("dog")
    assert (result["value"]["start"], result["value"]["text"]) == (place + 1, "dog")
    assert task["data"]["image"] == "/images/1.png"


def export(task, result, **more):
    return [
        {"data": task["data"], "annotations": [{"completed_by": {"id": 1, "email": "a@x"}, "result": result, **more}]}
    ]


def span(start, end, text="red"):
    value = {"start": start, "end": end, "labels": ["attribute"]} | ({"text": text} if text else {})
    return {"type": "labels", "from_name": "type", "value": value}


@pytest.mark.parametrize("result", [span(5, 8), span(5, 8, None), span(4, 7)])
def test_spans_come_in_whatever_counts_them(tmp_path, result):
    study = make_study(tmp_path)
    task = next(task for task in label_studio.tasks(study) if task["data"]["key"] == "0/1/0")
    ((who, key, answer),) = label_studio.answers(study, export(task, [result]))
    assert (who, key) == ("a@x", "0/1/0")
    assert checked_answer("mark", answer, [DOG], study.types) == {"spans": [[4, 7, "attribute"]]}


def test_corrections_come_in_with_the_types_of_the_marks_on_them(tmp_path):
    study = make_study(tmp_path, "correct")
    task = next(task for task in label_studio.tasks(study) if task["data"]["key"] == "0/1/0")
    text = {"type": "textarea", "from_name": "corrected", "value": {"text": ["🐶 A black dog lies on a sofa."]}}
    ((_, _, answer),) = label_studio.answers(study, export(task, [span(5, 8), text]))
    checked = checked_answer("correct", answer, [DOG], study.types)
    assert [segment[-1] for segment in checked["segments"]] == ["attribute", "other"]


def test_comparisons_come_in_with_ties(tmp_path):
    study = make_study(tmp_path, "compare")
    task = label_studio.tasks(study)[0]
    better = {"from_name": "better", "type": "choices", "value": {"choices": ["first"]}}
    picked = {"from_name": "less_hallucinated", "type": "pairwise", "value": {"selected": "right"}}
    tie = {"from_name": "undecided", "type": "choices", "value": {"choices": ["tie"]}}
    for result, less in ((picked, "second"), (tie, "tie")):
        ((_, _, answer),) = label_studio.answers(study, export(task, [result, better]))
        assert answer == {"less_hallucinated": less, "better": "first", "wrong": []}


def test_a_cancelled_annotation_is_a_skip(tmp_path):
    study = make_study(tmp_path)
    ((_, _, answer),) = label_studio.answers(study, export(label_studio.tasks(study)[0], [], was_cancelled=True))
    assert answer is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tasks: {"tasks": tasks},
        lambda tasks: [{"annotations": []}],
        lambda tasks: [tasks[0] | {"data": tasks[0]["data"] | {"key": "9"}}],
        lambda tasks: [tasks[0] | {"data": tasks[0]["data"] | {"hashes": ["0"]}}],
        lambda tasks: [tasks[0] | {"annotations": [{"completed_by": 1, "result": [span(0, 3, "nobody")]}]}],
        lambda tasks: [tasks[0] | {"annotations": [{"completed_by": 1}]}],
    ],
)
def test_what_is_no_export_of_this_study_is_refused(tmp_path, spoil):
    study = make_study(tmp_path)
    with pytest.raises(DataError):
        list(label_studio.answers(study, spoil(label_studio.tasks(study))))


def test_potatos_configuration_is_yaml_and_its_data_has_every_item(tmp_path):
    study = make_study(tmp_path)
    assert json.loads(json.dumps(potato.config(study)))["annotation_schemes"][0]["labels"] == list(study.types)
    assert {row["id"] for row in potato.data(study)} == {item.key for item in study.items}


def row(**fields):
    return Row("rows.jsonl:1", {"instance_id": "0/1/0", "user_id": "u", "schema_name": "hallucination", **fields})


def test_potatos_rows_become_answers(tmp_path):
    study = make_study(tmp_path)
    rows = [
        row(start=4, end=7, label="attribute", text="red"),
        row(start="9", end="12", label="object", text="dog"),  # from a CSV, in UTF-16 units
        row(instance_id="0/2/0", schema_name="clean", label="clean"),
    ]
    found = {key: answer for _, key, answer in potato.answers(study, rows)}
    place = DOG.index("dog")
    assert found["0/1/0"]["spans"] == [[4, 7, "attribute"], [place, place + 3, "object"]]
    assert found["0/2/0"] == {"spans": []}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"label": "object"},
        {"label": "object", "start": 0, "end": 3, "text": "nobody"},
        {"label": "object", "start": "x", "end": 3},
    ],
)
def test_potatos_malformed_rows_are_named(tmp_path, fields):
    with pytest.raises(DataError, match=r"rows.jsonl:1"):
        list(potato.answers(make_study(tmp_path), [row(**fields)]))


def test_potato_has_nothing_for_corrections(tmp_path):
    with pytest.raises(DataError, match="label-studio"):
        potato.config(make_study(tmp_path, "correct"))
