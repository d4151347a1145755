"""Where the training page finds an alignment's pairs."""

import json
from pathlib import Path

import pytest

from dashboard.data import open_alignment

PAIR = {"id": "1", "image": "images/1.png", "prompt": "What?", "chosen": "a dog", "rejected": "a cat"}


@pytest.mark.parametrize(
    ("alignment", "pairs"),
    [("ddpo", "ddpo"), ("ddpo", "ddpo/training/pairs"), ("rlaif/iteration_1/checkpoint", "rlaif/iteration_1")],
)
def test_pairs_are_found_where_each_method_leaves_them(tmp_path: Path, alignment: str, pairs: str) -> None:
    for folder in (alignment, pairs):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / pairs / "pairs.jsonl").write_text(json.dumps(PAIR) + "\n")
    found = open_alignment(tmp_path / alignment)
    assert [pair["chosen"] for pair in found.pairs] == ["a dog"]
    assert found.pairs_folder == tmp_path / pairs


def test_pairs_of_another_alignment_above_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(json.dumps(PAIR) + "\n")
    (tmp_path / "ddpo").mkdir()
    assert list(open_alignment(tmp_path / "ddpo").pairs) == []
