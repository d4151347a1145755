"""The page Fronts through Streamlit's AppTest, and the fronts on Compare."""

import json
import shutil
from pathlib import Path

import pytest
from dashboard_pages import html_of, sound

from evalkit.__main__ import main

BASE = "runs/base/chair"


@pytest.fixture
def placed(demo: Path, tmp_path: Path) -> Path:
    """The demo's runs, of which two were placed beside the base."""
    runs = shutil.copytree(demo / "runs", tmp_path / "runs")
    others = [str(runs / name / "chair") for name in ("aligned", "silent")]
    assert main(["front", *others, "--base", str(runs / "base" / "chair"), "--world", str(demo / "world")]) == 0
    return tmp_path


def test_fronts_of_several_runs_stand_together_with_their_verdicts(open_page, placed):
    app = open_page("fronts", placed, benchmark="chair")
    shown = html_of(app)
    assert shown.count("hk-key") == 3
    assert "<b>runs/silent/chair</b>: no better than the base that simply stops earlier" in shown
    assert "Not placed beside a base: <a" in shown
    assert f"base={BASE.replace('/', '%2F')}" in shown
    (chart,) = app.get("vega_lite_chart")
    assert '"strokeDash"' not in chart.proto.spec
    app.toggle(key="words").set_value(True).run()
    assert '"strokeDash"' in sound(app).get("vega_lite_chart")[0].proto.spec


def test_answers_shifted_blindly_are_a_front_of_their_own(open_page, demo):
    shown = html_of(open_page("fronts", demo, benchmark="amber", at="share_no"))
    assert "hk-key" in shown
    compared = html_of(open_page("compare", demo, base="runs/base/amber", other="runs/aligned/amber"))
    assert "shifted blindly" in compared


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"standings": [{"base": "b", "metrics": [{}]}]}, "standings cannot be read (KeyError"),
        ({"standings": [{"base": "b"}]}, "standings cannot be read (KeyError"),
        ({"fronts": [{}]}, "cannot be read (KeyError"),
        ({"records": "other"}, "was made for other records"),
    ],
)
def test_a_damaged_front_is_said_and_the_others_are_shown(open_page, placed, damage, said):
    path = placed / "runs" / "aligned" / "chair" / "front.json"
    content = json.loads(path.read_text()) | damage
    del content["sum"]  # as written by a version that had none: the damage is not found by the checksum
    path.write_text(json.dumps(content))
    shown = html_of(open_page("fronts", placed, benchmark="chair"))
    assert said in shown
    assert "<b>runs/silent/chair</b>" in shown


def test_runs_that_were_measured_otherwise_are_told(open_page, demo, placed):
    path = placed / "runs" / "silent" / "chair" / "run.json"
    manifest = json.loads(path.read_text())
    manifest["sampling"]["max_new_tokens"] += 1
    path.write_text(json.dumps(manifest))
    assert main(["score", str(path.parent), "--world", str(demo / "world")]) == 0
    assert html_of(open_page("fronts", placed, benchmark="chair")).count("hk-key") == 2  # those that are alike
    names = ["runs/aligned/chair", "runs/silent/chair"]
    shown = html_of(open_page("fronts", placed, benchmark="chair", front=names))
    assert "runs/silent/chair was not measured like runs/aligned/chair (max): do not compare their lines." in shown
