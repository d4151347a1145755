"""Every malformed input ends in one clear error line and an exit code; earlier results stay as they were."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.__main__ import main
from evalkit.runs.lock import locked
from evalkit.runs.records import RESPONSES, read_journal
from tests.endurance.malformed_inputs import CASES, MODEL_CASES
from tests.endurance.malformed_world import build, hashes
from tests.endurance.spoils import CHAIR, FAILED_SAMPLES, Case, line, row

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("malformed")
    with pytest.MonkeyPatch.context() as patch:
        _environment(patch, folder)
        return build(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny_models import save_tiny

    return save_tiny("llava", tmp_path_factory.mktemp("checkpoint") / "tiny")


def _environment(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.chdir(folder)
    for name in ("OPENAI_BASE_URL", "JUDGE_BASE_URL", "EVALKIT_DATA", "EVALKIT_RUNS"):
        patch.delenv(name, raising=False)
    patch.setenv("EVALKIT_CACHE", str(folder / "cache"))
    patch.setenv("EVALKIT_OFFLINE", "1")
    patch.setenv("OPENAI_API_KEY", "test-key")
    patch.setenv("JUDGE_API_KEY", "test-key")


@pytest.fixture
def folder(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh copy of everything as the working directory."""
    copy = tmp_path / "work"
    shutil.copytree(built, copy, symlinks=True, ignore=shutil.ignore_patterns("cache"))
    _environment(monkeypatch, copy)
    return copy


def results(folder: Path) -> dict[str, str]:
    return {name: found for name, found in hashes(folder).items() if name.startswith(("runs/", "shards/"))}


def run(command: str) -> int:
    return main(command.split(" ") if command else [])


def refused(case: Case, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Spoil, run, and look at the exit code, the error line and the earlier results."""
    case.spoil()
    before = results(folder)
    capsys.readouterr()
    try:
        code = run(case.command)
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line and not line.startswith(("usage: ", "       "))]
    assert len(lines) == 1, err
    assert lines[0].startswith("evalkit"), err
    assert [text for text in case.says if text not in lines[0]] == [], lines[0]
    assert len(lines[0]) < 2000, f"{len(lines[0])} characters"
    assert code == case.code, lines[0]
    assert "Traceback" not in out
    after = results(folder)
    assert {name: after.get(name) for name in before} == before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_malformed_input_is_refused_in_one_line(case: Case, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(case, folder, capsys)


@pytest.mark.parametrize("case", MODEL_CASES, ids=lambda case: case.name)
def test_a_broken_image_or_checkpoint_is_named(
    case: Case, folder: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny, folder / "model")
    (folder.parent / "tiny").symlink_to(tiny)
    refused(case, folder, capsys)


@pytest.mark.parametrize("blank", ['"caption": null', '"caption": NaN', '"said": "A dog."'])
def test_a_response_without_text_counts_as_failed_and_is_named(
    blank: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line("captions.jsonl", 2, f'{{"image_id": 2, {blank}}}')()
    before = results(folder)
    capsys.readouterr()
    assert run(f"{CHAIR} --label blank") == FAILED_SAMPLES
    lines = [text for text in capsys.readouterr().err.splitlines() if text.startswith("evalkit: ")]
    assert len(lines) == 2, lines
    assert "1 rows have no response and count as failed (captions.jsonl:2)" in lines[0]
    assert "runs/blank/chair: 1 of 3 samples failed" in lines[1]
    assert "captions.jsonl:2, field 'caption'" in lines[1]
    after = results(folder)
    assert {name: after.get(name) for name in before} == before


def test_a_sample_number_may_be_a_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As in a cell of a table."""
    row("captions.jsonl", 2, sample="0")()
    assert run(f"{CHAIR} --label text") == 0
    stored = [read_journal(Path("runs", label, "chair", RESPONSES)) for label in ("captions", "text")]
    assert stored[0] == stored[1]


def test_a_run_directory_in_use_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(Path("runs/captions/chair")):
        refused(Case("in use", CHAIR, ("runs/captions/chair", "another process")), folder, capsys)


@pytest.mark.parametrize(
    "case", [case for case in CASES if "\0" not in case.command][7::60], ids=lambda case: case.name
)
def test_the_installed_program_does_the_same(case: Case, folder: Path) -> None:
    case.spoil()
    before = results(folder)
    command = [sys.executable, "-m", "evalkit", *case.command.split(" ")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == case.code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert all(text in done.stderr.splitlines()[-1] for text in case.says), done.stderr
    assert {name: results(folder).get(name) for name in before} == before


ODD = {  # what is unusual and still right
    "byte order mark": ("utf-8-sig", "\n", "A dog."),
    "Windows line ends": ("utf-8", "\r\n", "A dog."),
    "blank lines": ("utf-8", "\n\n  \n", "A dog."),
    "half of a surrogate pair": ("utf-8", "\n", "A dog. \\ud83d"),
    "a NUL character": ("utf-8", "\n", "A \\u0000 dog."),
    "line separators": ("utf-8", "\n", "A dog.\\u2028\\u0085 It sits."),
    "markup": ("utf-8", "\n", "A [bold]dog[/bold] <b>&amp;"),
    "a response of 30,000 characters": ("utf-8", "\n", "A dog. " * 4500),
}


@pytest.mark.parametrize("what", ODD)
def test_odd_but_right_responses_are_scored_and_read_back(
    what: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoding, end, text = ODD[what]
    lines = [f'{{"image_id": {number}, "caption": "{text}"}}' for number in (1, 2, 3)]
    Path("odd.jsonl").write_bytes((end.join(lines) + end).encode(encoding))
    assert run("score chair --responses odd.jsonl --world world") == 0
    assert run("score runs/odd/chair --world world") == 0
    assert run("report runs --groups") == 0
    assert run("compare runs/captions/chair runs/odd/chair") == 0
    assert run("export runs/odd/chair --format chair --output back.jsonl") == 0
    back = [
        json.loads(line)["caption"]
        for line in Path("back.jsonl").read_text("utf-8", "surrogatepass").split("\n")
        if line
    ]
    assert back == [json.loads(f'"{text}"')] * 3
    assert "Traceback" not in capsys.readouterr().err
