"""MMStar and VQAv2 against the authors' scripts, see golden/mmstar/README.md and golden/vqav2/README.md."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mmstar import MMStar, official_figures, official_right, read_letter
from benchmarks.vqav2 import accuracy, normalise
from benchmarks.vqav2 import official_figures as vqa_figures
from evalkit.files.rows import read_rows
from evalkit.metrics import sum_counts
from evalkit.schema import Prompt, Response, Sample

SUBMISSION = "llava_next_yi_34b (official submission file)"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def test_every_choice_is_read_as_the_script_reads_it(golden: Path) -> None:
    cases = lines(golden / "mmstar" / "parse_cases.jsonl")
    assert cases
    assert [c for c in cases if official_right(c["prediction"], c["answer"]) != bool(c["expected"])] == []
    rescued = [c for c in cases if not c["expected"] and read_letter(c["prediction"]) == c["answer"]]
    assert len(rescued) > 10  # "The correct answer is B" and the like


def predictions(golden: Path, benchmark: MMStar) -> dict[str, dict[str, str]]:
    runs: dict[str, dict[str, str]] = {}
    for row in lines(golden / "mmstar" / "predictions.jsonl"):
        runs.setdefault(row["run"], {})[str(row["index"])] = row["prediction"]
    expected = json.loads((golden / "mmstar" / "runs_expected.json").read_text("utf-8"))
    truth = {item.id: item.reference["answer"] for item in benchmark.items()}
    for name, told in expected.items():
        if name == SUBMISSION:
            runs[name] = {str(row.fields["index"]): str(row.fields["prediction"]) for row in read_rows(benchmark.data)}
        elif name == "all_right":
            runs[name] = truth
        elif name == "all_right_in_words":
            runs[name] = {item: f"The correct answer is {letter}" for item, letter in truth.items()}
        elif name not in runs and "prediction" in told:
            runs[name] = dict.fromkeys(truth, told["prediction"])
    return runs


def test_every_score_file_is_the_authors(golden: Path, assets: Path) -> None:
    benchmark = MMStar(without_images=True)
    expected = json.loads((golden / "mmstar" / "runs_expected.json").read_text("utf-8"))
    for name, given in predictions(golden, benchmark).items():
        samples = [
            Sample(item, Prompt(item.id, ""), Response(item.id, given[item.id]), benchmark.score(item, given[item.id]))
            for item in benchmark.items()
        ]
        assert benchmark.official(samples) == expected[name]["score"], name


def test_the_published_submission_scores_what_was_published(assets: Path) -> None:
    benchmark = MMStar(without_images=True)
    given = {str(row.fields["index"]): str(row.fields["prediction"]) for row in read_rows(benchmark.data)}
    counts = [benchmark.score(item, given[item.id]).counts for item in benchmark.items()]
    sums = sum_counts(row or {} for row in counts)
    assert round(sums["right_official"] / sums["questions"], 5) == 0.52067
    assert sums["readings_differ"] == 0


def test_a_part_is_divided_by_the_authors_totals() -> None:
    assert official_figures([("math", "geometry", True)]) == {
        "final score": 1 / 1500, "math": 1 / 250, "math(geometry)": 1.0,
    }  # fmt: skip


def test_every_answer_is_normalised_as_the_script_does(golden: Path) -> None:
    cases = lines(golden / "vqav2" / "normalise_cases.jsonl")
    assert cases
    assert [case for case in cases if normalise(case["text"]) != case["expected"]] == []


def test_every_accuracy_and_the_summary_are_the_scripts(golden: Path) -> None:
    cases = lines(golden / "vqav2" / "cases.jsonl")
    values = [accuracy(case["prediction"], case["answers"]) for case in cases]
    assert [round(100 * value, 2) for value in values] == [case["expected_accuracy"] for case in cases]
    rows = [(c["question_type"], c["answer_type"], value) for c, value in zip(cases, values, strict=True)]
    summary = json.loads((golden / "vqav2" / "summary_expected.json").read_text("utf-8"))
    assert vqa_figures(rows) == summary


@pytest.mark.parametrize(("matches", "worth"), [(1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0)])
def test_one_to_four_people_who_agree_are_worth(matches: int, worth: float) -> None:
    assert accuracy("red", ["red"] * matches + [f"other {n}" for n in range(10 - matches)]) == pytest.approx(worth)
