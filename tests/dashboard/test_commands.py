"""`evalkit dashboard`: what the server is told."""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dashboard.commands import add_commands, environment, open_dashboard, server_command
from dashboard.reading.shown import ENVIRONMENT, Shown
from evalkit.errors import UsageError


def options(*words):
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    return parser.parse_args(["dashboard", *map(str, words)])


@pytest.mark.parametrize(
    "setting",
    ["--server.address=127.0.0.1", "--browser.gatherUsageStats=false", "--server.enableStaticServing=false",
     "--server.port=8765", "--server.headless=true"],
)  # fmt: skip
def test_the_server_is_local_and_silent(setting):
    assert setting in server_command(8765, headless=True)


def test_the_folders_reach_the_app(tmp_path, monkeypatch):
    told = environment(options(tmp_path, "--images", tmp_path / "i", "--no-browser"))
    monkeypatch.setenv(ENVIRONMENT, told[ENVIRONMENT])
    assert Shown.from_environment() == Shown((tmp_path.resolve(),), ((tmp_path / "i").resolve(),))
    assert json.loads(told[ENVIRONMENT])["published"] is None


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        open_dashboard(options(tmp_path / "gone"))


def test_help_needs_no_streamlit():
    code = "import sys; import dashboard.commands; sys.exit('streamlit' in sys.modules or 'pandas' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


@contextmanager
def served(folder: Path, **surroundings: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`evalkit dashboard` as a program, once its port answers."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "evalkit", "dashboard", str(folder), "--port", str(port), "--no-browser"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
    program = subprocess.Popen(command, env=os.environ | surroundings, preexec_fn=_with_hangup, **quiet)
    try:
        assert _wait_until(lambda: _answers(port), 90)
        yield program, port
    finally:
        program.terminate()
        program.wait(30)


def _with_hangup() -> None:
    """A program under `nohup` hands an ignored SIGHUP on to what it starts."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_until(happened, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not (done := happened()) and time.monotonic() < until:
        time.sleep(0.1)
    return done


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_the_server_ends_with_the_program_that_started_it(tmp_path, number):
    with served(tmp_path) as (program, port):
        program.send_signal(number)
        program.wait(30)
        assert _wait_until(lambda: not _answers(port), 30)


def test_a_page_of_another_origin_is_refused_and_nobody_is_asked_about_it(tmp_path):
    """Every proxy variable leads to a socket of ours: whatever the server asks of the internet arrives there."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY")
        with served(tmp_path, **dict.fromkeys(names, address)) as (_, port):
            lines = [
                "GET /_stcore/stream HTTP/1.1", f"Host: 127.0.0.1:{port}", "Origin: http://elsewhere.example",
                "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "", "",
            ]  # fmt: skip
            with socket.create_connection(("127.0.0.1", port), 30) as page:
                page.sendall("\r\n".join(lines).encode())
                status = page.recv(100).split(b"\r\n")[0]
            assert b"403" in status
        proxy.settimeout(0.5)
        with pytest.raises(TimeoutError):
            proxy.accept()
