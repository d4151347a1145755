"""The dashboard as people use it: the real server, a real browser, runs of the miniature world and hostile ones."""

import os
import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dashboard_server import served
from hostile_runs import PAYLOADS

from evalkit.reports.pages.page import write_page
from evalkit.runs.run import load_run

SHOWS_WITHIN_MS = 90_000
BASE, ALIGNED = "runs/base/chair", "runs/aligned/chair"

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


class Watch:
    """What a page must not do: ask anybody else for anything, open a dialog, run a script of the data."""

    def __init__(self, page: Any, own: str) -> None:
        self.page, self.outside, self.dialogs = page, [], []
        page.on("request", lambda request: self._see(request.url, own))
        page.on("dialog", self._dialog)
        page.on("popup", lambda popup: self.dialogs.append(popup.url))

    def _see(self, url: str, own: str) -> None:
        if not url.startswith((own, own.replace("http", "ws", 1), "data:", "blob:")):
            self.outside.append(url)

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def check(self) -> None:
        assert self.outside == []
        assert self.dialogs == []
        assert self.page.evaluate("window.hit") is None


@pytest.fixture(scope="module")
def demo_address(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    own = tmp_path_factory.mktemp("served")  # flags are written beside the runs
    shutil.copytree(demo, own, dirs_exist_ok=True)
    with served(own) as address:
        yield address


def _open(browser: Any, address: str, path: str = "", **context: Any) -> tuple[Any, Watch]:
    page = browser.new_context(viewport={"width": 1440, "height": 1000}, **context).new_page()
    page.set_default_timeout(SHOWS_WITHIN_MS)
    watch = Watch(page, address)
    page.goto(f"{address}/{path}")
    page.wait_for_selector("h1")
    if path.startswith("samples"):
        page.wait_for_selector("text=/^[0-9]+ of [0-9]+/")
    _settle(page)
    return page, watch


def _settle(page: Any) -> None:
    """Wait until the script has run and its elements stand."""
    page.wait_for_selector("[data-testid=stStatusWidget]", state="detached")
    page.wait_for_timeout(600)


def page_timeout() -> type[Exception]:
    """Playwright's own, imported where a browser is there."""
    from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

    return PlaywrightTimeoutError


def _press(page: Any, key: str, expected: str) -> None:
    """Press a key and wait for its effect; a press while the page is still being drawn is lost, so press again."""
    for patience_ms in (15_000, 15_000, SHOWS_WITHIN_MS):
        page.keyboard.press(key)
        try:
            page.wait_for_selector(expected, timeout=patience_ms)
        except page_timeout():
            continue
        return
    raise AssertionError(f"{key} did not lead to {expected}")


def _shot(page: Any, name: str) -> None:
    """A screenshot for the README, where EVALKIT_SCREENSHOTS names a folder."""
    folder = os.environ.get("EVALKIT_SCREENSHOTS")
    if folder:
        page.wait_for_timeout(1500)
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_from_the_overview_to_a_highlighted_span(browser, demo_address):
    page, watch = _open(browser, demo_address, "?benchmark=chair")
    _shot(page, "overview")
    page.get_by_role("link", name="base", exact=True).click()
    page.wait_for_selector("mark.hk")
    _settle(page)
    page.get_by_text("hallucinated", exact=True).first.click()
    page.wait_for_selector("mark.hk-hallucinated")
    assert "show=hallucinated" in page.url
    assert "run=runs%2Fbase%2Fchair" in page.url or "run=runs/base/chair" in page.url
    watch.check()


def test_keys_turn_over_and_flag(browser, demo_address):
    page, watch = _open(browser, demo_address, f"samples?run={BASE}")
    for key, expected in (("ArrowRight", "2 of 16"), ("ArrowRight", "3 of 16"), ("ArrowLeft", "2 of 16")):
        _press(page, key, f"text={expected}")
    _press(page, "f", "text=Unflag")
    assert "id=" in page.url
    watch.check()


def test_two_checkpoints_stand_side_by_side(browser, demo_address):
    page, watch = _open(browser, demo_address, f"samples?run={BASE}&beside={ALIGNED}&show=hallucinated")
    page.wait_for_selector("mark.hk-changed")
    assert page.locator("h4").all_inner_texts()[0].startswith("base")
    page.wait_for_selector("img")
    _shot(page, "samples")
    watch.check()


def test_compare_leads_to_the_items_that_changed(browser, demo_address):
    page, watch = _open(browser, demo_address, f"compare?base={BASE}&other={ALIGNED}")
    page.wait_for_selector("td.hk-better")
    _shot(page, "compare")
    page.get_by_role("link", name="better", exact=True).click()
    page.wait_for_selector("text=/of 16 samples/")
    assert "change=better" in page.url
    watch.check()


def test_a_deep_link_shows_the_same_sample_in_a_new_window(browser, demo_address):
    page, _ = _open(browser, demo_address, f"samples?run={BASE}&show=hallucinated")
    _press(page, "ArrowRight", "text=/^2 of/")
    _settle(page)
    text = page.locator(".hk-card .hk-text").first.inner_text()
    again, watch = _open(browser, demo_address, page.url.removeprefix(demo_address).lstrip("/"))
    assert again.locator(".hk-card .hk-text").first.inner_text() == text
    watch.check()


def test_a_selection_can_be_exported(browser, demo_address):
    page, watch = _open(browser, demo_address, f"samples?run={BASE}&show=hallucinated")
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile("^(download )?CSV")).click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("run,id,sample")
    assert len(lines) > 1
    watch.check()


def test_a_cell_of_the_heat_map_leads_to_its_samples(browser, demo_address):
    page, watch = _open(browser, demo_address, f"objects?run={BASE}")
    page.wait_for_selector("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg")
    _shot(page, "objects")
    page.locator("[data-testid=stVegaLiteChart]").scroll_into_view_if_needed()
    page.locator("[data-testid=stVegaLiteChart] .mark-rect path").first.click(force=True)
    page.wait_for_url("**/samples?**")
    assert "object=" in page.url
    assert "present=" in page.url
    watch.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_training_shows_its_curves_and_pairs(browser, demo_address, scheme):
    page, watch = _open(browser, demo_address, "training", color_scheme=scheme)
    page.wait_for_selector("text=Preference pairs")
    _shot(page, f"training_{scheme}")
    watch.check()


def test_the_dark_theme_is_dark(browser, demo_address):
    page, watch = _open(browser, demo_address, f"samples?run={BASE}&show=hallucinated", color_scheme="dark")
    colour = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    assert max(map(int, re.findall(r"\d+", colour)[:3])) < 60
    _shot(page, "samples_dark")
    watch.check()


def test_a_deep_link_is_the_first_thing_a_new_server_shows(browser, demo):
    with served(demo) as address:
        page, watch = _open(browser, address, f"samples?run={BASE}&show=hallucinated")
        page.wait_for_selector("mark.hk-hallucinated")
        assert page.get_by_role("link", name="Overview").count() == 1
        colour = page.evaluate("getComputedStyle(document.querySelector('mark.hk-hallucinated')).backgroundColor")
        assert "229, 57, 53" in colour
        watch.check()


# --- hostile ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile_address(hostile: Path) -> Iterator[str]:
    with served(hostile) as address:
        yield address


def test_no_payload_executes_or_loads_anything_as_a_sample(browser, hostile_address):
    page, watch = _open(browser, hostile_address, "samples")
    for place in range(2, len(PAYLOADS) + 1):
        _press(page, "ArrowRight", f"text=/^{place} of {len(PAYLOADS)}/")
        if place % 10 == 0:
            page.get_by_text("Counts, verdict, reference").click()
            page.wait_for_timeout(200)
            page.mouse.move(900, 300)
            watch.check()
    watch.check()


@pytest.mark.parametrize("name", ["", "samples?whole=true", "compare", "fronts", "objects", "training", "live"])
def test_no_payload_executes_or_loads_anything_on_a_page(browser, hostile_address, name):
    page, watch = _open(browser, hostile_address, name)
    for heading in page.locator("[data-testid=stExpander] summary").all():
        heading.click()
    for _ in range(6):
        page.mouse.wheel(0, 900)
        page.wait_for_timeout(150)
    watch.check()


def test_no_payload_executes_or_loads_anything_in_the_report(browser, hostile, tmp_path):
    runs = [load_run(path.parent) for path in sorted(hostile.rglob("records.jsonl"))]
    report = tmp_path / "report.html"
    write_page(runs, report, [hostile / "images"])
    page = browser.new_page()
    watch = Watch(page, report.as_uri())
    page.goto(report.as_uri())
    page.wait_for_timeout(500)
    watch.check()


def test_the_report_prints_its_tables_whole(browser, demo, tmp_path):
    write_page([load_run(path.parent) for path in sorted((demo / "runs").rglob("records.jsonl"))], tmp_path / "r.html")
    page = browser.new_page(viewport={"width": 1032, "height": 700})  # A4 across, less the margins
    page.emulate_media(media="print")
    page.goto((tmp_path / "r.html").as_uri())
    cut = "[...document.querySelectorAll('.wide')].filter(box => box.scrollWidth > box.clientWidth).length"
    assert page.locator(".wide").count() == 3
    assert page.evaluate(cut) == 0


def test_no_file_beside_the_app_is_served(demo_address):
    for path in ("app/static/../commands.py", "static/../../../../etc/passwd", "media/../../etc/passwd", "commands.py"):
        try:
            body = urllib.request.urlopen(f"{demo_address}/{path}", timeout=10).read()
        except OSError:
            continue
        assert b"root:" not in body
        assert b"def add_commands" not in body
