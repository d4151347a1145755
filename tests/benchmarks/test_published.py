"""Published figures: readable, named by our metrics, in the right direction, with their doubts."""

from pathlib import Path

import pytest
import toy

from benchmarks import BENCHMARKS
from benchmarks.cli.registry import benchmark_class
from benchmarks.published import published, with_figures
from evalkit.__main__ import main
from evalkit.analysis.published import parse
from evalkit.errors import DataError, UsageError
from evalkit.harness.stages import evaluate
from evalkit.metrics import Metric

SOURCE = """
[sources.a]
paper = "P"
version = "v1"
table = "Table 1"
measured_by = "us"
judge = "none"
direction = "rate"
evidence = "paper"
"""
ROW = """
[[rows]]
source = "a"
model = "M"
values = { chair_s = 12.5 }
"""


def metric_names(name: str) -> set[str]:
    """Metrics a benchmark can report, whatever its options."""
    cls = benchmark_class(name)
    metrics: tuple[Metric, ...] = tuple(getattr(cls, "metrics", ()) or ())
    if name == "amber":
        from benchmarks.amber.benchmark import AMBER

        metrics = tuple(AMBER(data=Path("unused"), similarity="identity").metrics)
    return {metric.name for metric in metrics}


@pytest.mark.parametrize("name", with_figures())
def test_every_figure_belongs_to_a_metric_of_its_benchmark(name):
    rows = published(name)
    assert rows
    for row in rows:
        assert set(row.printed) <= metric_names(name), row.label


@pytest.mark.parametrize("name", with_figures())
def test_percentages_lie_between_0_and_100_and_doubts_have_a_reason(name):
    for row in published(name):
        for metric, value in row.values.items():
            if metric not in ("score", "length"):
                assert 0 <= value <= 100, row.label
        assert all(row.doubtful.values()), row.label


@pytest.mark.parametrize(
    ("benchmark", "model", "source", "values"),
    [
        ("object_halbench", "RLHF-V-13B", "RLHF-V", {"chair_s_refine": 12.2, "chair_i": 7.5}),
        ("object_halbench", "OmniLMM-12B", "OmniLMM", {"chair_s_refine": 9.7, "chair_i": 4.5}),
        ("object_halbench", "LLaVA-1.5", "OmniLMM", {"chair_s_refine": 46.3, "chair_i": 22.6}),
        ("mmhal", "LLaVA-RLHF-13B-336", "LLaVA-RLHF", {"score": 2.53, "hallucination_rate": 57.0}),
        ("chair", "LLaVA-1.5-7B, beam 5", "OPERA", {"chair_s": 48.8, "chair_i": 13.9}),
        ("amber", "GPT-4V", "AMBER", {"chair": 4.6, "cover": 67.1, "f1": 87.4, "amber_score": 91.4}),
        ("pope", "LLaVA-RLHF-7B", "LLaVA-RLHF", {"f1": 83.3}),
    ],
)
def test_spot_checks_against_the_papers(benchmark, model, source, values):
    found = [row for row in published(benchmark) if row.model == model and row.source.paper.startswith(source)]
    assert any(row.values.items() >= values.items() for row in found)


def test_ambers_score_follows_from_its_parts():
    for row in published("amber"):
        if "amber_score" in row.values:
            score = (100 - row.values["chair"] + row.values["f1"]) / 2
            assert row.values["amber_score"] == pytest.approx(score, abs=0.0501), row.label


def test_human_and_model_judged_rates_are_told_apart():
    judges = {row.source.judge for row in published("mmhal") if "hallucination_rate" in row.printed}
    assert {"human", "gpt-4-0314", "gpt-4-1106-preview"} <= judges


def test_impossible_cells_are_marked():
    """A rate over 96 answers is k/96, informativeness k/288, unless it is marked as doubtful or says otherwise."""
    for row in published("mmhal"):
        if row.source.table.startswith("Table 1"):
            for metric, denominator in (("hallucination_rate", 96), ("informativeness", 288)):
                if metric in row.printed and metric not in row.doubtful:
                    nearest = round(row.printed[metric] * denominator / 100) / denominator * 100
                    assert row.printed[metric] == pytest.approx(nearest, abs=0.0501), row.label


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows = [", "no TOML"),
        (SOURCE.replace('judge = "none"\n', "") + ROW, "source 'a'.*missing judge"),
        (SOURCE.replace('"rate"', '"down"') + ROW, "direction must be one of rate, complement"),
        (SOURCE.replace('"paper"', '"hearsay"') + ROW, "evidence must be one of"),
        (SOURCE + 'url = "x"\n' + ROW, "unknown url"),
        (SOURCE.replace('table = "Table 1"', 'table = ""') + ROW, "table must be a text"),
        (SOURCE + ROW.replace('"a"', '"b"'), "unknown source 'b'"),
        (SOURCE + ROW.replace("12.5", '"12.5"'), "values must be numbers"),
        (SOURCE + ROW.replace("12.5", "nan"), "values must be numbers"),
        (SOURCE + ROW + 'doubtful = { chair_i = "?" }\n', "doubtful names"),
        (SOURCE + ROW + ROW, "twice"),
        (SOURCE + ROW.replace('model = "M"\n', ""), "missing model"),
    ],
)
def test_malformed_files_are_refused(text, message):
    with pytest.raises(DataError, match=message):
        parse("chair", text)


def test_a_complement_is_turned_round_and_the_printed_figure_kept():
    (row,) = parse("chair", SOURCE.replace('"rate"', '"complement"') + ROW)
    assert (row.printed["chair_s"], row.values["chair_s"]) == (12.5, 87.5)
    assert row.label == "M [P, v1, Table 1]"


def test_a_report_with_published_rows_shows_runs_of_benchmarks_without_any(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(BENCHMARKS, "toy", "toy:ToyBenchmark")
    evaluate(toy.ToyBenchmark(), toy.ToyEngine(tmp_path / "log"), tmp_path / "run")
    assert main(["report", str(tmp_path), "--published"]) == 0
    assert "wrong_words" in capsys.readouterr().out


def test_an_unknown_benchmark_is_named():
    with pytest.raises(UsageError, match="nothing"):
        published("nothing")
    assert published("object-halbench") == published("object_halbench")
