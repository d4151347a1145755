"""Reference objects from COCO's files."""

import json
from pathlib import Path

import pytest

from benchmarks.objects.coco import (
    Annotations,
    find_image,
    find_images,
    parse_image_id,
    read_captions,
    read_image_ids,
    read_instances,
    read_reference_objects,
    sample_image_ids,
)
from benchmarks.objects.mentions import CHAIR_DOUBLE_WORDS, MentionFinder, Vocabulary
from evalkit.errors import DataError

SYNONYMS = {"dog": "dog", "cat": "cat", "couch": "couch", "sofa": "couch", "bus": "bus"}
INSTANCES = {
    "info": {"year": 2014, "nested": [1, [2]]},
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}, {"id": 3, "file_name": "c.jpg"}],
    "annotations": [
        {"image_id": 1, "category_id": 18, "segmentation": [[1.5, 2.0]], "iscrowd": 0},
        {"image_id": 1, "category_id": 18},
        {"image_id": 2, "category_id": 17, "segmentation": {"counts": [1, 2], "size": [3, 4]}},
    ],
    "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
}
CAPTIONS = {
    "annotations": [
        {"image_id": 1, "caption": "A dog on the sofa.", "id": 1},
        {"image_id": 2, "caption": "Some “fur” ]}, \\ and\nnothing more."},
        {"image_id": 2, "caption": "Buses outside."},
    ]
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path):
    (tmp_path / "instances_mini.json").write_text(json.dumps(INSTANCES, indent=1))
    (tmp_path / "captions_mini.json").write_text(json.dumps(CAPTIONS))
    return tmp_path


@pytest.fixture
def finder():
    return MentionFinder(Vocabulary(SYNONYMS, CHAIR_DOUBLE_WORDS), "singularize")


def test_an_annotation_file_cut_off_anywhere_is_an_error(tmp_path):
    whole = json.dumps(CAPTIONS)
    path = tmp_path / "cut.json"
    for length in range(len(whole)):
        path.write_text(whole[:length])
        with pytest.raises(DataError, match=r"cut\.json.*cut off"):
            read_captions(path, [1])


@pytest.mark.parametrize("content", ["[1, 2]", '{"annotations": [1 2]}', '{"a" 1}', '{"annotations": [1], 3}', "x"])
def test_other_json_is_an_error(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"other\.json"):
        read_captions(path, [1])


def test_reference_objects_join_instances_and_captions(folder, finder):
    source = Annotations(folder, ["mini"])
    assert source.reference_objects([1, 2, 3], finder) == {1: {"dog", "couch"}, 2: {"cat", "bus"}, 3: set()}
    assert source.file_names == {1: "a.jpg", 2: "b.jpg", 3: "c.jpg"}


def test_splits_are_merged(folder, finder):
    (folder / "instances_more.json").write_text(
        json.dumps({**INSTANCES, "annotations": [{"image_id": 3, "category_id": 17}]})
    )
    (folder / "captions_more.json").write_text(json.dumps({"annotations": [{"image_id": 1, "caption": "a cat"}]}))
    source = Annotations(folder, ["mini", "more"])
    assert source.reference_objects([1, 3], finder) == {1: {"dog", "couch", "cat"}, 3: {"cat"}}


def test_an_unknown_image_id_is_an_error(folder, finder):
    with pytest.raises(DataError, match=r"2 of 3 image ids are not in the splits mini .*: 5, 4"):
        Annotations(folder, ["mini"]).reference_objects([5, 1, 4], finder)


def test_a_category_outside_the_table_is_an_error(folder):
    finder = MentionFinder(Vocabulary({"cat": "cat"}, {}), "singularize")
    with pytest.raises(DataError, match="'dog'"):
        Annotations(folder, ["mini"]).reference_objects([1], finder)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"categories": []}, "no 'images' or no 'categories'"),
        ({"annotations": [{"image_id": 1}]}, "category_id"),
        ({"annotations": [{"image_id": 1, "category_id": 99}]}, r"\[99\]"),
        ({"annotations": [3]}, "Expected `object`, got `int`"),
        ({"images": [{"id": "x", "file_name": "a"}]}, "Expected `int`, got `str`"),
    ],
)
def test_malformed_instances_are_an_error(folder, changes, problem):
    (folder / "instances_mini.json").write_text(json.dumps({**INSTANCES, **changes}))
    with pytest.raises(DataError, match=rf"instances_mini\.json.*{problem}"):
        read_instances(folder / "instances_mini.json")


def test_a_missing_annotation_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="instances_val2014"):
        read_instances(tmp_path / "instances_val2014.json")
    with pytest.raises(DataError, match="captions_val2014"):
        read_captions(tmp_path / "captions_val2014.json", [1])


def test_ready_reference_objects(tmp_path):
    path = tmp_path / "gt.json"
    path.write_text('{"9": ["dog", "cat"], "10": []}')
    assert read_reference_objects(path, {"dog", "cat"}) == {9: {"dog", "cat"}, 10: set()}


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"9": "dog"}', '{"9": [1]}', '{"x": []}', '{"9": ["unicorn"]}', '{"9']
)
def test_malformed_reference_objects_are_an_error(tmp_path, content):
    path = tmp_path / "gt.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"gt\.json"):
        read_reference_objects(path, {"dog"})


@pytest.mark.parametrize(
    "content",
    [
        "[3, 1, 20]",
        "3\n1\n\n20\n",
        '["3", "1", "COCO_val2014_000000000020.jpg"]',
        '{"image_id": 3}\n{"image_id": 1}\n20',
        "COCO_val2014_000000000003.jpg\n000000000001.jpg\n20",
        "[3.0, 1.0, 20.0]",
        "3.000000000000000000e+00\n1.000000000000000000e+00\n2.000000000000000000e+01\n",
        '{"image_id": 3, "caption": "a\u2028b"}\n{"imageId": 1}\n{"image": "COCO_val2014_000000000020.jpg"}',
        '{"image_ids": [3, 1, 20]}',
        '{\n "images": [{"id": 9, "file_name": "0003.jpg"}, {"file_name": "1.jpg"}, {"file_name": "20.jpg"}]\n}',
        '{"3": ["dog"], "1": [], "20": []}',
        "image_id,caption\n3,a\n1,b\n20,c\n",
        ";image_id\n0;3\n1;1\n2;20\n",
        "\ufeff3\r\n1\r\n20\r\n",
    ],
)
def test_image_ids_in_every_form(tmp_path, content):
    path = tmp_path / ("ids.csv" if "image_id" in content.partition("\n")[0] and "{" not in content else "ids")
    path.write_text(content)
    assert read_image_ids(path) == [3, 1, 20]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "empty"),
        ("[]", "no image ids"),
        ("3\nx", r"ids:2.*'x'; a list of ids is a JSON list, or an id a line"),
        ("3\n2.5", r"ids:2.*'2.5'"),
        ("3, 1, 20", "an id a line"),
        ("[3, true]", "entry 2"),
        ("3\n4\n3", r"ids:3: image id 3 stands at .*ids:1"),
        ('{"caption": "a"}', r"ids:1"),
        ("-4", "'-4'"),
    ],
)
def test_malformed_image_ids_are_an_error(tmp_path, content, problem):
    path = tmp_path / "ids"
    path.write_text(content)
    with pytest.raises(DataError, match=problem):
        read_image_ids(path)


def test_parse_image_id_takes_no_fraction():
    with pytest.raises(DataError, match=r"here.*1\.5"):
        parse_image_id(1.5, "here")


def test_the_seed_decides_the_sample():
    known = range(1000)
    sample = sample_image_ids(known, 50, seed=1)
    assert sample == sorted(set(sample))
    assert len(sample) == 50
    assert sample == sample_image_ids(reversed(known), 50, seed=1)
    assert sample != sample_image_ids(known, 50, seed=2)
    assert sample_image_ids([3, 1], 50, seed=1) == [1, 3]


@pytest.mark.parametrize("name", ["COCO_val2014_000000000042.jpg", "000000000042.jpg", "COCO_val2014_000000000042.png"])
def test_images_are_found_by_cocos_names(tmp_path, name):
    (tmp_path / name).touch()
    assert find_image(tmp_path, 42, ["val2014"]).name == name
    with pytest.raises(DataError, match="image 43 is not in"):
        find_image(tmp_path, 43, ["val2014"])
    with pytest.raises(DataError, match=r"image 43 is not in .*; 2 of 3 images are missing"):
        find_images(tmp_path, [42, 43, 44], ["val2014"])
    with pytest.raises(DataError, match=r"other\.jpg"):
        find_image(tmp_path, 42, ["val2014"], "other.jpg")


def test_boxes_are_shares_of_their_image(folder, finder):
    images = [{**image, "width": 200, "height": 100} for image in INSTANCES["images"]]
    annotations = [{**row, "bbox": [20, 10, 100, 50]} for row in INSTANCES["annotations"]]
    changed = {**INSTANCES, "images": images, "annotations": annotations}
    (folder / "instances_mini.json").write_text(json.dumps(changed))
    boxes = Annotations(folder, ["mini"]).boxes(INSTANCES["annotations"][0]["image_id"], finder)
    assert {"object": boxes[0]["object"], "x": 0.1, "y": 0.1, "width": 0.5, "height": 0.5} in boxes


def test_without_sizes_or_boxes_there_are_none(folder, finder):
    assert Annotations(folder, ["mini"]).boxes(INSTANCES["annotations"][0]["image_id"], finder) == []
