"""`evalkit doctor --run`: a run that is whole, one of 0.1.0, and every way in which files do not belong together."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.__main__ import main
from evalkit.cli.run_checks import run_checks
from evalkit.miniature.files import write_world
from evalkit.runs.checksums import sealed, unsealed


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
