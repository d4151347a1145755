"""`evalkit score`: several run directories, one after the other or in processes, give the same files."""

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import POPE
from evalkit.__main__ import main
from evalkit.miniature.files import write_world

FILES = ("records.jsonl", "metrics.json", "run.json")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """POPE runs of three models that answer by another rule each, scored one by one."""
    monkeypatch.chdir(tmp_path)
    world = write_world(tmp_path / "world", 6, 0)
    items = POPE.miniature(world).items()
    for name, answer in (("yes", ["yes"]), ("no", ["no"]), ("turn", ["yes", "no"])):
        rows = [{"id": item.id, "text": answer[i % len(answer)]} for i, item in enumerate(items)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert main(f"score pope --responses {name}.jsonl --label {name} --world world".split()) == 0
    return [tmp_path / "runs" / name / "pope" for name in ("yes", "no", "turn")]


def test_processes_write_what_one_run_after_the_other_does(
    runs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    expected = {(run, name): (run / name).read_bytes() for run in runs for name in FILES}
    shown = []
    for jobs in ("1", "2"):
        for run in runs:
            (run / "records.jsonl").unlink()
            (run / "metrics.json").unlink()
        capsys.readouterr()
        assert main(["score", *map(str, runs), "--jobs", jobs]) == 0
        shown.append(capsys.readouterr().out)
        assert {(run, name): (run / name).read_bytes() for run in runs for name in FILES} == expected
    assert shown[0] == shown[1]
    places = [shown[0].index(str(run)) for run in runs]
    assert places == sorted(places)


def test_a_run_that_cannot_be_scored_is_named(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(runs[1])
    assert main(["score", *map(str, runs), "--jobs", "2"]) != 0
    assert str(runs[1]) in capsys.readouterr().err


def test_responses_made_elsewhere_and_judges_are_for_one_run(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "pope", "chair", "--responses", "yes.jsonl"]) != 0
    assert "for one run at a time" in capsys.readouterr().err
    assert main(["score", *map(str, runs), "--jobs", "2", "--judge", "rules"]) != 0
    assert "without a judge" in capsys.readouterr().err
