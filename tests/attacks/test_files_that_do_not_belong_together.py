"""A number stands under the signature, n and items it was made with: cut, mixed and doubled files are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from evalkit.miniature.files import write_world
from evalkit.runs.checksums import sealed
from evalkit.runs.records import METRICS, RECORDS, RESPONSES, VERDICTS
from tests.attacks.attacked import Done, chair_run, change, forge, mmhal, program, shards, write_lines

SCENES = 12


@pytest.fixture
def run(folder: Path) -> Path:
    chair_run(folder, "other", ("A dog.",), SCENES)
    return chair_run(folder, scenes=SCENES)


def read_in_every_way(folder: Path, run: Path) -> list[Done]:
    other = folder / "runs" / "other" / "chair"
    return [
        program("report", folder / "runs"),
        program("report", folder / "runs", "--format", "json"),
        program("report", folder / "runs", "--html", folder / "page.html"),
        program("compare", run, other),
        program("export", run, "--format", "chair", "--output", folder / "exported.jsonl"),
    ]


@pytest.mark.parametrize("checksums", [True, False])
@pytest.mark.parametrize("where", ["at a line's end", "in a line", "one line", "all"])
def test_records_that_were_cut_are_refused_with_the_command_that_mends_them(
    folder: Path, run: Path, where: str, checksums: bool
) -> None:
    if not checksums:
        forge(run, lambda row: None)
    data = (run / RECORDS).read_bytes()
    ends = [place + 1 for place, byte in enumerate(data) if byte == ord("\n")]
    cut = {"at a line's end": ends[3], "in a line": ends[3] + 40, "one line": ends[-2], "all": 0}[where]
    (run / RECORDS).write_bytes(data[:cut])
    for done in read_in_every_way(folder, run):
        assert done.code != 0
        assert f"evalkit score {run}" in done.err
    assert program("score", run, "--world", folder / "world").code == 0
    assert (run / RECORDS).read_bytes().count(b"\n") == SCENES
    assert all(done.code == 0 for done in read_in_every_way(folder, run))


def test_the_metrics_of_another_run_are_not_shown_as_this_ones(folder: Path, run: Path) -> None:
    shutil.copy(folder / "runs" / "other" / "chair" / METRICS, run / METRICS)
    for done in read_in_every_way(folder, run)[:3]:
        assert done.code != 0
        assert METRICS in done.err


def test_records_and_metrics_of_fewer_items_than_the_manifest_says_are_refused(folder: Path, run: Path) -> None:
    """What a run of 0.1.0 tells: no checksums, no sums, no signature beside the metrics."""
    forge(run, lambda row: None)
    lines = (run / RECORDS).read_bytes().splitlines(keepends=True)
    (run / RECORDS).write_bytes(b"".join(lines[:-1]))
    fewer = {"n_scored": SCENES - 1, "n_total": SCENES - 1, "sums": None, "signature": None}
    change(run / METRICS, lambda results: results.update(fewer))
    for done in read_in_every_way(folder, run):
        assert done.code != 0
        assert f"{SCENES - 1} of {SCENES} samples" in done.err


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1000])
def test_a_count_that_is_no_count_is_refused(folder: Path, run: Path, value: float) -> None:
    changed = iter([value])

    def once(row: dict[str, Any]) -> None:
        row["score"]["counts"]["words"] = next(changed, row["score"]["counts"]["words"])

    forge(run, once)
    done = program("compare", run, folder / "runs" / "other" / "chair")
    assert done.code != 0
    assert f"{RECORDS}:1" in done.err


def test_a_part_that_is_larger_than_its_whole_is_refused(folder: Path, run: Path) -> None:
    forge(run, lambda row: row["score"]["counts"].update(hallucinated_mentions=10**6))
    assert program("compare", run, folder / "runs" / "other" / "chair").code != 0


def test_a_key_that_stands_twice_in_an_object_is_refused(folder: Path) -> None:
    write_world(folder / "world", 2, seed=1)
    plain, twice = '{"1": ["dog"], "2": ["dog"]}', '{"1": ["dog"], "1": ["cat"]}'
    row, doubled = '{"image_id": 1, "caption": "a dog"}', '{"image_id": 1, "image_id": 2, "caption": "a dog"}'
    for number, (references, caption) in enumerate([(twice, row), (plain, doubled)]):
        (folder / "references.json").write_text(references)
        (folder / "said.jsonl").write_text(caption + "\n")
        words = ["--responses", "said.jsonl", "--references", "references.json", "--label", f"run{number}"]
        done = program("score", "chair", *words, "--set", "chair.synonyms=world/synonyms.txt")
        assert done.code != 0
        assert "twice" in done.err


def judged_shards(folder: Path) -> list[Path]:
    mmhal(folder)
    return shards(folder, "mmhal", folder / "mmhal.jsonl", "--judge", "rules")


def merge(folder: Path, parts: list[Path]) -> Done:
    return program("merge", *parts, "--output-path", folder / "merged", "--world", folder / "world")


def test_a_torn_last_line_of_a_shards_verdicts_does_not_spoil_the_merged_run(folder: Path) -> None:
    parts = judged_shards(folder)
    with (parts[0] / VERDICTS).open("ab") as file:
        file.write(b'{"id": "94", "sam')
    assert merge(folder, parts).code == 0
    assert program("score", folder / "merged" / "whole" / "mmhal", "--judge", "rules").code == 0


@pytest.mark.parametrize("checksums", [True, False])
def test_a_shard_that_was_made_anew_is_not_merged_as_the_old_one(folder: Path, checksums: bool) -> None:
    parts = judged_shards(folder)
    assert merge(folder, parts).code == 0
    path = parts[0] / RESPONSES
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row.pop("sum")
        row["text"] = row["text"].replace("A red cat", "A blue dog")
    if checksums:
        path.write_bytes(b"".join(sealed(row) for row in rows))
    else:
        write_lines(path, rows)
    done = merge(folder, parts)
    merged = (folder / "merged" / "whole" / "mmhal" / RESPONSES).read_text()
    assert done.code != 0 or "blue" in merged
