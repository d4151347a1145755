"""The static site: everything of the runs, nothing from outside, light enough for large runs."""

import json
import re
import time
from pathlib import Path

import pytest
from annotation_world import BASE, OTHER, write_run
from hostile_runs import write_hostile

from evalkit.errors import RecordError
from evalkit.reports.pages.site import CHUNK, write_site
from evalkit.runs.run import load_run

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture
def site(tmp_path):
    for name, texts in (("base", BASE), ("other", OTHER)):
        write_run(tmp_path / name, name, texts, tmp_path / "images")
    runs = [load_run(tmp_path / name) for name in ("base", "other")]
    write_site(runs, tmp_path / "site", [tmp_path / "images"])
    return tmp_path / "site"


def value_of(path: Path):
    return json.loads(re.fullmatch(r"evalkit\.\w+\((.*)\);\n", path.read_text("utf-8"), re.DOTALL).group(1))


def test_all_samples_of_all_runs_are_there_with_their_spans(site):
    assert "base → other" in (site / "index.html").read_text()
    index = value_of(site / "1" / "index.js")
    assert (index["labels"], index["items"]) == (["base", "other"], 4)
    assert index["kinds"][0] == "hccc"
    samples = value_of(site / "1" / "0.js")["samples"]
    text, spans = samples[0][3][0]
    assert text == BASE["1"]
    assert [text[start:end] for start, end, *_ in spans] == ["dog"]
    assert len(list((site / "images").iterdir())) == 4


def test_a_site_is_written_again_but_no_other_folder_is_overwritten(site, tmp_path):
    run = load_run(tmp_path / "base")
    write_site([run], site)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(RecordError, match="not a site"):
        write_site([run], tmp_path / "mine")


def test_many_samples_weigh_little_beside_their_images(tmp_path):
    texts = {str(number): "A man rides a horse past a red house. " * 3 for number in range(15_220)}
    image = {"folder": str(tmp_path / "images"), "name": "1.png"}
    write_run(tmp_path / "run", "base", {"1": "x"}, tmp_path / "images")
    row = json.loads((tmp_path / "run" / "records.jsonl").read_text())
    rows = [
        row | {"id": name, "response": row["response"] | {"text": text}, "image": image} for name, text in texts.items()
    ]
    (tmp_path / "run" / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    counted = {"run.json": {"items": len(rows)}, "metrics.json": {"n_scored": len(rows), "n_total": len(rows)}}
    for name, counts in counted.items():
        path = tmp_path / "run" / name
        path.write_text(json.dumps(json.loads(path.read_text()) | counts))
    write_site([load_run(tmp_path / "run")], tmp_path / "site", [tmp_path / "images"])
    weight = sum(path.stat().st_size for path in (tmp_path / "site").rglob("*") if path.is_file())
    images = sum(path.stat().st_size for path in (tmp_path / "site" / "images").iterdir())
    assert weight - images < 10e6
    assert len(list((tmp_path / "site" / "1").glob("*.js"))) == 1 + -(-15_220 // CHUNK)


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs {CHROMIUM} (Debian's chromium)")
def test_hostile_runs_execute_and_load_nothing_in_a_browser(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    folder = write_hostile(tmp_path / "hostile")
    runs = [load_run(path.parent) for path in sorted(folder.rglob("records.jsonl"))]
    write_site(runs, tmp_path / "site")
    outside: list[str] = []
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=options)
        page = browser.new_page()
        page.on("request", lambda request: None if request.url.startswith("file:") else outside.append(request.url))
        page.on("dialog", lambda dialog: (outside.append(dialog.message), dialog.dismiss()))
        page.goto((tmp_path / "site" / "index.html").as_uri())
        page.get_by_role("link", name=re.compile("All samples")).first.click()
        page.wait_for_selector(".sample mark")
        start = time.monotonic()
        while page.get_by_role("button", name="Next", exact=True).is_enabled() and time.monotonic() - start < 60:
            before = page.locator("#where").inner_text()
            page.get_by_role("button", name="Next", exact=True).click()
            page.wait_for_function(f"document.getElementById('where').textContent !== {json.dumps(before)}")
        assert page.locator("script[src]").count() > 2
        assert page.evaluate("window.hit") is None
        browser.close()
    assert outside == []
