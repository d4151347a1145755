"""What the program prints: nothing that drives a terminal, on any encoding, and a full disk is a line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.runs.records import MANIFEST
from tests.attacks.attacked import Answer, chair_run, change, judged, program, serving


def test_what_servers_and_runs_say_drives_no_terminal(folder: Path) -> None:
    evil = "x\x1b]0;owned\x07\x1b[2J\x9b31m\r"
    said = []
    for number, status in enumerate((400, 401, 500)):
        with serving(lambda _, code=status: Answer(evil.encode("latin-1"), code)) as server:
            said.append(program(*judged(folder, server.url), "--output-path", folder / f"runs{number}"))
    run, other = chair_run(folder, "base"), chair_run(folder, "other")
    original = (run / MANIFEST).read_text()
    for how in (
        lambda manifest: manifest.update(label=evil),
        lambda manifest: manifest.update(benchmark="chair" + evil),
        lambda manifest: manifest["settings"].update(data=evil),
        lambda manifest: manifest.update(schema=evil),
    ):
        (run / MANIFEST).write_text(original)
        change(run / MANIFEST, how)
        commands = (
            ["report", run],
            ["compare", run, other],
            ["compare", run, other, "--force"],
            ["doctor", "--run", run],
        )
        said += [program(*words) for words in commands]
    said.append(program("report", "no\x1b[2Jsuch"))
    for done in said:
        assert not [c for c in done.out + done.err if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_a_terminal_that_is_not_utf_8_gets_substitutes(folder: Path, environment: dict[str, str]) -> None:
    chair_run(folder)
    command = [sys.executable, "-m", "evalkit", "report", "runs"]
    done = subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode("latin-1")


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
def test_an_output_that_takes_nothing_is_a_line(folder: Path, redirection: str) -> None:
    chair_run(folder)
    for words in ("report runs", "report runs --format json", "list"):
        command = ["sh", "-c", f"{sys.executable} -m evalkit {words} {redirection}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        assert done.returncode == 3 or redirection == ">&-"
