"""Every page in light and dark, on a desk and on a phone: contrast, names, focus order, width."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from annotation_server import SHOWS_WITHIN_MS, served
from annotation_world import make_study, write_run
from dashboard_server import served as dashboard_served
from looks import faults, tab_stops

from evalkit.annotation.journal import submit
from evalkit.reports.pages.page import write_page
from evalkit.reports.pages.site import write_site
from evalkit.runs.run import load_run

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]
LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1440, 390)]
RUN, OTHER = "runs/base/chair", "runs/aligned/chair"
PAGES = {
    "overview": "?benchmark=chair",
    "samples": f"samples?run={RUN}&beside={OTHER}&show=hallucinated&whole=true",
    "verdicts": "samples?run=runs/base/mmhal",
    "compare": f"compare?base={RUN}&other={OTHER}&other=runs/silent/chair",
    "fronts": "fronts",
    "objects": f"objects?run={RUN}",
    "training": "training",
    "live": "live",
}
ODD = {  # texts that break lines, boxes and directions
    "1": "word" * 60 + " https://example.org/" + "a/" * 120,
    "2": "زرافة تقف بجانب شجرة. 一只猫坐在红色的沙发上。 Ein Hündchen, e\u0301 👩‍👩‍👧‍👦 \u202eabc",
    "3": "A dog. " * 900,
    "4": " ",
}


def look(browser: Any, address: str, name: str, scheme: str, width: int, stops: int = 40) -> None:
    """Open a page, hold it to the rules, and keep a picture where EVALKIT_SCREENSHOTS names a folder."""
    window = browser.new_context(viewport={"width": width, "height": 1500}, color_scheme=scheme)
    page = window.new_page()
    page.set_default_timeout(SHOWS_WITHIN_MS)
    page.goto(address)
    page.wait_for_selector("h1, .ea-actions button")
    page.wait_for_selector("[data-testid=stStatusWidget]", state="detached")
    page.wait_for_function("!document.querySelector('[data-testid=stSkeleton]')")
    page.wait_for_timeout(800)
    if folder := os.environ.get("EVALKIT_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}-{scheme}-{width}.png"))
    assert "\n".join(faults(page)) == ""
    names, backwards = tab_stops(page, stops)
    assert names or stops == 0
    assert backwards == []
    window.close()


@pytest.fixture(scope="module")
def address(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    own = tmp_path_factory.mktemp("looks")
    shutil.copytree(demo, own, dirs_exist_ok=True)
    with dashboard_served(own) as at:
        yield at


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_and_walked_through(browser, address, name, scheme, width):
    look(browser, f"{address}/{PAGES[name]}", name, scheme, width)


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_long_names_and_other_scripts_stay_inside_the_window(browser, tmp_path, scheme, width):
    label = "a-checkpoint-with-a-very-long-name-" * 4
    write_run(tmp_path / "runs" / label, label, ODD, tmp_path / "images")
    write_run(tmp_path / "runs" / "模型", "模型", ODD, tmp_path / "images")
    with dashboard_served(tmp_path) as at:
        for place, path in enumerate(("", f"samples?run=runs/{label}&beside=runs/模型", "compare", "objects")):
            look(browser, f"{at}/{path}", f"odd{place}", scheme, width)


@pytest.mark.parametrize("width", [1440, 390])
def test_an_empty_folder_is_explained(browser, tmp_path, width):
    with dashboard_served(tmp_path) as at:
        for path in ("", "samples", "compare", "fronts", "objects", "training", "live"):
            look(browser, f"{at}/{path}", f"empty_{path}", "light", width, stops=0)


@pytest.mark.parametrize("task", ["mark", "correct", "compare"])
def test_the_pages_of_a_study_can_be_read_and_walked_through(browser, tmp_path, task):
    study = make_study(tmp_path, task, ("anna", "ben"), overlap=1.0, show=["reference", "boxes", "findings"])
    said = {
        "mark": ({"spans": []}, {"spans": [[0, 1, "object"]]}),
        "correct": ({"text": "A dog."}, {"text": "A cat."}),
        "compare": ({"less_hallucinated": "first", "better": "tie"}, {"less_hallucinated": "second", "better": "tie"}),
    }[task]
    item = study.item("0/2/0") if task != "compare" else study.items[0]
    for name, answer in zip(("anna", "ben"), said, strict=True):
        types = {"types": ["object"] * 9} if task == "correct" else {}
        _submit(study, name, item, answer | types)
    with served(study) as server:
        for scheme, width in LOOKS:
            look(browser, server.link("anna"), f"annotate_{task}", scheme, width)
            look(browser, server.link("owner"), f"owner_{task}", scheme, width)
            agreement = f"{server.address}/agreement?token={study.tokens['owner']}"
            look(browser, agreement, f"agreement_{task}", scheme, width)


def _submit(study: Any, name: str, item: Any, answer: dict[str, Any]) -> None:
    from evalkit.annotation.segments import changed_segments

    if study.task == "correct":
        answer["types"] = ["object"] * len(changed_segments(item.texts[0], answer["text"]))
    submit(study, name, item.key, answer)


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_the_report_and_the_site_can_be_read_and_walked_through(browser, demo, tmp_path, scheme, width):
    runs = [load_run(demo / "runs" / label / "chair") for label in ("base", "aligned", "silent")]
    write_page(runs, tmp_path / "report.html", [demo])
    write_site(runs, tmp_path / "site", [demo])
    for name, path in (("report", "report.html"), ("site", "site/index.html"), ("site_board", "site/1.html")):
        look(browser, (tmp_path / path).as_uri(), name, scheme, width)
