"""A working folder of its own for every attack: no server, key, cache or run of the machine's."""

from pathlib import Path

import pytest

from tests.attacks.attacked import KEY


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_BASE_URL", "JUDGE_BASE_URL", "EVALKIT_DATA", "EVALKIT_RUNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EVALKIT_OFFLINE", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("JUDGE_API_KEY", KEY)
    return tmp_path
