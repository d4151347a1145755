"""`evalkit score --judge-texts`: what a judge wrote elsewhere is read, joined by id, and nobody is asked."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.llava_bench import LlavaBench
from benchmarks.mmhal.benchmark import MMHalBench
from benchmarks.refomb import RefoMB
from evalkit.__main__ import main
from evalkit.errors import DataError
from evalkit.formats.judge_texts import read_judge_texts


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def score(words: str, tmp_path: Path, name: str) -> dict[str, Any]:
    assert main(words.split()) in (0, 2)
    return dict(json.loads((tmp_path / "runs" / "m" / name / "metrics.json").read_text()))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, assets: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_review_file_of_llava_bench_is_scored_without_asking(here: Path) -> None:
    items = LlavaBench(without_images=True, prompt="own").items()
    lines(
        here / "answers.jsonl", [{"question_id": int(i.id), "text": "An answer.", "prompt": i.question} for i in items]
    )
    reviews = [{"question_id": int(i.id), "content": "8 6\nFine.", "tuple": [8, 6]} for i in items[::-1]]
    lines(here / "review.jsonl", reviews)
    words = "score llava_bench --responses answers.jsonl --label m --judge-texts review.jsonl --judge gpt-4-0314"
    found = score(words, here, "llava_bench")
    assert found["metrics"]["score"]["value"] == 75
    assert found["n_scored"] == 90
    assert "judge:gpt-4-0314" in found["signature"]
    lines(here / "review.jsonl", reviews[:-1])
    found = score(f"{words} --rescore", here, "llava_bench")
    assert (found["n_scored"], found["failures"]) == (89, {"judge": 1})


def test_the_list_of_mmhals_script_is_joined_by_position_only_if_it_is_whole(here: Path) -> None:
    items = MMHalBench(without_images=True, prompt="own").items()
    lines(here / "answers.jsonl", [{"id": item.id, "text": "An answer."} for item in items])
    replies = [{"choices": [{"message": {"content": f"Rating: {n % 7}"}}]} for n in range(96)]
    (here / "responses.json").write_text(json.dumps(replies))
    words = "score mmhal --responses answers.jsonl --label m --judge-texts responses.json"
    assert score(words, here, "mmhal")["metrics"]["score"]["value"] == pytest.approx(sum(n % 7 for n in range(96)) / 96)
    (here / "responses.json").write_text(json.dumps(replies[1:]))
    with pytest.raises(DataError, match="95 answers without ids for 96 items"):
        read_judge_texts([here / "responses.json"], items)


def test_both_passes_of_refomb_meet_by_the_first_review(here: Path) -> None:
    items = RefoMB(without_images=True, prompt="own").items()
    lines(here / "answers.jsonl", [{"id": item.id, "text": "An answer."} for item in items])
    first = [{"image": int(item.id), "review": f"item {item.id} [[B]]", "score": 1} for item in items]
    second = [{"review_text": row["review"], "review_res": "[[C]]", "score": 0} for row in first[::-1]]
    (here / "A-GPT-4V_B-m.json").write_text(json.dumps(first))
    (here / "A-GPT-4V_B-m.hall.json").write_text(json.dumps(second))
    words = "score refomb --responses answers.jsonl --label m --judge-texts A-GPT-4V_B-m.json A-GPT-4V_B-m.hall.json"
    metrics = score(words, here, "refomb")["metrics"]
    assert (metrics["win_rate"]["value"], metrics["trustworthiness"]["value"]) == (100, 50)


def test_the_verdicts_of_a_run_are_read_again(here: Path) -> None:
    items = LlavaBench(without_images=True, prompt="own").items()
    rows = [{"id": i.id, "sample": 0, "key": "k", "reply": "8 6", "attempts": []} for i in items]
    rows.append(rows[0] | {"reply": "8 8"})  # the last one counts
    texts = read_judge_texts([lines(here / "verdicts.jsonl", rows)], items)
    assert (len(texts), texts["", items[0].id, 0]) == (90, "8 8")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"question_id": 0}], r"texts.jsonl:1: no field 'reply' or 'judge_text'"),
        ([{"content": "8 9"}], r":1: no field 'id' or 'question_id'"),
        ([{"question_id": 900, "content": "8 9"}], r":1: no item with question_id '900'"),
        (
            [{"question_id": 0, "content": "8 9"}, {"question_id": 0, "content": "8 8"}],
            r":2: item '0' has a second text",
        ),
        ([{"question_id": 0, "content": 8}], r":1: 'content' must be a text"),
        ([{"question_id": 0, "content": "8 9", "round": "x"}], r":1: 'round' must be one of"),
        ([{"review_text": "a", "review_res": "[[A]]"}], r":1: no first review has this 'review_text'"),
        ([{"choices": []}] * 90, r":1: 'choices' holds no message"),
    ],
)
def test_bad_files_are_refused_with_file_and_line(rows: list[Any], said: str, here: Path) -> None:
    items = LlavaBench(without_images=True, prompt="own").items()
    with pytest.raises(DataError, match=said):
        read_judge_texts([lines(here / "texts.jsonl", rows)], items)
