"""SIGINT and SIGTERM: what is in flight is finished and kept, the exit code is 130, the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evalkit.miniature.files import write_world
from evalkit.runs.records import RECORDS, RESPONSES, VERDICTS, read_journal
from tests.faulty_server import FaultyServer

ROOT = Path(__file__).resolve().parents[2]
ITEMS, CONNECTIONS = 96, 4


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("signals") / "world", 12, seed=1)


def command(server: FaultyServer, world: Path, runs: Path) -> list[str]:
    own = f"connections={CONNECTIONS}"
    return [
        *(sys.executable, "-m", "evalkit", "run", "--engine", "openai", "--model", "m", "--base-url", server.url),
        *("--engine-args", own, "--tasks", "mmhal", "--world", str(world), "--output-path", str(runs)),
        *("--judge", "j", "--judge-base-url", server.url, "--judge-args", own),
    ]


def start(words: list[str], folder: Path) -> "subprocess.Popen[str]":
    secrets = {"OPENAI_API_KEY": "test-key", "JUDGE_API_KEY": "test-key", "EVALKIT_CACHE": str(folder / "cache")}
    environment = os.environ | secrets | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, text=True, env=environment, **pipes)  # type: ignore[call-overload,no-any-return]


def wait_for(server: FaultyServer, requests: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 120
    while server.received < requests:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("requests", "journal", "what"), [(12, RESPONSES, "responses"), (ITEMS + 12, VERDICTS, "verdicts")]
)
def test_a_signal_finishes_what_is_in_flight_and_the_same_command_goes_on(
    number: signal.Signals, requests: int, journal: str, what: str, world: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "runs" / "m" / "mmhal"
    with FaultyServer(latency_s=0.05) as server:
        words = command(server, world, tmp_path / "runs")
        process = start(words, tmp_path)
        wait_for(server, requests, process)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 130, err
        line = err.splitlines()[-1]  # a slow run shows its progress before
        rows = read_journal(run_dir / journal)
        assert f"{len(rows)} of {ITEMS} {what}" in line
        assert "rerun the same command to resume" in line
        assert (run_dir / journal).read_bytes().endswith(b"\n")
        asked = server.received - (ITEMS if journal == VERDICTS else 0)
        assert len(rows) < ITEMS
        assert len({row.get("key", row["id"]) for row in rows}) == asked  # equal prompts are judged once
        assert not (run_dir / RECORDS).exists()
        done = start(words, tmp_path)
        _, err = done.communicate(timeout=240)
        assert done.returncode == 0, err
        verdicts = {row["key"] for row in read_journal(run_dir / VERDICTS)}
        assert server.received == ITEMS + len(verdicts)
    assert len((run_dir / RECORDS).read_bytes().splitlines()) == ITEMS


def test_a_second_signal_stops_at_once(world: Path, tmp_path: Path) -> None:
    with FaultyServer(latency_s=30.0) as server:
        process = start(command(server, world, tmp_path / "runs"), tmp_path)
        wait_for(server, 1, process)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(1)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "rerun the same command to resume" in err
