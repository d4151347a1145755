"""`evalkit doctor --run`: a run that is whole, one of 0.1.0, and every way in which files do not belong together."""

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard.reading.runs import find
from dashboard.reading.shown import Shown
from evalkit.__main__ import main
from evalkit.analysis.front_file import read_fronts
from evalkit.cli.run_checks import run_checks
from evalkit.errors import RecordError
from evalkit.miniature.files import write_world
from evalkit.runs.checksums import sealed, unsealed
from evalkit.runs.records import Journal, read_journal
from evalkit.runs.run import load_run


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CHAIR run scored from captions."""
    folder = tmp_path_factory.mktemp("doctor")
    write_world(folder / "world", 6, seed=1)
    ids = json.loads((folder / "world" / "image_ids.json").read_text())
    rows = [{"image_id": name, "caption": "A dog on a couch."} for name in ids]
    (folder / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = f"--responses {folder}/said.jsonl --world {folder}/world --label m --output-path {folder}/runs"
    assert main(["score", "chair", *words.split()]) == 0
    return folder / "runs" / "m" / "chair"


@pytest.fixture
def run(scored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scored, tmp_path / "run"))


def states(folder: Path) -> dict[str, str]:
    return {check.name: check.state for check in run_checks(folder)}


def test_a_run_as_it_was_written_is_in_order(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(states(run).values()) == {"ok"}
    assert {"manifest", "responses", "records", "texts", "metrics", "fronts"} <= set(states(run))
    assert main(["doctor", "--run", str(run)]) == 0
    assert "6 lines, 6 with a checksum that fits" in capsys.readouterr().out


def _flip(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        data = (run / name).read_bytes()
        assert b"couch" in data
        (run / name).write_bytes(data.replace(b"couch", b"coach", 1))

    return change


def _set(name: str, key: str, value: object) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        content = json.loads((run / name).read_text())
        assert content[key] != value
        (run / name).write_text(json.dumps(content | {key: value}))

    return change


def _drop_last(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        lines = (run / name).read_text().splitlines(keepends=True)
        (run / name).write_text("".join(lines[:-1]))

    return change


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (_flip("responses.jsonl"), "responses"),
        (_flip("records.jsonl"), "records"),
        (_drop_last("records.jsonl"), "records"),
        (_drop_last("responses.jsonl"), "texts"),
        (_set("run.json", "settings", {"variant": "other"}), "records"),
        (_set("metrics.json", "n_scored", 5), "records"),
        (lambda run: (run / "metrics.json").unlink(), "metrics"),
        (lambda run: (run / "run.json").unlink(), "manifest"),
        (lambda run: (run / "responses.jsonl").unlink(), "responses"),
    ],
)
def test_what_was_changed_after_the_run_is_found(
    run: Path, change: Callable[[Path], None], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(run)
    assert states(run)[name] == "missing"
    assert main(["doctor", "--run", str(run)]) == 3
    assert f"-- {name}" in capsys.readouterr().out


def test_a_run_of_another_scoring_beside_the_journal_is_found(run: Path) -> None:
    """Every file fits its own checksums; only the texts tell."""
    other = (run / "responses.jsonl").read_text()
    rows = [unsealed(line.encode())[0] | {"text": "A cat."} for line in other.splitlines()]
    (run / "responses.jsonl").write_bytes(b"".join(map(sealed, rows)))
    assert states(run) | {"texts": "missing"} == states(run)


def test_a_run_without_checksums_is_in_order_with_a_note(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("responses.jsonl", "records.jsonl"):
        (run / name).write_text(re.sub(r', "sum": "[0-9a-f]{16}"}', "}", (run / name).read_text()))
    for name in ("run.json", "metrics.json"):
        content = json.loads((run / name).read_text())
        del content["made_from"]
        (run / name).write_text(json.dumps(content))
    (run / "front.json").unlink()
    found = states(run)
    assert [found[name] for name in ("responses", "records", "metrics")] == ["note"] * 3
    assert main(["doctor", "--run", str(run)]) == 0
    assert "0.1.0" in capsys.readouterr().out


def test_no_such_run_is_said(tmp_path: Path) -> None:
    assert states(tmp_path / "absent") == {"manifest": "missing"}


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not inner:
        yield path, value
    for name, part in inner:
        yield from _leaves(part, (*path, name))


def _other(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    return value + 1 if isinstance(value, int | float) else f"{value}x"


@pytest.mark.parametrize(
    ("name", "read"), [("metrics.json", load_run), ("front.json", lambda run: read_fronts(load_run(run)))]
)
def test_no_figure_of_a_derived_file_can_be_changed_unseen(
    run: Path, name: str, read: Callable[[Path], object]
) -> None:
    content = json.loads((run / name).read_text())
    leaves = [path for path, _ in _leaves(content)]
    assert len(leaves) > 25
    for path in leaves[:: 1 + len(leaves) // 60]:
        changed = inner = copy.deepcopy(content)
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = _other(inner[path[-1]])
        (run / name).write_text(json.dumps(changed))
        with pytest.raises(RecordError, match=r"evalkit (score|front)|schema version|cannot be read"):
            read(run)


@pytest.mark.parametrize("name", ["run.json", "records.jsonl"])
def test_a_scored_run_that_lost_a_file_is_no_gap_in_a_report(run: Path, name: str, capsys) -> None:
    (run / name).unlink()
    assert main(["report", str(run.parent)]) == 3
    assert f"no {name}" in (error := capsys.readouterr().err) or f"{name} is missing" in error
    shown = find(Shown((run.parent,)))
    assert not shown.runs
    assert any(f"no {name}" in problem or f"{name} is missing" in problem for problem in shown.problems)


def test_every_unreadable_file_names_what_makes_it_again(run: Path, capsys) -> None:
    for name, remedy in (("run.json", "from a copy"), ("metrics.json", "`evalkit score"), ("front.json", "front")):
        before = (run / name).read_bytes()
        (run / name).write_bytes(before[: len(before) // 2])
        assert main(["doctor", "--run", str(run)]) == 3
        assert remedy in capsys.readouterr().out
        (run / name).write_bytes(before)


def test_a_run_is_not_scored_again_from_a_journal_with_other_responses(run: Path, capsys) -> None:
    rows = read_journal(run / "responses.jsonl")
    other = [sealed({**row, "text": "A cat."}) if number == 3 else sealed(row) for number, row in enumerate(rows)]
    (run / "responses.jsonl").write_bytes(b"".join(other))
    before = (run / "records.jsonl").read_bytes()
    assert main(["score", str(run)]) == 3
    error = capsys.readouterr().err
    assert f"another response to item {rows[3]['id']!r}" in error
    assert "remove records.jsonl" in error
    assert (run / "records.jsonl").read_bytes() == before
    (run / "records.jsonl").unlink()
    assert main(["score", str(run)]) == 0


def test_an_empty_journal_is_found(run: Path) -> None:
    (run / "responses.jsonl").write_bytes(b"")
    assert states(run)["texts"] == "missing"


def test_a_last_line_whose_checksum_fits_is_whole_without_its_newline(run: Path) -> None:
    path = run / "responses.jsonl"
    whole, rows = path.read_bytes(), read_journal(path)
    path.write_bytes(whole[:-1])
    assert read_journal(path) == rows
    assert set(states(run).values()) == {"ok"}
    with Journal(path) as journal:
        assert journal.rows == rows
        journal.append({"id": "later", "sample": 0, "text": "A cat."})
    assert read_journal(path) == [*rows, {"id": "later", "sample": 0, "text": "A cat."}]


def test_responses_without_a_manifest_are_nobodys(run: Path, scored: Path, capsys) -> None:
    (run / "run.json").unlink()
    root = scored.parent.parent.parent
    (root / "cats.jsonl").write_text((root / "said.jsonl").read_text().replace("dog", "cat"))
    shutil.copytree(run, root / "runs2" / "cats" / "chair")
    words = f"--responses {root}/cats.jsonl --world {root}/world --label cats --output-path {root}/runs2"
    assert main(["score", "chair", *words.split()]) == 3
    assert "says whose they are" in capsys.readouterr().err
