"""HallusionBench: codes, pairs and figures through the harness, labels by rule and by people, bad files."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hallusionbench import HallusionBench
from benchmarks.hallusionbench.codes import code_by_rule, code_by_word
from benchmarks.judges.rules import RulesJudge
from evalkit.engines.replay import ScriptedEngine
from evalkit.errors import DataError, UsageError
from evalkit.harness.judge import Judge
from evalkit.harness.stages import evaluate
from evalkit.miniature.files import write_world

ROW = {
    "category": "VD", "subcategory": "figure", "visual_input": "1", "set_id": "0", "figure_id": "0", "question_id": "0",
    "question": "Is it red?", "gt_answer_details": "Yes, it is red.", "gt_answer": "1",
}  # fmt: skip
PAIR = [
    ROW,
    ROW | {"figure_id": "1", "visual_input": "2", "gt_answer": "0", "gt_answer_details": "No, it is blue."},
]


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "HallusionBench.json"
    path.write_text(json.dumps(rows))
    return path


def run(benchmark: HallusionBench, say: Any, folder: Path) -> dict[str, Any]:
    judge = Judge(RulesJudge())
    evaluate(benchmark, ScriptedEngine(lambda prompt, sample: say(prompt.id)), folder, judge)
    return dict(json.loads((folder / "metrics.json").read_text()))


def test_a_pair_is_right_only_if_both_of_its_figures_are(tmp_path: Path) -> None:
    benchmark = HallusionBench(write(tmp_path, PAIR), prompt="own", without_images=True, partial=True)
    found = run(benchmark, lambda name: "Yes.", tmp_path / "same")
    values = {name: value["value"] for name, value in found["metrics"].items()}
    assert (values["question_accuracy"], values["pair_accuracy"], values["figure_accuracy"]) == (50, 0, 50)
    assert (values["easy_pairs_right"], values["hard_pairs_right"], values["mixed"]) == (100, 0, 100)
    right = run(benchmark, lambda name: "Yes" if name.endswith("_0_0") else "No", tmp_path / "right")
    assert right["metrics"]["pair_accuracy"]["value"] == 100
    assert right["metrics"]["mixed"]["value"] is None


def test_a_pair_with_a_question_that_has_no_score_is_not_counted(tmp_path: Path) -> None:
    benchmark = HallusionBench(write(tmp_path, PAIR), prompt="own", without_images=True, partial=True)
    found = run(benchmark, lambda name: "Yes" if name.endswith("_0_0") else None, tmp_path / "run")
    assert found["n_scored"] == 1
    assert found["metrics"]["pair_accuracy"]["value"] is None
    assert found["metrics"]["figure_accuracy"]["value"] == 100
    assert found["failures"] == {"generation": 1}


def test_unclear_is_right_only_without_a_figure(tmp_path: Path) -> None:
    absent = ROW | {"category": "VS", "visual_input": "0"}
    shown = absent | {"visual_input": "1", "figure_id": "1"}
    benchmark = HallusionBench(write(tmp_path, [absent, shown]), labels="rule", partial=True)
    found = run(benchmark, lambda name: "I cannot tell from this.", tmp_path / "run")
    assert found["metrics"]["question_accuracy"]["value"] == 50
    assert found["metrics"]["unclear"]["value"] == 100
    assert not benchmark.needs_image(benchmark.items()[0])


@pytest.mark.parametrize(
    ("response", "rule", "word"),
    [("Yes", "1", "1"), ("**Yes**, it is", "1", "0"), ("no", "0", "0"), ("I cannot see an image.", "2", "0"),
     ("It's not possible to determine this", "2", "0"), ("", "0", "0"), ("I think yes", "1", "1"), ("green", "0", "0")],
)  # fmt: skip
def test_answers_by_rule(response: str, rule: str, word: str) -> None:
    assert (code_by_rule(response, "yes"), code_by_word(response, "yes")) == (rule, word)


def test_labels_of_people_go_through_the_same_scorer(tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"id": "VD_figure_0_0_0", "label": 1}\n')
    data = write(tmp_path, PAIR)
    benchmark = HallusionBench(data, labels="people", label_file=labels, without_images=True, partial=True)
    found = run(benchmark, lambda name: "whatever", tmp_path / "run")
    assert (found["n_scored"], found["metrics"]["question_accuracy"]["value"]) == (1, 100)
    with pytest.raises(UsageError, match="go together"):
        HallusionBench(data, labels="people")
    labels.write_text('{"id": "VD_figure_0_0_0", "label": 3}\n')
    with pytest.raises(DataError, match=r"labels.jsonl:1: 'label' must be 0, 1 or 2, found 3"):
        HallusionBench(data, labels="people", label_file=labels).score(benchmark.items()[0], "")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([ROW, ROW], "entry 2: question 'VD_figure_0_0_0' stands there twice"),
        ([ROW | {"category": "X"}], "entry 1: 'category' must be VD or VS"),
        ([ROW | {"gt_answer": "yes"}], "entry 1: 'gt_answer' must be 0 or 1"),
        ([ROW | {"visual_input": 1}], "entry 1: 'visual_input' must be a string"),
        ([ROW], "expected 1129 questions, found 1; say partial"),
    ],
)
def test_bad_files_are_refused_with_file_and_entry(rows: list[dict[str, Any]], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        HallusionBench(write(tmp_path, rows)).items()


def test_the_miniature_world_has_all_three_kinds_of_questions(tmp_path: Path) -> None:
    benchmark = HallusionBench.miniature(write_world(tmp_path / "world", 8, 0))
    items = benchmark.items()
    assert {item.reference["visual_input"] for item in items} == {"0", "1", "2"}
    assert all((item.image is not None and item.image.is_there()) == benchmark.needs_image(item) for item in items)
