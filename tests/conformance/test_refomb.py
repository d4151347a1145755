"""RefoMB against the authors' scripts (RLAIF-V at 83d917b), see golden/refomb/README.md."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.judges.pairwise import official_verdict, robust_verdict
from benchmarks.judges.prompts import judge_prompt
from benchmarks.refomb import RefoMB
from benchmarks.refomb.benchmark import HALLUCINATION, HALLUCINATION_WORDING, OVERALL_WORDING
from benchmarks.refomb.figures import official_figures
from evalkit.errors import AssetError
from evalkit.schema import Prompt, Response, Sample


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


@pytest.fixture
def folder(golden: Path, assets: Path) -> Path:
    return golden / "refomb"


def test_every_verdict_is_read_as_the_scripts_read_it(folder: Path) -> None:
    cases = lines(folder / "parse_cases.jsonl")
    assert cases
    assert [case for case in cases if official_verdict(case["judge_text"]) != case["expected_score"]] == []


def test_the_robust_reading_differs_only_where_several_verdicts_stand(folder: Path) -> None:
    texts = [case["judge_text"] for case in lines(folder / "parse_cases.jsonl")]
    differing = [
        text for text in texts if official_verdict(text) is not None and robust_verdict(text) != official_verdict(text)
    ]
    assert all(text.count("[[") > 1 for text in differing)


def runs(folder: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in lines(folder / "judge_texts.jsonl"):
        found.setdefault(row["run"], []).append(row)
    return found


def test_items_and_figures_are_the_authors(folder: Path) -> None:
    benchmark = RefoMB(prompt="own", without_images=True)
    items = benchmark.items()
    summaries = json.loads((folder / "summary_expected.json").read_text("utf-8"))
    for name, rows in runs(folder).items():
        samples = []
        for row in rows:
            if row.get("dropped"):
                continue
            item = items[row["index"]]
            assert item.groups["type"] == row["type"]
            assert [official_verdict(text) is None for text in row["overall_attempts"]][-1] is False
            replies = {"": row["overall_attempts"][-1], HALLUCINATION: row["hallucination_attempts"][-1]}
            assert official_verdict(replies[""]) == row["expected_overall"]
            assert official_verdict(replies[HALLUCINATION]) == row["expected_hallucination"]
            score = benchmark.score_rounds(item, "an answer", replies)
            samples.append(Sample(item, Prompt(item.id, ""), Response(item.id, "an answer"), score))
        figures = benchmark.official(samples)
        for kind in ("overall", "hallucination"):
            assert figures[kind]["printed"] == summaries[name][f"{kind}_printed"]
            table = summaries[name][f"{kind}_excel"]
            told = {key: value for key, value in figures[kind].items() if key in table}
            assert {**told, "score": None} == {key: table[key] for key in told} | {"score": None}
            assert told["score"] == pytest.approx(table["score"], abs=1e-12)
        assert figures["overall"]["judged"] == summaries[name]["items_scored"]


@pytest.mark.parametrize(("verdict", "name"), [(-1, "always_A"), (1, "always_B"), (0, "always_C")])
def test_constant_judges(verdict: Any, name: str, folder: Path) -> None:
    summaries = json.loads((folder / "summary_expected.json").read_text("utf-8"))
    kinds = [item.groups["type"] for item in RefoMB(prompt="own", without_images=True).items()]
    if name not in summaries:
        pytest.skip(f"no run {name!r} among these vectors")
    assert official_figures([(kind, verdict) for kind in kinds])["printed"] == summaries[name]["overall_printed"]


def test_the_judge_is_asked_in_the_authors_words(folder: Path) -> None:
    try:
        for pin in (OVERALL_WORDING, HALLUCINATION_WORDING):
            judge_prompt(pin, "official")
    except AssetError as error:
        pytest.skip(f"the authors' scripts are not here: {error}")
    benchmark = RefoMB(prompt="official", reading="official", without_images=True)
    check_prompts(benchmark, folder)


def check_prompts(benchmark: RefoMB, folder: Path) -> None:
    answers = {(row["question"], row["image_url"]): row["answer"] for row in lines(folder / "answers.jsonl")}
    (second,) = benchmark.further_rounds()
    items = benchmark.items()
    for row in lines(folder / "judge_texts.jsonl"):
        if row.get("dropped"):
            continue
        item = items[row["index"]]
        answer = answers[item.question, item.cluster]
        prompt = benchmark.judge_prompt(item, answer)
        assert hashlib.sha256(prompt.text.encode()).hexdigest() == row["overall_prompt_sha256"]
        prompt_2 = second.prompt(item, answer, {"": row["overall_attempts"][-1]}, {})
        assert prompt_2 is not None
        assert hashlib.sha256(prompt_2.text.encode()).hexdigest() == row["hallucination_prompt_sha256"]
