import pytest

from evalkit.errors import DataError
from evalkit.files.fields import field, read_object, words
from evalkit.files.rows import Row, read_text


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"caption": "a dog", "image_id": 3}, int, "f.json:7: no field 'id'; found 'caption', 'image_id'"),
        ({}, int, "no field 'id'; found nothing"),
        ({"id": "3"}, int, "f.json:7: 'id' must be an integer, found '3'"),
        ({"id": True}, int, "'id' must be an integer, found True"),
        ({"id": 3.0}, int, "'id' must be an integer, found 3.0"),
        ({"id": None}, str, "'id' must be a string, found None"),
        ({"id": "abc"}, list, "'id' must be a list, found 'abc'"),
    ],
)
def test_absent_fields_and_wrong_types_are_named_with_their_place(fields, kind, message):
    with pytest.raises(DataError, match=message):
        field(Row("f.json:7", fields), "id", kind)


def test_fields_of_the_right_type_are_given_back():
    row = Row("f.json:7", {"id": 3, "text": "", "words": ["a", "b"], "mixed": ["a", 1]})
    assert (field(row, "id", int), field(row, "text", str), words(row, "words")) == (3, "", ["a", "b"])
    with pytest.raises(DataError, match=r"f\.json:7: 'mixed' must be a list of strings"):
        words(row, "mixed")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n ", "the file is empty"),
        (b'{"dog": [', "not JSON"),
        (b"[1]", "expected a JSON object"),
        ('{"é": []}'.encode("latin-1"), "not UTF-8"),
    ],
)
def test_files_that_hold_no_object_are_refused(tmp_path, content, message):
    path = tmp_path / "relation.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"relation\.json.*{message}"):
        read_object(path)


def test_missing_files_and_folders_are_data_errors(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_object(tmp_path / "absent.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_object(tmp_path)


def test_line_ends_and_byte_order_marks_do_not_matter(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes("\ufefforange\r\nsnack".encode())
    assert read_text(path) == "orange\nsnack"
