import pytest

from benchmarks.response_files import join_responses, read_json, read_rows
from evalkit.errors import DataError


def write(folder, text):
    path = folder / "file.json"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('[{"id": 1}, {"id": 2}]', ["{path}: entry 1", "{path}: entry 2"]),
        ('{"id": 1}\n\n{"id": 2}\n', ["{path}:1", "{path}:3"]),
        ('\ufeff{"id": 1}\r\n{"id": 2}', ["{path}:1", "{path}:2"]),
        ("[]", []),
    ],
)
def test_rows_of_a_list_and_of_lines_know_where_they_stand(tmp_path, text, places):
    path = write(tmp_path, text)
    rows = read_rows(path)
    assert [row.where for row in rows] == [place.format(path=path) for place in places]
    assert [row.get("id", int) for row in rows] == list(range(1, len(rows) + 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (" \n ", "the file is empty"),
        ('{"id": 1}\n{"id": 2', "file.json:2: not JSON"),
        ('[{"id": 1}', "file.json: not JSON"),
        ('{"id": 1}\n7', "file.json:2: expected a JSON object, found 7"),
        ("[[1]]", "entry 1: expected a JSON object"),
    ],
)
def test_unreadable_files_are_refused_with_the_place(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_rows(write(tmp_path, text))


def test_missing_files_folders_and_foreign_encodings_are_data_errors(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_json(tmp_path / "absent.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_json(tmp_path)
    (tmp_path / "latin.json").write_bytes('["é"]'.encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read_json(tmp_path / "latin.json")


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ('{"caption": "a dog", "image_id": 3}', int, "no field 'id'; found 'caption', 'image_id'"),
        ('{"id": "3"}', int, "'id' must be an integer, found '3'"),
        ('{"id": true}', int, "'id' must be an integer, found True"),
        ('{"id": null}', str, "'id' must be a string, found None"),
        ('{"id": 3.0}', int, "'id' must be an integer"),
    ],
)
def test_absent_fields_and_wrong_types_are_named(tmp_path, fields, kind, message):
    (row,) = read_rows(write(tmp_path, fields))
    with pytest.raises(DataError, match=message):
        row.get("id", kind)


def test_responses_are_joined_by_id_not_by_position():
    found = [("f:1", "b", "second"), ("f:2", "a", "first")]
    assert list(join_responses(found, ["a", "b"], False, "f").items()) == [("a", "first"), ("b", "second")]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([("f:1", "a", "x"), ("f:2", "a", "x"), ("f:3", "b", "x")], "f:2: item 'a' was already answered at f:1"),
        ([("f:1", "a", "x"), ("f:2", "c", "x")], "f:2: no item 'c' in this benchmark"),
        ([("f:1", "b", "x")], "f: 1 of 2 items have no response: a; set partial"),
        ([], "f: 2 of 2 items have no response: a, b"),
    ],
)
def test_repeated_unknown_and_missing_ids_are_refused(found, message):
    with pytest.raises(DataError, match=message):
        join_responses(found, ["a", "b"], False, "f")


def test_partial_allows_missing_items_but_nothing_else():
    assert join_responses([("f:1", "b", "x")], ["a", "b"], True, "f") == {"b": "x"}
    with pytest.raises(DataError, match="no item 'c'"):
        join_responses([("f:1", "c", "x")], ["a", "b"], True, "f")
