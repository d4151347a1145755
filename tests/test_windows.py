"""The packages import where Python has no POSIX modules."""

import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.errors import RecordError
from evalkit.runs import lock

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("evalkit", "benchmarks", "aligners", "dashboard")
POSIX_ONLY = ("fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
# Libraries come first: those for POSIX need what only POSIX has, and that is not what is asked here.
PROGRAM = f"""
import importlib, os, pkgutil, signal, sys
import accelerate, altair, datasets, filelock, jinja2, msgspec, nltk, numpy, openai, pandas, peft, PIL.Image, pyarrow
import streamlit, torch, transformers, trl

for name in {POSIX_ONLY!r}:
    sys.modules[name] = None
for module, names in (
    (os, "O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK fork geteuid getuid killpg sched_getaffinity uname"),
    (signal, "SIGALRM SIGHUP SIGKILL SIGUSR1 pthread_sigmask setitimer"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
count = 0
for package in {PACKAGES!r}:
    for info in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if info.name.rpartition(".")[2] != "__main__":
            importlib.import_module(info.name)
            count += 1
print(count)
"""


def test_every_module_imports_without_posix():
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py") if path.name != "__main__.py"]
    assert int(done.stdout.split()[-1]) >= len(files) - len(PACKAGES)


def test_a_run_is_held_by_a_file_where_folders_cannot_be_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    with lock.locked(tmp_path):
        assert (tmp_path / lock.LOCK).is_file()
        with pytest.raises(RecordError, match="in use by another process"), lock.locked(tmp_path):
            pass
    with lock.locked(tmp_path):
        pass
