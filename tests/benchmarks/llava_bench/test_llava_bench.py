"""LLaVA-Bench: no score where nothing was read, named failure policies, controls of the judge, bad files."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.llava_bench import LlavaBench
from benchmarks.llava_bench.figures import summarise
from evalkit.engines.replay import ScriptedEngine
from evalkit.errors import DataError, UsageError
from evalkit.harness.judge import Judge
from evalkit.harness.stages import evaluate
from evalkit.miniature.files import write_world

GOOD = {
    "qa90_questions.jsonl": [{"question_id": 0, "image": "a.jpg", "text": "What?", "category": "conv"}],
    "caps_boxes_coco2014_val_80.jsonl": [
        {"id": "a", "image": "a.jpg", "captions": ["A dog."], "instances": [{"category": "dog", "bbox": [0, 0, 1, 1]}]}
    ],
    "qa90_gpt4_answer.jsonl": [{"question_id": 0, "text": "A dog.", "category": "conv"}],
}


def write(folder: Path, **changes: list[dict[str, Any]]) -> Path:
    for name, rows in (GOOD | {key + ".jsonl": rows for key, rows in changes.items()}).items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def bench(folder: Path, **options: Any) -> LlavaBench:
    return LlavaBench(folder, without_images=True, prompt="own", partial=True, **options)


def run(folder: Path, say: Any, tmp: Path, **options: Any) -> dict[str, Any]:
    benchmark = bench(write(folder), **options)
    judge = Judge(ScriptedEngine(lambda prompt, sample: say(prompt.text)), retries=0)
    evaluate(benchmark, ScriptedEngine(lambda p, s: "A cat."), tmp / "run", judge)
    return dict(json.loads((tmp / "run" / "metrics.json").read_text()))


def test_points_become_a_score_with_the_reference_beside_it(tmp_path: Path) -> None:
    found = run(tmp_path, lambda text: "8 6\nFine.", tmp_path)
    assert found["metrics"]["score"]["value"] == 75
    assert found["metrics"]["reference_mean"]["value"] == 80
    assert found["official"]["official-llava"]["scores"]["all"]["score"] == 75.0


@pytest.mark.parametrize("policy", ["safe", "official-llava", "official-rlhfv"])
def test_there_is_never_a_score_where_no_reply_was_read(policy: str, tmp_path: Path) -> None:
    found = run(tmp_path, lambda text: "I would rather not.", tmp_path, failures=policy)
    assert found["metrics"]["score"]["value"] is None
    assert found["official"]["official-llava"]["scores"]["all"]["score"] is None
    assert summarise([("conv", None)] * 3, policy)["scores"]["all"]["score"] is None  # type: ignore[arg-type]


def test_a_judge_that_never_answers_gives_failures_and_no_score(tmp_path: Path) -> None:
    found = run(tmp_path, lambda text: None, tmp_path)
    assert (found["n_scored"], found["failures"], found["metrics"]["score"]["value"]) == (0, {"judge": 1}, None)


def test_an_unreadable_reply_counts_as_minus_one_only_where_that_was_chosen(tmp_path: Path) -> None:
    benchmark = bench(write(tmp_path), failures="official-llava")
    (item,) = benchmark.items()
    counts = benchmark.score(item, "A cat.", "no scores").counts
    assert counts is not None
    assert (counts["reference_points"], counts["read"]) == (-1, 0)
    assert bench(tmp_path).score(item, "A cat.", "no scores").failure is not None


def test_the_safe_policy_refuses_a_figure_with_more_than_a_tenth_unread() -> None:
    from benchmarks.judges.pairwise import Points

    readings = [("conv", Points(8, 4))] * 8 + [("conv", None)]
    assert summarise(readings, "safe")["scores"]["all"]["score"] is None
    assert summarise([*readings, ("conv", Points(8, 4))], "safe")["scores"]["all"]["score"] == 50.0


def test_the_controls_put_the_reference_on_both_sides_or_exchange_them(tmp_path: Path) -> None:
    def say(text: str) -> str:
        first, second = ("A dog." in text.split(f"[Assistant {n}]")[1].split("[End")[0] for n in (1, 2))
        return f"{9 if first else 5} {8 if second else 4}"  # the first answer gets a point for its place

    swapped = run(tmp_path, say, tmp_path / "swap", control="swap")["metrics"]
    assert (swapped["swapped_score"]["value"], swapped["order_agreement"]["value"]) == (62.5, 100)
    fair = run(tmp_path, say, tmp_path / "self", control="self")["metrics"]
    assert fair["self_score"]["value"] == pytest.approx(800 / 9)


def test_several_runs_are_averaged_and_asked_with_seeds_of_their_own(tmp_path: Path) -> None:
    benchmark = bench(write(tmp_path), judge_runs=3)
    (item,) = benchmark.items()
    assert [r.judge_sampling().seed for r in benchmark.further_rounds()] == [1000, 2000]
    counts = benchmark.score_rounds(item, "A cat.", {"": "8 4", "run 2": "unclear", "run 3": "6 6"}).counts
    assert counts is not None
    assert (counts["reference_points"], counts["model_points"]) == (7, 5)
    with pytest.raises(UsageError, match="judge_runs must be between 1 and 20"):
        bench(tmp_path, judge_runs=0)


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("qa90_questions", [{"question_id": "0"}], r"qa90_questions.jsonl:1: 'question_id' must be an integer"),
        (
            "qa90_questions",
            [GOOD["qa90_questions.jsonl"][0] | {"category": "x"}],
            r":1: 'category' must be one of conv",
        ),
        ("qa90_questions", GOOD["qa90_questions.jsonl"] * 2, r":2: question_id 0 stands already at .*:1"),
        ("qa90_questions", [GOOD["qa90_questions.jsonl"][0] | {"image": "b"}], r"has no context of image 'b'"),
        ("qa90_gpt4_answer", [{"question_id": 1, "text": "x"}], r"has no answer to question 0"),
        ("qa90_gpt4_answer", [{"question_id": 0}], r"qa90_gpt4_answer.jsonl:1: no field 'text'"),
        (
            "caps_boxes_coco2014_val_80",
            [{"image": "a.jpg", "captions": [], "instances": [3]}],
            r":1: 'instances' must be",
        ),
    ],
)
def test_bad_files_are_refused_with_file_line_and_item(name: str, rows: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        bench(write(tmp_path, **{name: rows})).items()


def test_another_number_of_questions_must_be_wanted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 90 questions, found 1; say partial"):
        LlavaBench(write(tmp_path), without_images=True, prompt="own").items()


def test_a_true_answer_beats_an_invented_one_in_the_miniature_world(tmp_path: Path) -> None:
    from benchmarks.judges.rules import RulesJudge

    benchmark = LlavaBench.miniature(write_world(tmp_path / "world", 6, 0))
    context = {item.id: str(item.reference["answer"]) for item in benchmark.items()}
    scores = []
    for name, said in (("true", context), ("false", dict.fromkeys(context, "There is a bear."))):
        engine = ScriptedEngine(lambda prompt, sample, said=said: said[prompt.id], name)
        found = evaluate(benchmark, engine, tmp_path / name, Judge(RulesJudge()))
        scores.append(found.metrics["score"].value)
    assert scores[0] == 100
    assert scores[1] is not None
    assert scores[1] < 70
