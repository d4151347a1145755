"""Answers in the layouts that other people's files have, laid on items by their keys."""

import json

import pytest

from evalkit.errors import DataError
from evalkit.files.rows import read_rows
from evalkit.formats.importers import import_responses
from evalkit.schema import Item

CAPTIONED = [Item(str(n), "Describe.", None, {"image_id": n, "objects": []}) for n in (9, 25, 13769, 339761)]
OFFSETS = {"random": 10**7, "popular": 2 * 10**7, "adversarial": 0}
QUESTIONS = {
    "random": ["Is there a dog in the image?", "Is there a car in the image?"],
    "popular": ["Is there a dog in the image?", "Is there a chair in the image?"],
    "adversarial": ["Is there a dog in the image?", "Is there a leash in the image?"],
}
POLLED = [
    Item(
        f"{part}/{number}",
        question,
        None,
        {},
        {},
        "COCO_val2014_000000310196.jpg",
        (str(OFFSETS[part] + number),) if OFFSETS[part] else (),
    )
    for part, questions in QUESTIONS.items()
    for number, question in enumerate(questions, 1)
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def laid(path, items, notes=None):
    return {r.prompt_id: r.text for r in import_responses(path, items, partial=True, notes=notes)}


@pytest.mark.parametrize("counter", ["question_id", "id", "index", "idx"])
@pytest.mark.parametrize("name", ["text", "response", "answer", "prediction", "model_answer", "output"])
@pytest.mark.parametrize("image", [{"image_id": "000000013769.jpg"}, {"image": "/d/COCO_val2014_000000013769.jpg"}])
def test_the_image_beats_a_counter(tmp_path, counter, name, image):
    row = {counter: 9, **image, "prompt": "Please describe.", name: "A dog."}
    assert laid(write(tmp_path / "a.jsonl", [row]), CAPTIONED) == {"13769": "A dog."}


@pytest.mark.parametrize(
    "image",
    [
        *({name: "COCO_val2014_000000013769.jpg"} for name in ("filename", "img_name", "image_source", "coco_url")),
        *({name: 13769} for name in ("imageId", "Image ID", "coco_id", "cocoid")),
        {"images": ["13769.jpg"]},
        {"image": {"file_name": "000000013769.jpg", "height": 480}},
        {"image": {"bytes": "aGVsbG8=", "path": "000000013769.jpg"}},
        {"image": "https://host/val2014/COCO_val2014_000000013769.jpg?size=640"},
        {"image": "D:\\coco\\000000013769.jpg"},
        {"image_id": "1.3769e+04"},
    ],
)
def test_an_image_is_seen_in_whatever_dress_it_stands_beside_a_counter(tmp_path, image):
    row = {"question_id": 9, **image, "text": "A dog."}
    assert laid(write(tmp_path / "a.jsonl", [row]), CAPTIONED) == {"13769": "A dog."}


def test_an_image_file_under_another_name_contradicts_a_counter_and_tells_the_item_alone(tmp_path):
    row = {"id": 9, "photo": "000000013769.jpg", "response": "A dog."}
    with pytest.raises(DataError, match="the id names '9', the image '13769'"):
        laid(write(tmp_path / "a.jsonl", [row]), CAPTIONED)
    row = {"id": 9, "photo": "000000000009.jpg", "heatmap": "overlay_77.png", "response": "A dog."}
    assert laid(write(tmp_path / "a.jsonl", [row]), CAPTIONED) == {"9": "A dog."}


@pytest.mark.parametrize("image", ["25.5", "1e400", "2.55e+01", "25,0"])
def test_a_number_that_is_not_whole_is_no_image(tmp_path, image):
    with pytest.raises(DataError, match="no item with"):
        laid(write(tmp_path / "a.jsonl", [{"image_id": image, "caption": "A dog."}]), CAPTIONED)


@pytest.mark.parametrize("image", [25, 25.0, "25", "25.0", "2.5e+01", "2.500000000000000000e+01", "025", [25]])
def test_one_number_in_every_spelling_is_one_image(tmp_path, image):
    assert laid(write(tmp_path / "a.jsonl", [{"image_id": image, "caption": "A dog."}]), CAPTIONED) == {"25": "A dog."}


def test_an_images_own_bytes_name_no_image(tmp_path):
    row = {"id": 9, "image": "iVBORw0KGgo" + "A" * 600 + "25", "response": "A dog."}
    assert laid(write(tmp_path / "a.jsonl", [row]), CAPTIONED) == {"9": "A dog."}


def test_a_text_that_is_the_question_is_not_the_response(tmp_path):
    row = {"question_id": 1, "image": "COCO_val2014_000000310196.jpg", "text": "Is there a dog in the image?"}
    path = write(tmp_path / "pope_adversarial.jsonl", [{**row, "label": "yes", "answer": "no"}])
    assert laid(path, POLLED) == {"adversarial/1": "no"}


def test_two_texts_of_which_either_may_be_the_response_are_an_error(tmp_path):
    row = {"question_id": 9, "text": "A dog.", "answer": "The truth."}
    with pytest.raises(DataError, match="'text' or 'answer', which is the response"):
        laid(write(tmp_path / "a.jsonl", [row]), CAPTIONED)
    assert laid(write(tmp_path / "b.jsonl", [row | {"response": "A cat."}]), CAPTIONED) == {"9": "A cat."}


def test_an_id_of_an_item_that_shows_another_image_is_a_contradiction(tmp_path):
    items = [Item(str(n), f"Is there a thing {n}?", None, {}, {}, f"AMBER_{n % 2}.jpg") for n in range(4)]
    path = write(tmp_path / "a.jsonl", [{"id": 1, "image": "AMBER_0.jpg", "response": "Yes"}])
    with pytest.raises(DataError, match="the id names '1', the image '0'"):
        laid(path, items)


def test_two_images_in_one_row_contradict_each_other(tmp_path):
    row = {"image_id": 9, "image": "COCO_val2014_000000000025.jpg", "caption": "A dog."}
    with pytest.raises(DataError, match="its images name different items, '9' and '25'"):
        laid(write(tmp_path / "a.jsonl", [row]), CAPTIONED)


def test_an_image_that_no_item_has_is_not_laid_on_the_item_of_a_counter(tmp_path):
    row = {"question_id": 9, "image": "000000000077.jpg", "text": "A dog."}
    with pytest.raises(DataError, match="no item with"):
        laid(write(tmp_path / "a.jsonl", [row]), CAPTIONED)


def test_a_reference_beside_an_output_is_not_the_response(tmp_path):
    row = {"image_id": 9, "question": "Describe.", "answer": "the truth", "prediction": "A dog."}
    assert laid(write(tmp_path / "a.jsonl", [row]), CAPTIONED) == {"9": "A dog."}


def test_image_and_question_tell_the_item_without_photographs(tmp_path):
    row = {"image": "COCO_val2014_000000310196.jpg", "question": "Is there a car in the image?", "answer": "no"}
    assert laid(write(tmp_path / "a.jsonl", [row]), POLLED) == {"random/2": "no"}


def test_a_slip_in_a_question_is_read_and_counted(tmp_path):
    notes = []
    row = {"question_id": 2, "question": "Is there a leash in the imange?", "answer": "no"}
    assert laid(write(tmp_path / "a.jsonl", [row]), POLLED, notes) == {"adversarial/2": "no"}
    assert '1 questions say "imange"' in notes[0]


@pytest.mark.parametrize(
    ("stem", "part"),
    [
        ("pope_adv", "adversarial"),
        ("20260101_samples_pope_pop", "popular"),
        ("answers-rand", "random"),
        ("coco_pope_random", "random"),
    ],
)
def test_a_part_is_told_by_its_name_or_the_begin_of_it_in_the_files_name(tmp_path, stem, part):
    path = write(
        tmp_path / f"{stem}.jsonl", [{"question_id": 1, "question": "Is there a dog in the image?", "answer": "no"}]
    )
    assert laid(path, POLLED) == {f"{part}/1": "no"}


def test_without_a_part_in_its_name_a_file_is_refused_with_the_remedy(tmp_path):
    path = write(
        tmp_path / "pope.jsonl", [{"question_id": 1, "question": "Is there a dog in the image?", "answer": "a"}]
    )
    with pytest.raises(DataError, match=r"fits 3 items.*answers_adversarial\.jsonl"):
        laid(path, POLLED)


def test_ids_of_llavas_list_tell_the_part(tmp_path):
    rows = [
        {"question_id": offset + 1, "prompt": "Is there a dog in the image?\nAnswer briefly.", "text": f"{part}"}
        for part, offset in OFFSETS.items()
    ]
    assert laid(write(tmp_path / "a.jsonl", rows), POLLED) == {f"{part}/1": part for part in OFFSETS}


def test_one_row_may_answer_several_parts_that_it_names(tmp_path):
    image = "COCO_val2014_000000310196.jpg"
    text = (
        "index\tquestion\tanswer\tcategory\timage_path\tprediction\n"
        f"0\tIs there a dog in the image? Please answer yes or no.\tyes\trandom,popular\t{image}\tYes\n"
        f"1\tIs there a leash in the image? Please answer yes or no.\tno\tadversarial\t{image}\tNo\n"
    )
    path = tmp_path / "model_POPE.tsv"
    path.write_text(text)
    assert laid(path, POLLED) == {"random/1": "Yes", "popular/1": "Yes", "adversarial/2": "No"}


def test_answers_to_every_question_once_hold_for_all_parts_that_ask_it(tmp_path):
    image = "COCO_val2014_000000310196.jpg"
    asked = {question for questions in QUESTIONS.values() for question in questions}
    rows = [{"image": image, "question": question, "answer": question[11:15]} for question in sorted(asked)]
    joined = laid(write(tmp_path / "a.jsonl", rows), POLLED)
    assert joined == {item.id: item.question[11:15] for item in POLLED}
    with pytest.raises(DataError, match=r"fits 3 items.*; choose one by this"):
        import_responses(write(tmp_path / "b.jsonl", rows[2:]), POLLED, partial=True, parts="choose one by this")


def test_equal_answers_to_all_parts_need_no_part(tmp_path):
    row = {"question_id": 1, "question": "Is there a dog in the image?", "answer": "Yes"}
    assert laid(write(tmp_path / "a.jsonl", [row] * 3), POLLED) == {f"{part}/1": "Yes" for part in OFFSETS}
    with pytest.raises(DataError, match="fits 3 items"):
        laid(write(tmp_path / "b.jsonl", [row, row, row | {"answer": "No"}]), POLLED)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '[{"image_id": 25, "caption": "A giraffe."}]'),
        ("a.json", '{"25": "A giraffe."}'),
        (
            "a.jsonl",
            '{\n "sentences": [\n  {"image_id": 25, "caption": "A giraffe."}\n ],\n "overall_metrics": {}\n}\n',
        ),
        ("a.json", '{\n "image_id": 25,\n "caption": "A giraffe."\n}\n'),
        ("a.csv", ",image_id,caption\n0,25,A giraffe.\n"),
        ("a.csv", "image_id;caption\n25;A giraffe.\n"),
        ("a.csv", "image_id,caption,\n25,A giraffe.,\n"),
        ("a.csv", "image_id,caption\n25.0,A giraffe.\n"),
        ("a.jsonl", '\ufeff{"image": "COCO_val2014_000000000025.jpg", "caption": "A giraffe."}\n'),
        ("a.jsonl", '{"image_id": 25, "prompt": ["Describe."], "text": "A giraffe."}\n'),
        ("a.jsonl", '{"question": "?", "answer": "A giraffe.", "metainfos": "{\\"image_id\\": 25}"}\n'),
        ("a.json", '[{"image_id": 25, "response": "A giraffe."}]'),
        ("a.json", '{"model": "m", "results": [{"image_id": 25, "response": "A giraffe."}]}'),
        ("a.csv", "Image ID , Caption\n25,A giraffe.\n"),
    ],
)
def test_captions_are_read_in_the_layouts_in_use(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    assert laid(path, CAPTIONED) == {"25": "A giraffe."}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "image_id,caption\n9,\n25,A giraffe.\n"),
        ("a.csv", 'image_id,caption\n9,"  "\n25,A giraffe.\n'),
        ("a.csv", '"image_id","caption"\n"9",""\n"25","A giraffe."\n'),
        ("a.csv", "image_id,caption\n9,nan\n25,A giraffe.\n"),
        ("a.tsv", "image_id\tcaption\n9\t\n25\tA giraffe.\n"),
        ("a.csv", "image_id,caption\n9,NULL\n25,A giraffe.\n"),
        ("a.csv", "image_id;caption\n9;\u00a0\u200b\n25;A giraffe.\n"),
        ("a.json", '{"9": NaN, "25": "A giraffe."}'),
        ("a.jsonl", '{"image_id": 9, "caption": null}\n{"image_id": 25, "caption": "A giraffe."}\n'),
        ("a.jsonl", '{"image_id": 9, "caption": NaN}\n{"image_id": 25, "caption": "A giraffe."}\n'),
        ("a.jsonl", '{"image_id": 9}\n{"image_id": 25, "caption": "A giraffe."}\n'),
        ("a.json", '{"9": null, "25": "A giraffe."}'),
    ],
)
def test_none_nan_blank_and_absent_are_failed_responses_in_every_format(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    notes = []
    found = import_responses(path, CAPTIONED, partial=True, notes=notes)
    assert [(r.prompt_id, r.text) for r in found] == [("9", None), ("25", "A giraffe.")]
    assert "1 rows have no response and count as failed" in notes[0]
    assert "marks a failed response" in notes[0]


def test_texts_without_a_word_are_scored_and_named_with_how_to_mark_a_failure(tmp_path):
    notes = []
    path = write(tmp_path / "a.jsonl", [{"image_id": 9, "caption": ""}, {"image_id": 25, "caption": "A giraffe."}])
    assert laid(path, CAPTIONED, notes) == {"9": "", "25": "A giraffe."}
    assert "1 responses are texts without a word" in notes[0]
    assert "marks a failed response" in notes[0]


def test_a_file_without_any_field_of_a_response_is_an_error(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("image_id,caption\n9,\n")
    with pytest.raises(DataError, match="no field 'text'"):
        import_responses(path, CAPTIONED, "plain", partial=True)


def test_a_key_that_occurs_twice_in_one_object_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"image_id": 9, "image_id": 25, "caption": "a dog"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:1: the key 'image_id' occurs twice"):
        read_rows(path)
