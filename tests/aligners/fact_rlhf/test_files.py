"""Reading LLaVA-RLHF's comparison and prompt files (rows written for these tests)."""

import json
from pathlib import Path

import pytest

from aligners.fact_rlhf.files import read_comparisons, read_rollout_prompts
from aligners.reward_model.comparisons import Comparison
from aligners.reward_model.facts import AnswerKind
from aligners.rl.rollouts import RolloutPrompt
from evalkit.errors import DataError
from evalkit.images import ImageFile
from evalkit.schema import Turn

ROW = {
    "id": "c1",
    "image": "000000000001.jpg",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A cat."},
        {"from": "human", "value": "Its colour?"},
        {"from": "gpt", "value": "to be replaced"},
    ],
    "output_1": {"from": "llava", "value": "Black."},
    "output_2": {"from": "llava", "value": "Red, with a hat."},
    "preference": 1,
    "hallucination": True,
}
TURNS = (Turn("user", "What is it?"), Turn("assistant", "A cat."), Turn("user", "Its colour?"))


def written(tmp_path, content):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(content))
    return path


def test_the_last_model_turn_gives_way_to_the_two_outputs(tmp_path):
    without_answer = {**ROW, "id": "c2", "conversations": ROW["conversations"][:3], "preference": 2}
    del without_answer["hallucination"]
    expected = Comparison("c1", ImageFile(tmp_path, ROW["image"]), TURNS, ("Black.", "Red, with a hat."), 0, True)
    other = Comparison("c2", ImageFile(tmp_path, ROW["image"]), TURNS, ("Black.", "Red, with a hat."), 1, None)
    assert read_comparisons(written(tmp_path, [ROW, without_answer]), tmp_path) == [expected, other]


def test_a_prompt_is_the_first_user_turn(tmp_path):
    rows = [
        {**ROW, "caption_type": 6, "length_bonus": 0.5},
        {"image": "2.jpg", "conversations": ROW["conversations"][2:3]},
    ]
    assert read_rollout_prompts(written(tmp_path, rows), tmp_path) == [
        RolloutPrompt("c1", ImageFile(tmp_path, ROW["image"]), "What is it?", AnswerKind.NO, 0.5),
        RolloutPrompt("1", ImageFile(tmp_path, "2.jpg"), "Its colour?", AnswerKind.GENERAL, 1.0),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"preference": 0}, "row 1: .*preference must be 1 or 2"),
        ({"image": None}, "row 1: .*expected text"),
        ({"output_2": {}}, "row 1: 'value' is missing; found: conversations, "),
        ({"conversations": []}, "row 1: .*no user turn"),
        ({"conversations": [{"from": "robot", "value": "x"}]}, "row 1: .*'robot'"),
    ],
)
def test_a_bad_comparison_is_named(tmp_path, change, words):
    with pytest.raises(DataError, match=words):
        read_comparisons(written(tmp_path, [ROW, {**ROW, **change}]), tmp_path)


@pytest.mark.parametrize("change", [{"caption_type": 9}, {"length_bonus": "long"}, {"conversations": []}])
def test_a_bad_prompt_is_named(tmp_path, change):
    with pytest.raises(DataError, match="row 0"):
        read_rollout_prompts(written(tmp_path, [{**ROW, **change}]), tmp_path)


def test_files_that_are_absent_or_no_list_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_comparisons(tmp_path / "none.json", tmp_path)
    with pytest.raises(DataError, match="JSON list"):
        read_comparisons(written(tmp_path, {}), tmp_path)


@pytest.mark.parametrize(
    ("first", "second", "defect"),
    [("a", "b", None), ("a", " a", "both responses are the same text"), ("", "b", "an empty response")],
)
def test_comparisons_nobody_can_learn_from_say_why(first, second, defect):
    assert Comparison("c", ImageFile(Path(), "1.jpg"), TURNS, (first, second), 0).defect() == defect
