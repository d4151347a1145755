"""Files are replaced as a whole or not at all."""

import os
from pathlib import Path

import pytest

from evalkit.errors import RecordError
from evalkit.files.atomic import replace_text, replaced, write_output


def test_the_new_content_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.txt"
    with replaced(path) as beside:
        beside.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    replace_text(path, "zwei ü")
    assert path.read_text(encoding="utf-8") == "zwei ü"
    assert [found.name for found in path.parent.iterdir()] == ["a.txt"]


def test_what_a_killed_process_left_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    (tmp_path / ".a.txt.partial").write_text("to")  # as a kill leaves it
    replace_text(path, "two")
    assert {found.name: found.read_text() for found in tmp_path.iterdir()} == {"a.txt": "two"}


def test_processes_that_share_a_file_write_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replaced(path, shared=True) as mine:
        assert str(os.getpid()) in mine.name
        mine.write_text("mine")
        with replaced(path) as theirs:
            theirs.write_text("theirs")
    assert path.read_text() == "mine"


def test_an_error_leaves_the_earlier_content_and_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    with pytest.raises(UnicodeEncodeError), replaced(path) as beside:
        beside.write_text("tw" + "\udc00", encoding="utf-8")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    outside, path = tmp_path / "outside.txt", tmp_path / "run" / "a.txt"
    outside.write_text("precious")
    path.parent.mkdir()
    for link in (path, path.with_name(".a.txt.partial")):
        link.symlink_to(outside)
    replace_text(path, "new")
    assert outside.read_text() == "precious"
    assert not path.is_symlink()
    assert path.read_text() == "new"


def test_an_output_of_the_users_own_follows_a_link_and_goes_to_a_pipe_as_it_is(tmp_path: Path) -> None:
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old")
    link.symlink_to(target)
    write_output(link, "new\r\n")
    assert (link.is_symlink(), target.read_bytes()) == (True, b"new\r\n")
    write_output(Path(os.devnull), "x")
    with pytest.raises(RecordError, match="cannot be written"):
        write_output(tmp_path / "target.txt" / "below.txt", "x")
