"""`evalkit dashboard`: what the server is told."""

import argparse
import json
import subprocess
import sys
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
