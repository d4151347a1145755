"""Files are replaced as a whole or not at all."""

import os
from pathlib import Path

import pytest

from evalkit.files.atomic import replace_text, replaced


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
