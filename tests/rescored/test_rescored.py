"""The page of rescored files: what counts as equal, which files belong to it, how a row is shown."""

import gzip
from pathlib import Path
from types import SimpleNamespace

import pytest

from evalkit.errors import AssetError
from evalkit.statistics.intervals import Interval
from tests.rescored import rows
from tests.rescored.files import index, unpacked
from tests.rescored.page import COLUMNS, page
from tests.rescored.rows import UNDEFINED, Row, agrees, build_row, compared, entries


@pytest.mark.parametrize(
    ("printed", "value", "same"),
    [
        ("14.8", 14.75, True),
        ("14.8", 14.85, True),
        ("14.8", 14.8501, False),
        ("15.616", 15.6164, True),
        ("15.616", 15.6166, False),
        ("0", 0.4, True),
    ],
)
def test_equal_means_to_every_printed_digit(printed, value, same):
    assert agrees(printed, value) == same


def test_a_comparison_names_what_differs_and_by_how_much():
    ours = [Interval(50.4, 46.0, 54.8), Interval(15.4, 13.0, 17.0), Interval(None, None, None)]
    assert compared(["50.4", "15.4"], ours, ["chair_s", "chair_i"]) == "="
    assert compared(["50.0", "15.616"], ours, ["chair_s", "split:random:f1"]) == "chair_s +0.4, f1 -0.216"
    assert compared(["1", "2", "3.0"], ours, ["a", "b", "c"]).endswith("c ours undefined")
    assert compared([UNDEFINED], ours, ["f1"]) == "f1 theirs undefined"
    assert compared([UNDEFINED], ours[2:], ["f1"]) == "="


def test_every_row_has_a_file_of_the_index_and_as_many_figures_as_metrics():
    found, cited = entries()
    assert len(found) >= 80
    assert [entry.file for entry in found if entry.file not in index()] == []
    for entry in found:
        for figures in filter(None, (entry.published, entry.authors)):
            assert len(figures) == len(entry.group.metrics), entry.file
    numbers = [entry.number for entry in found]
    assert numbers == sorted(numbers)
    assert {"number", "what", "stored", "ours", "verdict"} == set().union(*cited)


def test_only_a_whole_commit_and_a_path_to_one_file_are_an_address():
    pope, halc = index()["POPE/Instruction1_llava.json.gz"], next(r for n, r in index().items() if "HALC" in n)
    assert pope.address == (
        "https://raw.githubusercontent.com/RUCAIBox/POPE/3df3ba1b110ecce25696989577fad583b67d4239/"
        "caption_data/Instruction1_llava.json"
    )
    assert halc.address is None


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVALKIT_ASSETS", str(tmp_path / "mirror"))
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EVALKIT_OFFLINE", "1")
    return tmp_path / "mirror" / "released"


def test_other_bytes_are_refused(mirror, tmp_path):
    name = "POPE/Instruction1_llava.json.gz"
    (mirror / "POPE").mkdir(parents=True)
    (mirror / name).write_bytes(gzip.compress(b"{}"))
    with pytest.raises(AssetError, match=r"sha256 44136fa3.*expected"):
        unpacked(name, tmp_path)
    assert not (tmp_path / "POPE").exists()


@pytest.mark.parametrize("number", [11, 106, 110])
def test_a_file_that_is_not_to_be_had_leaves_a_row_that_is_only_cited(mirror, tmp_path, number):
    row = build_row(next(entry for entry in entries()[0] if entry.number == number), tmp_path)
    assert "no mirror folder" in str(row.problem)
    shown = page([row], [])
    assert "0 of 1 files scored" in shown
    assert "no mirror folder" in shown
    assert "| only cited |" in shown


CUT = {"empty": b"", "its mark alone": b"\x1f\x8b", "cut": gzip.compress(b"x" * 9999)[:30], "not packed": b"not packed"}


@pytest.mark.parametrize("content", CUT.values(), ids=CUT)
def test_a_file_that_was_cut_stops_no_other_row(mirror, tmp_path, content):
    halc = next(entry for entry in entries()[0] if entry.number == 11)
    (mirror / halc.file).parent.mkdir(parents=True)
    (mirror / halc.file).write_bytes(content)
    assert halc.file in str(build_row(halc, tmp_path).problem)


def test_a_file_that_cannot_be_scored_stops_no_other_row(mirror, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise AssetError("no language data")

    halc = next(entry for entry in entries()[0] if entry.number == 11)
    monkeypatch.setattr(rows, "unpacked", lambda *_: tmp_path / "a.jsonl")
    for name in ("_stored_figures", "_options", "build", "import_run"):
        monkeypatch.setattr(rows, name, lambda *_, **__: SimpleNamespace(name="chair"))
    monkeypatch.setattr(rows, "score", refused)
    assert build_row(halc, tmp_path).problem == "no language data"


def test_a_page_has_a_table_per_group_and_the_cited_rows_at_its_end():
    found, cited = entries()
    ours = (Interval(14.84, 14.1, 15.6), Interval(25.4, 23.5, 27.3))
    text = page([Row(found[0], None, ours, 2000, None, None, ("published: =",))], cited)
    assert f"| {' | '.join(column.heading for column in COLUMNS)} |" in text
    assert "14.840 [14.1, 15.6]<br>25.400 [23.5, 27.3]" in text
    assert "1 of 1 comparisons equal" in text
    assert text.index("## Only cited") > text.index(found[0].group.title)
    assert all(row["what"] in text for row in cited)
