"""Files of a folder that somebody else may have made."""

import os
from pathlib import Path

import pytest

from evalkit.errors import RecordError
from evalkit.files.foreign import open_regular, read_regular


def test_a_path_below_a_file_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "ids.json").write_text("[]")
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        read_regular(tmp_path / "ids.json" / "run.json")


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe", "folder"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "run.json", tmp_path / "target.json"
    if kind == "link":
        target.write_text("{}")
        path.symlink_to(target)
    elif kind == "dangling link":
        path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(RecordError, match=r"run\.json"):
        read_regular(path)
    with pytest.raises(RecordError, match=r"run\.json"):
        os.close(open_regular(path, os.O_RDWR | os.O_CREAT))
    assert target.exists() == (kind == "link")


def test_a_file_beyond_all_measure_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("12345")
    assert read_regular(tmp_path / "run.json", largest=5) == b"12345"
    with pytest.raises(RecordError, match="5 bytes, more than 4"):
        read_regular(tmp_path / "run.json", largest=4)
