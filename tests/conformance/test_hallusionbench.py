"""HallusionBench against the authors' evaluation and VLMEvalKit's rule, see golden/hallusionbench/README.md."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hallusionbench import HallusionBench
from benchmarks.hallusionbench.benchmark import COMPATIBLE, CORRECTNESS, SAME
from benchmarks.hallusionbench.codes import read_correctness, read_same
from benchmarks.hallusionbench.figures import Answered, official_figures
from benchmarks.judges.prompts import judge_prompt
from benchmarks.yes_no import read_word
from evalkit.errors import AssetError
from evalkit.metrics import sum_counts
from evalkit.schema import Prompt, Response, Sample

PRINTED = (
    *("qAcc", "fAcc", "easy_aAcc", "hard_aAcc", "aAcc", "pct_diff", "fp_ratio", "consistency_correct"),
    *("consistency_inconsistent", "consistency_wrong", "LH", "VI", "Mixed"),
)
OURS = {
    "pair_accuracy": "qAcc",
    "figure_accuracy": "fAcc",
    "question_accuracy": "aAcc",
    "easy_pairs_right": "easy_aAcc",
    "hard_pairs_right": "hard_aAcc",
    "language": "LH",
    "visual": "VI",
    "mixed": "Mixed",
}
READ = {"yes": "Yes", "no": "No", None: "Unknown"}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


@pytest.fixture
def folder(golden: Path, assets: Path) -> Path:
    return golden / "hallusionbench"


def scored(benchmark: HallusionBench, replies: list[dict[str, str]]) -> list[Sample]:
    """Samples of all questions in order, from the judge's replies."""
    samples = []
    for item, told in zip(benchmark.items(), replies, strict=True):
        score = benchmark.score_rounds(item, "text", told)
        samples.append(Sample(item, Prompt(item.id, ""), Response(item.id, "text"), score))
    return list(benchmark.settle(samples))


def said(code: str, same: str) -> dict[str, str]:
    return {"": {"0": "incorrect", "1": "correct", "2": "unclear"}[code], SAME: ("different", "same")[int(same)]}


def test_every_table_is_the_authors(folder: Path) -> None:
    benchmark = HallusionBench(prompt="own", without_images=True)
    runs = json.loads((folder / "runs_expected.json").read_text("utf-8"))
    assert runs
    for name, run in runs.items():
        samples = scored(benchmark, [said(*pair) for pair in zip(run["codes"], run["same"], strict=True)])
        figures = benchmark.official(samples)
        printed = {key: float(run["printed"][key]) for key in PRINTED if key in run["printed"]}
        assert {key: figures[key] for key in printed} == printed, name
        sums = sum_counts(sample.score.counts or {} for sample in samples)
        ours = {metric.name: metric.value(sums) for metric in benchmark.metrics}
        for metric, theirs in OURS.items():
            if theirs in printed:
                assert ours[metric] == pytest.approx(printed[theirs], abs=5.1e-5), (name, metric)


def test_every_reply_is_read_as_the_authors_read_it(folder: Path) -> None:
    rows = lines(folder / "judge_texts.jsonl")
    keys = [item.id for item in HallusionBench(prompt="own", without_images=True).items()]
    assert [keys[row["index"]] for row in rows] == [row["key"] for row in rows]
    assert [row for row in rows if read_correctness(row["judge_text"]) != row["expected_code"]] == []
    assert [row for row in rows if read_same(row["same_judge_text"]) != (row["expected_same"] == "1")] == []


def test_the_word_rule_reads_as_vlmevalkit_does(folder: Path) -> None:
    cases = lines(folder / "yesno_cases.jsonl")
    assert cases
    assert [case for case in cases if READ[read_word(case["text"])] != case["expected"]] == []


def test_accuracies_by_the_word_rule_over_951_questions(folder: Path) -> None:
    benchmark = HallusionBench(questions="951", labels="word", without_images=True)
    items = benchmark.items()
    predictions = {row["key"]: row["model_prediction"] for row in lines(folder / "judge_texts.jsonl")}
    expected = json.loads((folder / "yesno_rule_expected.json").read_text("utf-8"))
    compared = 0
    for name, told in expected.items():
        given = {"constant_yes": "Yes", "constant_no": "No"}.get(name.lower())
        if given is None and not name.endswith("_predictions"):
            continue
        samples = []
        for item in items:
            text = given or predictions[item.id]
            score = benchmark.score(item, text)
            samples.append(Sample(item, Prompt(item.id, ""), Response(item.id, text), score))
        overall = told["rating"]["Overall"]
        sums = sum_counts(sample.score.counts or {} for sample in benchmark.settle(samples))
        ours = {metric.name: metric.value(sums) for metric in benchmark.metrics}
        for metric, theirs in (("question_accuracy", "aAcc"), ("figure_accuracy", "fAcc"), ("pair_accuracy", "qAcc")):
            assert ours[metric] == pytest.approx(overall[theirs]), (name, theirs)
        compared += 1
    assert compared


def test_baselines_are_the_constant_runs(folder: Path) -> None:
    benchmark = HallusionBench(prompt="own", without_images=True)
    runs = json.loads((folder / "runs_expected.json").read_text("utf-8"))
    baselines = benchmark.baselines(benchmark.items())
    names = {
        "constant Yes": "constant_yes",
        "constant No": "constant_no",
        "always unclear": "all_unclear",
        "No with a figure, unclear without": "sees_nothing_says_unclear_without_figure",
    }
    for ours, theirs in names.items():
        if theirs in runs:
            for metric in ("pair_accuracy", "figure_accuracy", "question_accuracy"):
                assert baselines[ours][metric] == pytest.approx(
                    float(runs[theirs]["printed"][OURS[metric]]), abs=5.1e-5
                )


def test_the_judge_is_asked_in_the_authors_words(folder: Path) -> None:
    try:
        for pin in (CORRECTNESS, COMPATIBLE):
            judge_prompt(pin, "official")
    except AssetError as error:
        pytest.skip(f"the authors' script is not here: {error}")
    benchmark = HallusionBench(prompt="official", without_images=True)
    rows = lines(folder / "judge_texts.jsonl")
    responses = {row["key"]: row["model_prediction"] for row in rows}
    (second,) = benchmark.further_rounds()
    items = {item.id: item for item in benchmark.items()}
    for row in rows:
        item, response = items[row["key"]], row["model_prediction"]
        prompts = benchmark.judge_prompt(item, response), second.prompt(item, response, {"": "correct"}, responses)
        hashes = [hashlib.sha256(prompt.text.encode()).hexdigest() for prompt in prompts if prompt is not None]
        assert hashes == [row["prompt_sha256"], row["same_prompt_sha256"]]


def test_all_right_has_no_diagnosis_and_no_crash(folder: Path) -> None:
    questions = HallusionBench(prompt="own", without_images=True)
    samples = scored(questions, [{"": "correct", SAME: "same"} for _ in questions.items()])
    figures = questions.official(samples)
    assert (figures["aAcc"], figures["LH"], figures["fp_ratio"]) == (100.0, None, None)
    assert official_figures([]) == {**official_figures([]), "aAcc": None}
    assert Answered(questions._questions["VS_chart_0_0_0"], "2").right
