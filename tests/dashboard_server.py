"""The dashboard over a folder, served for a browser."""

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dashboard.commands import server_command
from dashboard.reading.shown import ENVIRONMENT, Shown

ROOT = Path(__file__).resolve().parents[1]
STARTS_WITHIN_S = 120


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a dashboard over a folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = {ENVIRONMENT: Shown((folder,)).as_text(), "PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(
        server_command(port, headless=True), env=os.environ | told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/_stcore/health")
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(url: str) -> None:
    end = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5)
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)
