"""The report as one page: everything in it, nothing from outside, every text escaped."""

import re

import pytest
from hostile_runs import write_hostile
from PIL import Image
from toy import ToyBenchmark, ToyEngine

from evalkit.errors import RecordError
from evalkit.harness.stages import evaluate
from evalkit.reports.pages.page import write_page
from evalkit.runs.run import load_run

ELEMENTS = {
    "body", "h1", "h2", "h3", "p", "div", "span", "mark", "em", "table", "tr", "th", "td", "b", "img", "details",
    "summary", "ul", "li",
}  # fmt: skip


@pytest.fixture
def toy_run(tmp_path):
    evaluate(ToyBenchmark(30), ToyEngine(tmp_path / "log", fail=["3"]), tmp_path / "run")
    return load_run(tmp_path / "run")


def test_the_page_holds_numbers_with_intervals_failures_and_marked_samples(toy_run, tmp_path):
    told = write_page([toy_run], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "1 run" in told
    for part in ("wrong_words ↓", "29/30", "generation 1", 'class="hk hk-hallucinated"', toy_run.signature.short()):
        assert part in page


def test_a_hostile_run_adds_no_element_of_its_own(tmp_path):
    folder = write_hostile(tmp_path / "hostile")
    runs = [load_run(path.parent) for path in sorted(folder.rglob("records.jsonl"))]
    write_page(runs, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    body = page[page.index("<body>") :]
    elements = set(re.findall(r"<([a-zA-Z][a-zA-Z0-9]*)", body))
    assert elements <= ELEMENTS
    assert set(re.findall(r'<img alt="" src="([a-z:/]+)', body)) <= {"data:image/jpeg"}
    assert "default-src 'none'" in page


def test_images_are_embedded(tmp_path):
    folder = write_hostile(tmp_path / "hostile")
    Image.new("RGB", (9, 9), "red").save(folder / "images" / "a.png")
    runs = [load_run(path.parent) for path in sorted(folder.rglob("records.jsonl"))]
    write_page(runs, tmp_path / "page.html", [folder / "images"])
    assert 'src="data:image/jpeg;base64,' in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(("named", "embedded"), [("images", True), (".", True), ("elsewhere", False), (None, False)])
def test_pictures_come_from_folders_that_the_user_named_and_no_others(tmp_path, named, embedded):
    folder = write_hostile(tmp_path / "hostile")
    (folder / "elsewhere").mkdir()
    runs = [load_run(path.parent) for path in sorted(folder.rglob("records.jsonl"))]
    told = write_page(runs, tmp_path / "page.html", [folder / named] if named else [])
    assert ("data:image/jpeg" in (tmp_path / "page.html").read_text()) == embedded
    assert embedded or "left out: name their folder with --images DIR" in told


def test_a_folder_that_cannot_be_written_is_named(toy_run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot be written"):
        write_page([toy_run], tmp_path / "file" / "page.html")
