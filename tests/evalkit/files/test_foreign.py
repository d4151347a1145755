"""Files of a folder that somebody else may have made."""

from pathlib import Path

import pytest

from evalkit.files.foreign import read_regular


def test_a_path_below_a_file_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "ids.json").write_text("[]")
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        read_regular(tmp_path / "ids.json" / "run.json")
