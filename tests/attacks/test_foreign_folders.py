"""A run folder that somebody else made: nothing outside of it is written or read, what it names starts no code."""

import sys
from pathlib import Path

import pytest

from evalkit.runs.lock import LOCK
from evalkit.runs.records import MANIFEST, METRICS, RECORDS, RESPONSES, VERDICTS
from tests.attacks.attacked import chair_run, change, forge, mmhal, program, shards

PRECIOUS = '{"id": "x", "sample": 0, "key": "k"}\n{"a last line without newline": 1}'


@pytest.mark.parametrize("name", [LOCK, MANIFEST, METRICS, RECORDS, RESPONSES])
def test_what_a_file_of_a_run_links_to_stays_as_it_is(folder: Path, name: str) -> None:
    run, outside, absent = chair_run(folder), folder / "outside.txt", folder / "absent.txt"
    for target in (outside, absent):
        outside.write_text(PRECIOUS)
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(target)
        for words in (["score", run], ["merge", run, "--output-path", folder / "merged"], ["report", run]):
            program(*words, *(["--world", folder / "world"] if words[0] != "report" else []))
            assert outside.read_text() == PRECIOUS
            assert not absent.exists()


def test_verdicts_are_not_written_through_a_link(folder: Path) -> None:
    words = [*mmhal(folder), "--judge", "rules"]
    assert program(*words).code == 0
    run, outside, absent = folder / "runs" / "m" / "mmhal", folder / "outside.jsonl", folder / "absent.jsonl"
    for target in (outside, absent):
        outside.write_text(PRECIOUS)
        (run / VERDICTS).unlink(missing_ok=True)
        (run / VERDICTS).symlink_to(target)
        program("score", run, "--judge", "rules")
        assert outside.read_text() == PRECIOUS
        assert not absent.exists()


@pytest.mark.parametrize("place", ["name", "benchmark"])
def test_a_module_that_a_manifest_names_is_not_imported(
    folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = chair_run(folder)
    (folder / "planted.py").write_text("open('ran', 'w').write('x')\nclass Thing: pass\n")
    monkeypatch.syspath_prepend(str(folder))
    if place == "name":
        change(run / MANIFEST, lambda manifest: manifest["origin"].update(name="planted:Thing"))
    else:
        change(run / MANIFEST, lambda manifest: manifest.update(benchmark="planted:Thing", origin={}))
    for words in (["score", run], ["score", run, "--dry-run"], ["merge", run, "--output-path", folder / "merged"]):
        assert program(*words).code != 0
        assert "planted" not in sys.modules
        assert not (folder / "ran").exists()


@pytest.mark.parametrize("place", ["label", "benchmark"])
@pytest.mark.parametrize("name", ["../../outside", "{folder}/absolute", "..", ""])
def test_a_merge_stays_below_its_output_path(folder: Path, place: str, name: str) -> None:
    chair_run(folder)
    parts = shards(folder, "chair", folder / "base.jsonl")
    named = name.format(folder=folder)
    for part in parts:
        change(part / MANIFEST, lambda manifest: manifest.update({place: named}))
    before = {path for path in folder.rglob("*") if path.is_file()}
    out = folder / "deep" / "out"
    done = program("merge", *parts, "--output-path", out, "--world", folder / "world")
    assert done.code != 0, done.out
    written = {path for path in folder.rglob("*") if path.is_file()} - before
    assert not [path for path in written if not path.is_relative_to(out) and path.name != LOCK]


def test_a_page_holds_no_picture_from_outside_the_data(folder: Path) -> None:
    from PIL import Image

    run, private = chair_run(folder), folder / "private"
    private.mkdir()
    Image.new("RGB", (50, 50), "red").save(private / "secret.png")
    forge(run, lambda row: row.update(image={"folder": str(private), "name": "secret.png"}))
    page = folder / "page.html"
    assert program("report", folder / "runs", "--html", page).code == 0
    assert "data:image/jpeg" not in page.read_text()
    assert program("report", folder / "runs", "--html", page, "--images", private).code == 0
    assert "data:image/jpeg" in page.read_text()


def test_a_run_reached_by_two_paths_is_one_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # a narrow table goes on below, with another line for the run
    run = chair_run(folder)
    (folder / "link").symlink_to(folder / "runs")
    for second in (folder / "link", folder / "runs" / ".." / "runs", run):
        done = program("report", folder / "runs", second)
        assert len([line for line in done.out.splitlines() if line.startswith("base")]) == 1
