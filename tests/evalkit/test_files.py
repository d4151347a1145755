"""Files are replaced as a whole or not at all."""

from pathlib import Path

import pytest

from evalkit.files import replace_text, replaced


def test_the_new_content_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.txt"
    with replaced(path) as beside:
        beside.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    replace_text(path, "zwei ü")
    assert path.read_text(encoding="utf-8") == "zwei ü"
    assert [found.name for found in path.parent.iterdir()] == ["a.txt"]


def test_an_error_leaves_the_earlier_content_and_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    with pytest.raises(UnicodeEncodeError), replaced(path) as beside:
        beside.write_text("tw" + "\udc00", encoding="utf-8")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]
