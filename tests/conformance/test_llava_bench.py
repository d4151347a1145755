"""LLaVA-Bench against the scripts of LLaVA, LLaVA-RLHF and RLHF-V, see golden/llava_bench/README.md."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.judges.pairwise import Points, official_points, robust_points
from benchmarks.llava_bench import LlavaBench, LlavaBenchWild
from benchmarks.llava_bench.figures import summarise
from evalkit.schema import Prompt, Response, Sample

SETS = {"in_the_wild": LlavaBenchWild, "coco": LlavaBench}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


@pytest.fixture
def folder(golden: Path) -> Path:
    return golden / "llava_bench"


def expected_points(pair: list[Any]) -> Points:
    return Points(float(pair[0]), float(pair[1]))


def shown(points: Points | None) -> str:
    return str(points)  # nan is not equal to itself


def test_every_reply_is_read_as_the_scripts_read_it(folder: Path) -> None:
    cases = lines(folder / "parse_cases.jsonl")
    wrong = [
        case
        for case in cases
        if shown(official_points(case["judge_text"]))
        != shown(expected_points(case["expected"]) if case["parse_ok"] else None)
    ]
    assert cases
    assert wrong == []


def test_the_robust_reading_gives_the_same_points_where_both_read(folder: Path) -> None:
    texts = [case["judge_text"] for case in lines(folder / "parse_cases.jsonl")]
    both = [(official_points(text), robust_points(text)) for text in texts]
    assert [pair for pair in both if None not in pair and pair[0] != pair[1]] == []
    assert sum(second is not None for _, second in both) > sum(first is not None for first, _ in both)


@pytest.mark.parametrize("name", SETS)
def test_the_judge_is_asked_in_the_authors_words(name: str, folder: Path, assets: Path) -> None:
    benchmark = SETS[name](prompt="official", without_images=True)
    answers = {str(row["question_id"]): row["text"] for row in lines(folder / f"{name}_answers.jsonl")}
    expected = {str(r["question_id"]): r for r in lines(folder / "prompt_hashes.jsonl") if r["set"] == name}
    items = benchmark.items()
    assert expected.keys() <= {item.id for item in items}
    for item in items:
        if item.id in expected:
            text = benchmark.judge_prompt(item, answers[item.id]).text
            assert len(text) == expected[item.id]["content_chars"]
            assert hashlib.sha256(text.encode()).hexdigest() == expected[item.id]["content_sha256"], item.id


def readings_of(folder: Path) -> dict[str, list[tuple[str, Points | None]]]:
    """Run -> (category, points) in the order of the questions; constant runs carry their judge's text."""
    runs: dict[str, list[tuple[str, Points | None]]] = {}
    for row in lines(folder / "judge_texts.jsonl"):
        found = official_points(row["judge_text"])
        assert shown(found or Points(-1, -1)).replace("-1.0", "-1") == shown(
            expected_points(row["expected_tuple"])
        ).replace("-1.0", "-1")
        runs.setdefault(row["run"], []).append((row["category"], found))
    categories = {name.split("/")[0]: [category for category, _ in rows] for name, rows in runs.items()}
    for name, told in json.loads((folder / "summary_expected.json").read_text("utf-8")).items():
        if name not in runs and isinstance(told.get("judge_text"), str) and "half" not in name:
            points = official_points(told["judge_text"])
            runs[name] = [(category, points) for category in categories[name.split("/")[0]]]
    return runs


def test_every_summary_is_the_authors(folder: Path, assets: Path) -> None:
    summaries = json.loads((folder / "summary_expected.json").read_text("utf-8"))
    compared = 0
    for name, readings in readings_of(folder).items():
        llava, rlhf_v = summaries[name]["llava"], summaries[name]["rlhf_v"]
        averaged, skipped = summarise(readings, "official-llava"), summarise(readings, "official-rlhfv")
        assert skipped["left_out"] == rlhf_v["skipped"]
        if averaged["unread"] == len(readings):  # the scripts print 100.0, which is no score
            assert averaged["scores"]["all"]["score"] is None
            continue
        if llava[0].startswith("CRASH"):
            assert averaged["scores"]["all"]["score"] is None
            continue
        compared += 1
        assert averaged["printed"] == llava
        assert [line.split()[1] for line in averaged["printed"]] == summaries[name]["llava_rlhf"][-1].split(",")
        scores = skipped["scores"]
        told = {f"{key} [{row['reference']}, {row['model']}] {row['score']}" for key, row in scores.items()}
        assert told == set(rlhf_v["lines"])
    assert compared


def test_the_official_block_of_a_run_holds_both_summaries(folder: Path, assets: Path) -> None:
    for name, rows in runs_of(folder).items():
        benchmark = SETS[name.split("/")[0]](prompt="own", without_images=True)
        items = {item.id: item for item in benchmark.items()}
        samples = []
        for row in rows:
            item = items[str(row["question_id"])]
            score = benchmark.score(item, "text", row["judge_text"])
            samples.append(Sample(item, Prompt(item.id, ""), Response(item.id, "text"), score))
        figures = benchmark.official(samples)
        printed = [line.replace("llava_bench_", "") for line in summary(folder, name)["llava"]]
        assert figures["official-llava"]["printed"] == printed
        assert figures["official-rlhfv"]["left_out"] == summary(folder, name)["rlhf_v"]["skipped"]


def runs_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = {}
    for row in lines(folder / "judge_texts.jsonl"):
        runs.setdefault(row["run"], []).append(row)
    return runs


def summary(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / "summary_expected.json").read_text("utf-8"))[name])
