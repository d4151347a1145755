"""`evalkit import`: logs of other harnesses, of any task, become runs that compare and report like others."""

import json
from pathlib import Path
from typing import Any

import pytest

from aligners.compare import imported_tasks
from evalkit.__main__ import main
from evalkit.errors import DataError, UsageError
from evalkit.formats.harness_logs import read_log


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lmms(n: int, score: Any, **more: Any) -> dict[str, Any]:
    return {
        "doc_id": n, "input": f"What is {n}?", "target": "B", "filtered_resps": ["B" if score else "A"],
        "doc": {"question_id": n, "category": "math"}, "average": {"question_id": n, "score": score}, **more,
    }  # fmt: skip


def test_an_lmms_eval_log_of_any_task_is_a_run_with_its_harness_in_the_signature(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2025_results.json").write_text('{"git_hash": "abc123"}')
    for label, wrong in (("base", 6), ("aligned", 4)):
        rows = [lmms(n, float(n >= wrong)) for n in range(20)]
        lines(tmp_path / "2025_samples_mmstar.jsonl", rows if label == "base" else rows[::-1])
        assert main(f"import 2025_samples_mmstar.jsonl --label {label}".split()) == 0
        lines(tmp_path / label / "2025_samples_mmstar.jsonl", rows)  # where scoring again finds it
    shown = capsys.readouterr().out
    assert "70.0" in shown
    assert "80.0" in shown
    manifest = json.loads((tmp_path / "runs" / "base" / "mmstar" / "run.json").read_text())
    assert manifest["settings"] == {"harness": "lmms-eval", "harness_version": "abc123", "metric": "average"}
    assert main(["compare", "runs/base/mmstar", "runs/aligned/mmstar"]) == 0
    assert "10.0 [" in capsys.readouterr().out
    assert main(["report", "runs", "--groups"]) == 0
    assert "math" in capsys.readouterr().out
    assert imported_tasks([tmp_path / "runs" / "base", tmp_path / "runs" / "aligned"]) == ["mmstar"]


@pytest.mark.parametrize(
    ("name", "rows", "harness", "metric", "scores"),
    [
        ("m_MMBench.json", [{"index": n, "question": "q", "prediction": "A", "hit": n} for n in (0, 1)],
         "vlmevalkit", "hit", [0, 1]),
        ("mmmu_val.jsonl", [{"index": n, "input": "q?", "target": "A", "sample_score": {
            "score": {"value": {"acc": 1.0}, "prediction": "A"}, "sample_id": n}} for n in (0, 1)],
         "evalscope", "acc", [1, 1]),
        ("log.json", [{"id": n, "epoch": 1, "input": "q", "target": "A", "output": {"completion": "A"},
                       "scores": {"choice": {"value": value}}} for n, value in enumerate("CI")],
         "inspect", "choice", [1, 0]),
        ("x_samples_docvqa.jsonl", [lmms(0, 1) | {"anls": 0.5}, lmms(1, 0) | {"anls": 0.25}], "lmms-eval", "anls",
         [0.5, 0.25]),
    ],
)  # fmt: skip
def test_every_harness_log_gives_its_own_scores(name, rows, harness, metric, scores, tmp_path) -> None:
    path = tmp_path / name
    path.write_text(json.dumps(rows)) if name.endswith(".json") else lines(path, rows)
    log = read_log(path, metric)
    assert (log.harness, log.metric) == (harness, metric)
    assert [sample.score for sample in log.samples] == scores
    assert len({sample.id for sample in log.samples}) == len(scores)


def test_equal_questions_about_different_images_are_different_items(tmp_path) -> None:
    path = lines(tmp_path / "x_samples_t.jsonl", [lmms(n, 1) | {"input": "Describe."} for n in range(3)])
    first = [sample.id for sample in read_log(path).samples]
    lines(path, [lmms(n, 1) | {"input": "Describe."} for n in (2, 0, 1)])
    assert [sample.id for sample in read_log(path).samples] == [first[2], first[0], first[1]]


def test_several_metrics_want_a_choice_and_an_unknown_one_is_named(tmp_path) -> None:
    path = lines(tmp_path / "x_samples_t.jsonl", [lmms(0, 1, anls=0.5)])
    with pytest.raises(UsageError, match="several metrics, choose one with --metric: average, anls"):
        read_log(path)
    with pytest.raises(UsageError, match="no metric 'acc'; it has average, anls"):
        read_log(path, "acc")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"a": 1}], r"t.jsonl:1: no log of lmms-eval, VLMEvalKit, evalscope or inspect; found a"),
        ([{"index": 0, "question": "q", "prediction": "A"}], r":1: a vlmevalkit log without a score"),
        ([lmms(0, 1), lmms(1, 1) | {"average": {"score": None}}], r":2: 'average' is not a score"),
        ([lmms(0, 1), lmms(1, 1) | {"average": "none"}], r":2: 'average' is not a score: 'none'"),
    ],
)
def test_what_is_no_log_is_refused_with_file_and_line(rows, said, tmp_path) -> None:
    with pytest.raises(DataError, match=said):
        read_log(lines(tmp_path / "t.jsonl", rows))


def test_a_log_of_points_is_not_turned_into_percent(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "x_samples_mmvet.jsonl", [lmms(n, 10 * n) for n in range(3)])
    assert main(["import", "x_samples_mmvet.jsonl", "--label", "m", "--task", "mm_vet"]) == 0
    metrics = json.loads((tmp_path / "runs" / "m" / "mm_vet" / "metrics.json").read_text())
    assert metrics["metrics"]["average"]["value"] == 10
    assert main(["score", "runs/m/mm_vet", "--rescore"]) == 0
