"""MMHal-Bench against the authors' scripts (LLaVA-RLHF at 830a083, RLAIF-V at 83d917b), see golden/mmhal/README.md."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mmhal.benchmark import ITEMS, MMHalBench, official_figures
from benchmarks.mmhal.ratings import (
    UnreadableRatingError,
    informativeness,
    is_hallucinated,
    official_rating,
    robust_rating,
)
from evalkit.schema import Prompt, Response, Sample

# The official rule also fires inside "operating: 3" and "rating: 10"; there the two readings may differ.
PLAIN = re.compile(r"(?<![a-z])rating: [0-6](?!\d|[.,]\d)")


@pytest.fixture(scope="module")
def judged(golden: Path) -> list[dict[str, Any]]:
    lines = (golden / "mmhal" / "judge_texts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def summaries(golden: Path) -> dict[str, dict[str, Any]]:
    return json.loads((golden / "mmhal" / "summary_expected.json").read_text(encoding="utf-8"))


def texts_of(name: str, summary: dict[str, Any], judged: list[dict[str, Any]]) -> dict[int, str]:
    """A run's judge texts by question; a constant run has the same text 96 times."""
    if "every_judge_text" in summary:
        return dict.fromkeys(range(ITEMS), summary["every_judge_text"])
    return {row["index"]: row["judge_text"] for row in judged if f"run{row['run']}" == name}


def test_every_text_gets_the_official_rating(judged):
    for row in judged:
        reading = official_rating(row["judge_text"])
        assert reading.rating == row["expected_rating"], row
        assert reading.is_parsed == row["parse_ok"], row
        assert list(reading.named) == row["values_found"], row
        assert is_hallucinated(reading.rating) == bool(row["expected_hallucination"]), row
        assert informativeness(reading.rating) == row["expected_informativeness"], row


def test_every_run_gets_the_official_figures(judged, summaries):
    for name, summary in summaries.items():
        figures = official_figures(texts_of(name, summary, judged))
        assert figures["printed"][:3] == summary["printed"], name
        assert figures["printed"][3] == summary["informativeness_printed"], name
        assert figures["printed"][4].endswith(" " + summary["printed_rlaifv_eval_hallucination_rate"]), name
        for key in ("average_score", "hallucination_rate", "average_per_type"):
            assert figures[key] == summary[key], (name, key)
        assert figures["informativeness_percent"] == pytest.approx(summary["informativeness_percent"], abs=1e-9), name


def test_the_robust_reading_never_contradicts_a_text_that_the_official_one_parses(judged):
    for row in judged:
        try:
            rating = robust_rating(row["judge_text"])
        except UnreadableRatingError:
            continue
        if row["parse_ok"] and PLAIN.search(row["judge_text"].lower()):
            assert rating == row["expected_rating"], row


def test_the_benchmark_reports_the_official_figures_over_the_official_items(assets, judged, summaries):
    bench = MMHalBench(data=assets / "mmhal" / "mmhal-bench_answer_template.json", without_images=True)
    items = bench.items()
    for name, summary in summaries.items():
        texts = texts_of(name, summary, judged)
        samples = [
            Sample(item, Prompt(item.id, item.question), Response(item.id, "x"), bench.score(item, "x", texts[index]))
            for index, item in enumerate(items)
        ]
        official = bench.official(samples)
        assert official["complete"]
        assert official["average_per_type"] == summary["average_per_type"], name
        assert official["average_score"] == summary["average_score"], name
