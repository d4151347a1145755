"""One set of rows for every medium; HTML is escaped by the template engine, whatever stands in a run."""

import json
import re

import pytest
from hostile_runs import PAYLOADS, write_hostile
from jinja2 import UndefinedError
from toy import ToyBenchmark, ToyEngine

from evalkit.analysis.leaderboard import boards
from evalkit.analysis.published import PublishedRow, Source, Told, read_report
from evalkit.harness.stages import evaluate
from evalkit.reports.boards import board_html, board_rows
from evalkit.reports.runs import report
from evalkit.reports.templating import rendered
from evalkit.runs.run import Run, RunSummary, load_run

SOURCE = Source("Paper", "v1", "Table 1", "its authors", "none", "complement", "paper")


@pytest.fixture
def run(tmp_path):
    evaluate(ToyBenchmark(30), ToyEngine(tmp_path / "log", fail=["3"]), tmp_path / "run")
    return load_run(tmp_path / "run")


def test_a_summary_says_what_the_records_say(run):
    summary = RunSummary(run.manifest, path=run.path)
    summary.check()
    for name in ("benchmark", "label", "metrics", "values", "counted", "failures", "words", "signature"):
        assert getattr(summary, name) == getattr(run, name), name
    assert report([run], "json") == report([summary], "json")


def test_a_row_holds_the_same_figures_for_every_medium(run):
    (board,) = boards([run], [PublishedRow(run.benchmark, "M", SOURCE, {run.metrics[0].name: 40.0})])
    first, last = board_rows(board, run.metrics)
    assert (first.kind, first.n, first.failed) == ("run", "29/30", "generation 1")
    assert str(first.figures[0]) == run.values[run.metrics[0].name].text()
    assert (last.kind, last.label, str(last.figures[0])) == ("published", "M", "60.0")
    shown = board_html(board, run.metrics)
    assert first.figures[0].limits in shown
    assert "measured by its authors" in shown
    assert "measured by its authors" in report([run], "markdown", published=board.published)


def blind(run: Run, kind: str, **more: object) -> Run:
    return Run({**run.manifest, "label": kind, "image_ablation": kind, "images": kind, **more}, run.rows)


def test_blind_runs_stand_below_those_that_see_and_are_never_ranked(run):
    (board,) = boards([blind(run, "none"), run, blind(run, "swapped")])
    assert [(row.kind, row.label, row.source) for row in board_rows(board, run.metrics)] == [
        ("run", run.label, ""),
        ("blind", "none", "no image"),
        ("blind", "swapped", "swapped images"),
    ]
    assert "blind: none (no image)" in report([run, blind(run, "none")])
    assert '"shown": "no image"' in report([run, blind(run, "none")], "json")
    assert [line.split(",")[1] for line in report([run, blind(run, "none")], "csv").splitlines()].count("blind") > 0
    assert "blind: no image</span>" in board_html(board, run.metrics)


def test_a_blind_run_that_is_measured_otherwise_has_a_table_of_its_own(run):
    shown = boards([run, blind(run, "noise", ids="others"), blind(run, "none", prompts="others")])
    assert [[entry.label for entry in board.entries] for board in shown] == [[run.label], ["noise"], ["none"]]
    assert all(not board.blind for board in shown)


def test_published_rows_of_an_earlier_report_are_read_back(run, tmp_path):
    row = PublishedRow(
        run.benchmark, "M", SOURCE, {run.metrics[0].name: 40.0}, {run.metrics[0].name: "rounded"}, "part"
    )
    path = tmp_path / "report.json"
    path.write_text(report([run], "json", published=[row]))
    (again,) = read_report(path)
    assert (again.name, again.values, again.doubtful) == (row.name, row.values, row.doubtful)
    assert again.source == Told(str(SOURCE))
    json.dumps(again.label)


def test_hostile_runs_add_no_element_to_a_board(tmp_path):
    folder = write_hostile(tmp_path)
    runs = [load_run(path.parent) for path in sorted(folder.rglob("records.jsonl"))]
    links = {run.name: f"samples?run={PAYLOADS[0]}" for run in runs}
    for board in boards(runs, mark_best=False):
        shown = board_html(board, board.metrics, baselines=True, words=True, links=links)
        assert set(re.findall(r"<([a-zA-Z]+)", shown)) <= {"div", "table", "tr", "th", "td", "span", "a", "b", "mark"}
        assert all(re.fullmatch(r'[^<>"]*', value) for value in re.findall(r'(?:title|href)="([^"]*)"', shown))
        assert "onerror=window.hit" not in re.sub(r'&lt;.*?&gt;|"[^"]*"', "", shown)


def test_a_name_that_nobody_gave_is_an_error():
    with pytest.raises(UndefinedError):
        rendered("evalkit.reports", "board.html", rows=[])
