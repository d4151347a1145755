"""The event loop of the background where a process may open few files."""

import subprocess
import sys

import pytest

pytest.importorskip("resource")
PROGRAM = """
import resource
from evalkit.engines.served.background import Background
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
try:
    Background()
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize("limit", [3, 4, 5, 6])
def test_too_few_files_are_said_without_a_traceback(limit: int) -> None:
    """Three are open from the start; a loop takes three more."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(limit=limit)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Too many open files\n", "")
