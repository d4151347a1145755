"""Where the training page finds an alignment's pairs."""

import json
from pathlib import Path

import pytest

from dashboard.reading.alignments import open_alignment

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
    assert found.pairs[0]["image"] == str(tmp_path / pairs / "images" / "1.png")


def test_an_alignment_in_iterations_shows_the_logs_and_pairs_of_all_of_them(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        checkpoint = tmp_path / f"iteration_{number}" / "checkpoint"
        checkpoint.mkdir(parents=True)
        (checkpoint / "training.jsonl").write_text(json.dumps({"step": 1, "loss": number / 10}) + "\n")
        (checkpoint.parent / "pairs.jsonl").write_text(json.dumps(PAIR | {"id": str(number)}) + "\n")
    (tmp_path / "iterations.jsonl").write_text(json.dumps({"iteration": 1, "pairs": 5}) + "\n")
    found = open_alignment(tmp_path)
    assert [(row["iteration"], row["loss"]) for row in found.steps] == [(1, 0.1), (2, 0.2), (10, 1.0)]
    assert [pair["id"] for pair in found.pairs] == ["1", "2", "10"]
    assert found.pairs[2]["image"] == str(tmp_path / "iteration_10" / "images" / "1.png")
    assert found.iterations == [{"iteration": 1, "pairs": 5}]


def test_pairs_of_another_alignment_above_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(json.dumps(PAIR) + "\n")
    (tmp_path / "ddpo").mkdir()
    assert list(open_alignment(tmp_path / "ddpo").pairs) == []
