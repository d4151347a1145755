"""Review files of Object HalBench's script, made from the golden cases, are scored by the program as the script did."""

import json
from pathlib import Path
from typing import Any

import pytest

from evalkit.__main__ import main
from evalkit.cli.arguments import EXIT_ABORTED


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assets: Path, golden: Path) -> Path:
    """A folder with the 144 scored cases as questions, references, answers and the script's review file."""
    monkeypatch.chdir(tmp_path)
    folder = golden / "object_halbench"
    wanted = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    cases = [json.loads(line) for line in (folder / "cases.jsonl").read_text(encoding="utf-8").splitlines()]
    cases = [case for case in cases if case["id"] in wanted["scored_ids"]]
    answers = [{"image_id": case["image_id"], "caption": case["caption"]} for case in cases]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    (tmp_path / "references.json").write_text(json.dumps({case["image_id"]: case["gt_objects"] for case in cases}))
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    fields = ("mscoco_hallucinated_words", "mscoco_generated_words", "hallucination_idxs", "metrics")
    sentences = [
        answer | {name: wanted["cases"][case["id"]][name] for name in fields}
        for case, answer in zip(cases, answers, strict=True)
    ]
    (tmp_path / "expected.json").write_text(json.dumps(wanted["overall"]))
    review(tmp_path, sentences[::-1])  # the script writes in order of completion
    return tmp_path


def review(folder: Path, sentences: list[dict[str, Any]]) -> None:
    (folder / "hall_answers_-1.json").write_text(json.dumps({"sentences": sentences, "overall_metrics": {}}))


def run(*more: str) -> int:
    """The program's exit status."""
    words = "score object_halbench --responses answers.jsonl --label m --judge-texts hall_answers_-1.json --rescore"
    settings = ("data=questions.jsonl", "references=references.json", "without_images=true", "partial=true")
    chosen = [word for setting in (*settings, *more) for word in ("--set", f"object_halbench.{setting}")]
    return main([*words.split(), *chosen, "--set", "object_halbench.prompt=own"])


def score(folder: Path, *more: str) -> dict[str, Any]:
    assert run(*more) in (0, 2)
    return dict(json.loads((folder / "runs" / "m" / "object_halbench" / "metrics.json").read_text()))


@pytest.mark.parametrize("reading", ["safe", "strict"])
def test_stored_words_give_the_scripts_figures(here: Path, reading: str) -> None:
    found = score(here, f"reading={reading}")
    want = json.loads((here / "expected.json").read_text())
    assert (found["n_scored"], found["failures"]) == (144, {})
    for metric, name in (("chair_s", "CHAIRs"), ("chair_s_refine", "CHAIRs_refine"), ("chair_i", "CHAIRi")):
        assert found["metrics"][metric]["value"] == pytest.approx(100 * want[name], abs=1e-9), name
    assert found["metrics"]["recall"]["value"] == pytest.approx(100 * want["obj_rec"], abs=1e-9)
    assert found["metrics"]["length"]["value"] == pytest.approx(want["avg_word_len"])


def test_what_the_file_lacks_or_counts_by_another_table_is_a_failure(here: Path) -> None:
    sentences = json.loads((here / "hall_answers_-1.json").read_text())["sentences"]
    told = [row for row in sentences if row["mscoco_generated_words"]]
    told[0]["mscoco_generated_words"][0][1] = "no such category"
    sentences.remove(told[1])
    review(here, sentences)
    assert score(here)["n_scored"] == 142


def test_a_malformed_row_is_refused_with_file_entry_and_item(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentences = json.loads((here / "hall_answers_-1.json").read_text())["sentences"]
    item = sentences[2]["image_id"]
    for words, said in (
        ("cat", "must be a list of [word, category], found 'cat'"),
        ([["cat", "cat"], "dog"], "word 2 must be [word, category], found 'dog'"),
        ([["cat", "cat"], ["cat", "cat"]], "holds a word twice"),
    ):
        sentences[2]["mscoco_generated_words"] = words
        review(here, sentences)
        assert run() == EXIT_ABORTED
        error = capsys.readouterr().err
        assert f"hall_answers_-1.json: entry 3: item {item}" in error
        assert said in error
