"""Every page through Streamlit's AppTest: what it shows, how its address steers it, what it says where data is odd."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from dashboard_pages import html_of, sound
from streamlit.testing.v1 import AppTest

from evalkit.__main__ import main
from evalkit.runs.checksums import unsealed

Open = Callable[..., AppTest]
PAGES = ("overview", "compare", "fronts", "samples", "objects", "training", "live")
BASE, ALIGNED = "runs/base/chair", "runs/aligned/chair"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_on_real_runs(open_page, demo, page):
    assert open_page(page, demo).title[0].value.lower() == page


@pytest.mark.parametrize("page", PAGES)
def test_a_page_explains_an_empty_folder(open_page, tmp_path, page):
    assert "hk-notice" in html_of(open_page(page, tmp_path))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_survives_hostile_runs(open_page, hostile, page):
    shown = html_of(open_page(page, hostile))
    assert "<script" not in shown
    assert "<img" not in shown
    assert "<svg" not in shown


# --- overview -----------------------------------------------------------------------------------------------------


def test_the_overview_sets_recall_length_and_samples_beside_each_rate(open_page, demo):
    shown = html_of(open_page("overview", demo, benchmark="chair"))
    for part in ("chair_s ↓", "recall", "words", "n 16/16", "hk-limits"):
        assert part in shown


def test_the_overview_flags_a_silent_model(open_page, demo):
    rows = html_of(open_page("overview", demo, benchmark="chair")).split("<tr")
    flagged = [row for row in rows if "hk-flagged" in row]
    assert len(flagged) == 1
    assert "silent" in flagged[0]


def test_filters_of_the_overview_stand_in_its_address(open_page, demo):
    shown = html_of(open_page("overview", demo, benchmarks="chair", name="aligned"))
    assert "amber" not in shown
    assert "runs/base" not in shown


def test_the_overview_offers_its_numbers_in_three_formats(open_page, demo):
    labels = [button.label for button in open_page("overview", demo).get("download_button")]
    assert [label.split(",")[0] for label in labels] == ["CSV", "Markdown", "LaTeX"]


def test_published_rows_are_marked_as_such(open_page, demo, tmp_path, monkeypatch):
    rows = [{"model": "LLaVA", "subset": "", "values": {"chair_s": 12.5}, "source": "a paper, table 1"}]
    path = tmp_path / "published.json"
    path.write_text(json.dumps([{"benchmark": "chair", "published": rows}]))
    app = open_page("overview", demo, benchmark="chair")
    told = {"folders": [str(demo)], "published": str(path)}
    monkeypatch.setenv("EVALKIT_DASHBOARD", json.dumps(told))
    row = next(row for row in html_of(sound(app.run())).split("<tr") if "LLaVA" in row)
    assert "published" in row
    assert "a paper, table 1" in row
    assert "12.5" in row


# --- compare ------------------------------------------------------------------------------------------------------


def test_compare_gives_difference_interval_and_verdict(open_page, demo):
    shown = html_of(open_page("compare", demo, base=BASE, other=ALIGNED))
    assert "hk-better" in shown
    assert "[-" in shown
    assert "16 of 16 items" in shown


def test_compare_refuses_runs_that_were_not_measured_alike(open_page, demo, tmp_path):
    runs = shutil.copytree(demo / "runs", tmp_path / "runs")
    path = runs / "aligned" / "chair" / "run.json"
    manifest = json.loads(path.read_text())
    manifest["sampling"]["max_new_tokens"] += 1
    path.write_text(json.dumps(manifest))
    assert main(["score", str(path.parent), "--world", str(demo / "world")]) == 0
    shown = html_of(open_page("compare", tmp_path, base=BASE, other=ALIGNED))
    assert "must not be compared" in shown
    assert "<td>max</td>" in shown
    assert "verdict" not in shown


def test_compare_shows_a_metric_that_one_run_does_not_define(open_page, demo):
    shown = html_of(open_page("compare", demo, base=BASE, other="runs/silent/chair"))
    (row,) = [line for line in shown.split("<tr") if "chair_i" in line]
    assert "undefined" in row


def test_compare_shows_first_the_items_that_there_are(open_page, demo):
    shown = html_of(open_page("compare", demo, base=BASE, other=ALIGNED))
    assert "No item got" not in shown
    assert "No item got worse" in html_of(open_page("compare", demo, base=BASE, other=ALIGNED, items="worse"))


def test_another_base_is_compared_with_a_run_of_its_own_benchmark(open_page, demo):
    app = open_page("compare", demo, base=BASE, other=ALIGNED)
    app.selectbox(key="choice_base").select("runs/base/mmhal")
    assert "items scored in both" in html_of(sound(app.run()))


def test_compare_says_that_a_silent_model_is_no_better_than_a_base_that_stops_earlier(open_page, demo):
    shown = html_of(open_page("compare", demo, base=BASE, other="runs/silent/chair"))
    assert "no better than the base that simply stops earlier" in shown
    assert "while a quality fell" in shown


def test_compare_within_groups_names_them(open_page, demo):
    shown = html_of(open_page("compare", demo, base="runs/base/amber", other="runs/aligned/amber", by_group="true"))
    assert "dimension" in shown
    assert "existence" in shown


# --- samples ------------------------------------------------------------------------------------------------------


def test_a_deep_link_opens_run_filters_and_sample(open_page, demo):
    app = open_page("samples", demo, run=BASE, show="hallucinated")
    (table,) = app.dataframe
    assert (table.value["wrong"] > 0).all()
    name = table.value["id"].iloc[-1]
    again = open_page("samples", demo, run=BASE, show="hallucinated", id=name)
    assert f"{len(table.value)} of {len(table.value)}" in html_of(again)


def test_an_address_that_changed_wins_over_the_last_choice(open_page, demo):
    """Back and forward: the browser changes the address alone."""
    app = open_page("samples", demo, run=BASE, beside=ALIGNED)
    app.selectbox(key="choice_run").select("runs/silent/chair")
    app.multiselect(key="choice_beside").set_value([])
    app.run()
    assert app.query_params["run"] == "runs/silent/chair"
    app.query_params["run"], app.query_params["beside"] = BASE, ALIGNED
    sound(app.run())
    assert app.selectbox(key="choice_run").value == BASE
    assert app.multiselect(key="choice_beside").value == [ALIGNED]
    assert app.query_params["run"] == BASE


def test_a_run_stays_chosen_from_page_to_page(open_page, demo):
    app = open_page("samples", demo, run=BASE)
    for page in ("overview", "objects", "samples"):
        app.switch_page(f"views/{page}.py").run()
        assert page == "overview" or sound(app).selectbox(key="choice_run").value == BASE


def test_a_sample_that_a_filter_hides_is_forgotten_and_only_a_link_is_told_so(open_page, demo):
    told = "The sample in this address"
    clean = open_page("samples", demo, run=BASE, show="clean").dataframe[0].value["id"].iloc[0]
    app = open_page("samples", demo, run=BASE, id=clean)
    app.segmented_control(key="show").set_value("hallucinated")
    assert told not in html_of(sound(app.run()))
    assert "id" not in app.query_params
    assert told in html_of(open_page("samples", demo, run=BASE, show="hallucinated", id=clean))


@pytest.mark.parametrize("benchmark", ["chair", "amber"])
def test_objects_that_a_response_names_are_not_shown_as_missed(open_page, demo, benchmark):
    shown = html_of(open_page("samples", demo, run=f"runs/aligned/{benchmark}"))
    assert "hk-chip-named" in shown
    assert "hk-chip-missed" not in shown


def test_no_object_is_called_missed_where_nobody_looked_for_mentions(open_page, demo):
    shown = html_of(open_page("samples", demo, run="runs/base/mmhal"))
    assert "hk-chip-present" in shown
    assert "not mentioned" not in shown


def test_hallucinated_and_correct_mentions_are_marked(open_page, demo):
    shown = html_of(open_page("samples", demo, run=BASE, show="hallucinated"))
    assert 'class="hk hk-hallucinated"' in shown
    assert 'class="hk hk-correct"' in shown
    assert "hk-chip-wrong" in shown


def test_next_previous_and_flag_work_and_have_keys(open_page, demo, tmp_path):
    shutil.copytree(demo / "runs", tmp_path / "runs")
    app = open_page("samples", tmp_path, run=BASE)
    keys = {button.label: button.proto.shortcut for button in app.button}
    assert keys == {"Previous": "left", "Next": "right", "Flag": "f"}
    sound(_button(app, "Next").click().run())
    assert "2 of 16" in html_of(app)
    sound(_button(app, "Flag").click().run())
    assert _button(app, "Unflag")
    assert json.loads((tmp_path / "flags.jsonl").read_text())["flagged"] is True
    assert "1 of 1 " in html_of(open_page("samples", tmp_path, run=BASE, show="flagged"))


def test_another_checkpoint_stands_beside_with_differing_words_marked(open_page, demo):
    shown = html_of(open_page("samples", demo, run=BASE, beside=ALIGNED, show="hallucinated"))
    assert shown.count('<div class="hk-card">') == 2
    assert "hk-changed" in shown


def test_samples_can_be_filtered_by_what_changed_against_another_run(open_page, demo):
    worse = open_page("samples", demo, run=BASE, against=ALIGNED, change="worse")
    wrong = open_page("samples", demo, run=BASE, show="hallucinated")
    assert set(worse.dataframe[0].value["id"]) >= set(wrong.dataframe[0].value["id"])
    same = open_page("samples", demo, run=BASE, against=ALIGNED, change="unchanged")
    assert not set(same.dataframe[0].value["id"]) & set(worse.dataframe[0].value["id"])


def test_samples_can_be_filtered_by_group_text_and_length(open_page, demo):
    app = open_page("samples", demo, run="runs/base/amber", group_dimension="generative", text="KITCHEN")
    assert app.dataframe[0].value["response"].str.contains("kitchen").all()
    assert "None of the" in html_of(open_page("samples", demo, run=BASE, **{"from": "5000"}))


def test_a_verdict_is_shown_with_the_judges_own_words(open_page, demo):
    assert "Rating:" in html_of(open_page("samples", demo, run="runs/base/mmhal"))


def test_an_address_of_a_run_that_is_gone_says_so(open_page, demo):
    assert "is no longer available" in html_of(open_page("samples", demo, run="runs/gone"))


def test_a_missing_image_is_a_sentence_with_its_path(open_page, demo, tmp_path):
    shown = html_of(open_page("samples", demo, images=(tmp_path,), run=BASE))
    assert "is missing" in shown
    assert str(tmp_path) in shown


# --- objects, training, live --------------------------------------------------------------------------------------


def test_objects_lists_what_is_hallucinated_most_first(open_page, demo):
    table = open_page("objects", demo, run=BASE).dataframe[0].value
    assert list(table["responses"]) == sorted(table["responses"], reverse=True)


def test_objects_are_named_without_the_reason(open_page, demo):
    names = open_page("objects", demo, run="runs/base/amber").dataframe[0].value["object"]
    assert len(names) > 0
    assert not any(":" in name for name in names)


def test_objects_says_so_where_nothing_is_hallucinated(open_page, demo):
    assert "no response has a hallucinated object" in html_of(open_page("objects", demo, run=ALIGNED))


def test_training_shows_card_curves_and_pairs(open_page, demo):
    app = open_page("training", demo)
    shown = html_of(app)
    for part in ("ddpo-paper", "reward margin", "KL", "chosen", "rejected", "hk-changed", "rejected_score -1"):
        assert part in shown
    assert len(app.get("vega_lite_chart") or app.get("arrow_vega_lite_chart")) >= 6


def test_live_shows_progress_of_a_run_that_goes_on(open_page, demo):
    shown = html_of(open_page("live", demo))
    assert "9 of 16 responses" in shown
    assert "words per response" in shown


# --- broken input -------------------------------------------------------------------------------------------------


def _tear(run: Path) -> None:
    path = run / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-30])


def _spoil(run: Path) -> None:
    path = run / "records.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], "{not json", *lines[1:]]) + "\n")


def _other_schema(run: Path) -> None:
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(manifest | {"schema": 99}))


def _changed(run: Path) -> None:
    path = run / "records.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"finish": "stop"', b'"finish": "cut"', 1))


def _wrong_types(run: Path) -> None:
    """A run as 0.1.0 wrote it, without checksums: only its types tell."""
    rows = [unsealed(line)[0] for line in (run / "records.jsonl").read_bytes().splitlines()]
    rows[0]["score"]["findings"] = [{"start": "0"}]
    (run / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("run.json", "metrics.json"):
        content = json.loads((run / name).read_text())
        del content["made_from"]
        (run / name).write_text(json.dumps(content))


def _no_metrics(run: Path) -> None:
    (run / "metrics.json").unlink()


def _odd_metrics(run: Path) -> None:
    (run / "metrics.json").write_text('{"metrics": [1, 2], "n_scored": "many"}')


def _evil_formula(run: Path) -> None:
    manifest = json.loads((run / "run.json").read_text())
    manifest["metrics"][0]["formula"] = "__import__('os').getcwd()"
    (run / "run.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_spoil, ":2: the line is not JSON"),
        (_changed, ":1: the line does not fit its checksum"),
        (_other_schema, "schema version 99"),
        (_wrong_types, ":1: not a record: finding.start must be a whole number"),
        (_no_metrics, "metrics.json is missing"),
        (_odd_metrics, "is damaged"),
        (_evil_formula, "formula"),
    ],
)
def test_a_damaged_run_is_explained_and_the_others_stay_usable(open_page, demo, tmp_path, damage, sentence):
    shutil.copytree(demo / "runs", tmp_path / "runs")
    damage(tmp_path / "runs" / "base" / "chair")
    shown = "".join(html_of(open_page(page, tmp_path, run=BASE, base=BASE)) for page in ("overview", "samples"))
    assert sentence in shown
    others = open_page("samples", tmp_path, run=ALIGNED)
    assert len(others.dataframe[0].value) > 0


def test_torn_records_are_refused_with_the_command_that_makes_them_again(open_page, demo, tmp_path):
    shutil.copytree(demo / "runs", tmp_path / "runs")
    run = tmp_path / "runs" / "base" / "chair"
    _tear(run)
    shown = html_of(open_page("samples", tmp_path, run=BASE))
    assert "15 of 16 samples, cut off or added to" in shown
    assert f"`evalkit score {run}` recomputes it" in shown
    assert main(["score", str(run), "--world", str(demo / "world")]) == 0
    assert "1 of 16" in html_of(open_page("samples", tmp_path, run=BASE))


def test_a_torn_journal_of_a_run_that_goes_on_is_no_error(open_page, demo, tmp_path):
    shutil.copytree(demo / "runs" / "going", tmp_path / "going")
    path = tmp_path / "going" / "chair" / "responses.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    assert "8 of 16 responses" in html_of(open_page("live", tmp_path))


def _button(app: AppTest, label: str):  # type: ignore[no-untyped-def]
    return next(button for button in app.button if button.label == label)


# --- where things are ---------------------------------------------------------------------------------------------


def test_a_mention_and_the_box_of_its_object_share_a_class_and_a_hallucinated_one_has_none(open_page, demo):
    shown = html_of(open_page("samples", demo, run=BASE, show="hallucinated"))
    boxes = set(re.findall(r'class="hk-box (hk-o\d+)"', shown))
    assert boxes
    marks = re.findall(r'<mark class="hk (hk-\w+)([^"]*)"', shown)
    assert {kind for kind, classes in marks if "hk-o" in classes} == {"hk-correct"}
    assert all(set(re.findall(r"hk-o\d+", classes)) <= boxes for _, classes in marks)
    assert "<script" not in shown


def test_boxes_can_be_hidden_and_the_image_zoomed(open_page, demo):
    shown = html_of(open_page("samples", demo, run=BASE, boxes="false", zoom="2×"))
    assert "hk-box" not in shown
    assert "width:200%" in shown


def test_errors_by_kind_lead_to_their_samples(open_page, demo):
    shown = html_of(open_page("samples", demo, run=BASE))
    assert re.findall(r'href="samples\?run=[^"]*kind=(\w+)"', shown) == ["object"]
    assert re.search(r"<b>\d+</b> .*in \d+\.\d \[\d+\.\d, \d+\.\d\] % of responses", shown)
    shown = html_of(open_page("samples", demo, run=BASE, kind="object"))
    assert re.search(r"1 of \d+ \(of 16 samples\)", shown)
    assert "hk-hallucinated" in shown


def test_the_samples_page_shows_the_front_and_the_scenes_where_they_are(open_page, demo):
    assert "If it stopped earlier" not in [head.value for head in open_page("samples", demo, run=BASE).subheader]
    page = open_page("samples", demo, run=BASE, beside=ALIGNED, whole="true")
    assert "If it stopped earlier" in [head.value for head in page.subheader]
    assert "aligned: recall is higher than the base ever reaches" in html_of(page)
    page = open_page("samples", demo, run="runs/base/mmhal", whole="true")
    assert "no truncation front and knows no scenes" in html_of(page)
