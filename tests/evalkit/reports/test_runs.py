"""Reports: intervals, n, flags and signature with every number; unlike never in one table; collapsed never first."""

import csv
import io
import json
from pathlib import Path

import pytest
import toy
import yaml

from evalkit.analysis.comparison import compare
from evalkit.analysis.frames import load_metrics, load_runs
from evalkit.analysis.leaderboard import boards
from evalkit.analysis.published import PublishedRow, Source
from evalkit.engines.replay import ScriptedEngine
from evalkit.errors import UsageError
from evalkit.harness.stages import evaluate
from evalkit.metrics import Metric
from evalkit.reports.comparisons import comparison_report
from evalkit.reports.model_card import evaluation_results
from evalkit.reports.runs import report, table
from evalkit.runs.run import Run
from evalkit.schema import Score

METRICS = [
    Metric("chair_s", "100 * bad / responses", higher_is_better=False, role="rate"),
    Metric("recall", "100 * covered / references", higher_is_better=True),
]
TEXT = "A man walks two dogs along the street and there is a car."


def run(label, bad_every, n=200, text=TEXT, covered=3, path=None, **manifest):
    """A run with a hallucination in every `bad_every`-th response; the last sample failed."""
    rows = []
    for index in range(n):
        failed = index == n - 1
        own = {"bad": int(bad_every and index % bad_every == 0), "responses": 1, "covered": covered, "references": 4}
        rows.append(
            {
                "id": str(index),
                "sample": 0,
                "question": "Describe this image.",
                "prompt": "Describe this image.",
                "groups": {"kind": "indoor" if index % 2 else "outdoor"},
                "cluster": str(index),
                "response": {
                    "text": None if failed else f"{text} {index}" if text == TEXT else text,
                    "failure": "timeout" if failed else None,
                    "finish": "stop",
                },
                "score": {"counts": None if failed else own, "failure": "generation: timeout" if failed else None},
            }
        )
    base = {"schema": 1, "evalkit": "0.1.0", "benchmark": "toy", "label": label, "ids": "1a2b", "items": n}
    return Run({**base, "metrics": [metric.as_dict() for metric in METRICS], **manifest}, rows, path=path)


GOOD, BAD, COLLAPSED = run("good", 10), run("bad", 2), run("collapsed", 0, text=".", covered=0)
SOURCE = Source(
    paper="Paper (2024)", version="v1", table="Table 1", measured_by="its authors", judge="gpt-4-0314",
    direction="complement", evidence="quoted", settings="500 images",
)  # fmt: skip
PUBLISHED = PublishedRow("toy", "LLaVA", SOURCE, printed={"chair_s": 53.7}, doubtful={"chair_s": "rounded"})


def save(run, folder):
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(run.manifest))
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in run.rows))
    return folder


def test_a_collapsed_run_is_flagged_and_never_first():
    (board,) = boards([COLLAPSED, BAD, GOOD], mark_best=False)
    assert [entry.label for entry in board.entries] == ["good", "bad", "collapsed"]
    text = report([COLLAPSED, BAD, GOOD])
    assert "collapsed !" in text
    assert "! collapsed: hallucinates nothing because it says next to nothing (recall 0.0)" in text
    assert json.loads(report([COLLAPSED, GOOD], "json"))[0]["runs"][-1]["disqualified"] is True


def test_every_number_has_interval_n_failures_and_signature():
    text = report([GOOD])
    assert "10.1 [6.0, 14.6]" in text
    assert "199/200  generation 1" in text
    assert "in brackets: 95% interval; values in %\n" in text
    assert text.endswith("toy|n:200|ids:1a2b|v:0.1.0")


def test_a_metric_that_is_no_percentage_has_its_unit():
    words = Metric("words", "words / responses", higher_is_better=None, unit="words", role="length")
    metrics = [*GOOD.manifest["metrics"], words.as_dict()]
    assert "values in %, words in words\n" in report([Run({**GOOD.manifest, "metrics": metrics}, GOOD.rows)])


def test_long_signatures_on_request():
    assert "good: toy|n:200|ids:1a2b|v:0.1.0|model.name:good" in report([GOOD], signatures=True)


def test_runs_that_were_not_measured_alike_get_tables_of_their_own():
    other = run("other", 5, ids="ffff")
    assert [[entry.label for entry in board.entries] for board in boards([GOOD, other, BAD])] == [
        ["good", "bad"],
        ["other"],
    ]


def test_bold_only_where_the_difference_is_significant():
    nearly = run("nearly", 11)
    assert "**10.1" in report([GOOD, BAD], "markdown")
    assert "**" not in report([GOOD, nearly], "markdown").replace("bold or *", "")
    assert r"\textbf{10.1" in report([GOOD, BAD], "latex")
    assert r"\textbf" not in report([GOOD, nearly], "latex")


def test_the_best_beats_every_other_not_only_the_last():
    assert "**" not in report([GOOD, run("nearly", 11), BAD], "markdown").replace("bold or *", "")


def test_a_disqualified_run_is_never_the_best_and_spoils_no_other():
    markdown = report([GOOD, BAD, COLLAPSED], "markdown")
    assert "**0.0" not in markdown
    assert "**10.1" in markdown


def test_published_rows_are_labelled_with_their_source():
    text = report([GOOD], published=[PUBLISHED])
    assert "published: LLaVA [1]" in text
    assert (
        "[1] Paper (2024), v1, Table 1; measured by its authors; judge gpt-4-0314; evidence: quoted; "
        "printed as 100 minus the value; 500 images\n? LLaVA: chair_s: rounded"
    ) in text
    assert "published" not in report([run("good", 10, benchmark="other")], published=[PUBLISHED])


def test_csv_is_one_row_per_number():
    rows = list(csv.DictReader(io.StringIO(report([GOOD, BAD], "csv", published=[PUBLISHED]))))
    assert [(row["kind"], row["label"], row["metric"]) for row in rows] == [
        ("run", "good", "chair_s"),
        ("run", "good", "recall"),
        ("run", "bad", "chair_s"),
        ("run", "bad", "recall"),
        ("published", "LLaVA", "chair_s"),
    ]
    assert float(rows[0]["value"]) == pytest.approx(100 * 20 / 199)
    assert rows[0]["n_scored"] == "199"
    assert rows[0]["higher_is_better"] == "False"


def test_the_model_card_is_yaml_and_says_what_stands_behind_the_value():
    card = yaml.safe_load(report([run("org/model: a", 10)], "card"))
    (model,) = card["model-index"]
    assert model["name"] == "org/model: a"
    metric = model["results"][0]["metrics"][0]
    assert (metric["type"], metric["value"]) == ("chair_s", 10.05)
    assert "95 % interval 6.03 to 14.57, n = 199/200" in metric["name"]
    assert "ids:1a2b" in model["results"][0]["source"]["name"]


def test_stored_metrics_and_groups_are_shown(tmp_path):
    folder = save(GOOD, tmp_path / "good")
    value = {"value": 12.5, "low": 1.0, "high": 20.0, "method": "bca"}
    groups = {"kind": {"indoor": {"n": 99, "metrics": {"chair_s": value}}}}
    results = {
        "n_scored": 199, "n_total": 200, "metrics": {"chair_s": value, "recall": {"value": 75.0}}, "groups": groups,
    }  # fmt: skip
    (folder / "metrics.json").write_text(json.dumps(results))
    text = table([folder], groups=True)
    assert "12.5 [1.0, 20.0]" in text
    assert "toy by kind" in text
    assert "good: indoor  12.5 [1.0, 20.0]  99" in text


def test_a_model_name_with_markup_stays_a_name():
    assert r"a\_b\&\textbackslash{}c" in report([run("a_b&\\c", 10)], "latex")
    assert "\n\x1b" not in report([run("a\n\x1b[31m", 10)])


def test_nothing_to_report_is_an_error():
    with pytest.raises(UsageError, match="no scored run"):
        report([])


COMPARISON = compare(BAD, GOOD, run("silent", 0, covered=0), resamples=2000)


def test_a_comparison_shows_the_effect_first():
    text = comparison_report(COMPARISON)
    assert "toy: bad → good, 199 of 200 items scored in both" in text
    header = next(line for line in text.splitlines() if line.startswith("metric"))
    assert header.split() == [
        "metric",
        "bad",
        "good",
        "difference",
        "p",
        "p",
        "Holm",
        "McNemar",
        "better/worse/same",
        "verdict",
    ]
    assert "-40.2 [-47.2, -33.2]*  <0.001" in text
    assert "it may come from saying less" in text
    assert "toy by kind: bad → good" in text


def test_power_says_how_many_items_a_difference_needs():
    text = comparison_report(COMPARISON, power=[3, 1.5])
    assert "items for a difference of 3" in text
    rows = json.loads(comparison_report(COMPARISON, "json", power=[3]))["pairs"][0]["effects"]
    assert rows[0]["items_for"]["3"] > 199
    assert rows[0]["detectable"] > 3


@pytest.mark.parametrize("format", ["markdown", "latex"])
def test_comparisons_in_other_spellings(format):
    assert "-40.2 [-47.2, -33.2]" in comparison_report(COMPARISON, format)


def test_comparison_csv_has_groups():
    rows = list(csv.DictReader(io.StringIO(comparison_report(COMPARISON, "csv"))))
    assert {row["group_value"] for row in rows} == {"", "indoor", "outdoor"}
    assert float(rows[0]["difference"]) == pytest.approx(-80 / 199 * 100)


def test_forced_differences_stand_in_the_report():
    other = run("other", 5, ids="ffff")
    text = comparison_report(compare(GOOD, other, force=True, resamples=100))
    assert "! differs in ids (hash of the item ids): 1a2b against ffff" in text


def test_runs_become_data_frames(tmp_path):
    save(GOOD, tmp_path / "a" / "toy")
    save(BAD, tmp_path / "b" / "toy")
    samples = load_runs(tmp_path)
    assert len(samples) == 400
    assert samples["failed"].value_counts().to_dict() == {"generation": 2}
    assert samples.groupby("model")["count.bad"].sum().to_dict() == {"bad": 100, "good": 20}
    assert set(samples["group.kind"]) == {"indoor", "outdoor"}
    metrics = load_metrics(tmp_path).set_index(["model", "metric"])
    assert metrics.loc[("good", "chair_s"), "value"] == pytest.approx(100 * 20 / 199)
    assert load_runs(tmp_path / "a").empty is False


def test_an_empty_folder_gives_an_empty_frame(tmp_path):
    assert list(load_runs(tmp_path).columns[:3]) == ["run", "benchmark", "model"]
    assert load_metrics(tmp_path).empty


def test_evaluation_results_are_what_the_hub_parses():
    parse = pytest.importorskip("huggingface_hub._eval_results").parse_eval_result_entries
    rows = yaml.safe_load(evaluation_results([GOOD], {"toy": "org/toy"}))
    entries = parse(rows)
    assert [(entry.dataset_id, entry.task_id) for entry in entries] == [("org/toy", "chair_s"), ("org/toy", "recall")]
    assert entries[0].value == pytest.approx(GOOD.values["chair_s"].value, rel=1e-3)
    assert "n = 199/200" in entries[0].notes
    with pytest.raises(UsageError, match="one model"):
        evaluation_results([GOOD, BAD], {"toy": "org/toy"})
    with pytest.raises(UsageError, match="no run of chair"):
        evaluation_results([GOOD], {"chair": "org/chair"})


def test_constant_rows_stand_below_the_runs_and_empty_readings_take_no_column(tmp_path: Path) -> None:
    class Checked(toy.ToyBenchmark):
        metrics = (*toy.ToyBenchmark.metrics, Metric("never_asked", "asked / asked", True, detail=True))

        def baselines(self, items):
            return {"constant word": {"wrong_words": 100 / 3}}

    evaluate(Checked(4), toy.ToyEngine(tmp_path / "log"), tmp_path / "run")
    shown = table([tmp_path / "run"])
    assert "baseline: constant word" in shown
    assert " 33.3 " in shown
    assert "other readings" not in shown


def test_ranks_that_another_reading_changes_are_named(tmp_path: Path) -> None:
    class TwoLabels(toy.ToyBenchmark):
        metrics = (Metric("right", "100 * a / n", True), Metric("right_other", "100 * b / n", True, detail=True))

        def score(self, item, response, reply=None):
            return Score({"n": 1, "a": int(len(response) > 1), "b": int(len(response) < 3)})

    for name, text in (("long", "abcd"), ("short", "a")):
        evaluate(TwoLabels(4), ScriptedEngine(lambda p, s, text=text: text, name), tmp_path / name, label=name)
    shown = table([tmp_path / "long", tmp_path / "short"])
    assert "ranks that change from right to right_other: long 1 -> 2, short 2 -> 1" in shown
    assert "ranks that change" not in table([tmp_path / "long"])
