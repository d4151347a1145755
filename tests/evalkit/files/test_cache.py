"""The content-addressed cache."""

import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.errors import RecordError
from evalkit.files.cache import Cache, cache_folder, content_key


def test_a_value_is_found_again_by_another_process(tmp_path):
    path = tmp_path / "folder" / "cache.sqlite"
    with Cache(path) as cache:
        assert cache.get("a") is None
        cache.put("a", [{"raw": "Grüße \ud800", "n": None}])
        cache.put("a", [{"raw": "Grüße \ud800", "n": 1}])
        code = (
            f"from pathlib import Path; from evalkit.files.cache import Cache; Cache(Path({str(path)!r})).put('b', 2)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
    with Cache(path) as cache:
        assert cache.get("a") == [{"raw": "Grüße \ud800", "n": 1}]
        assert cache.get("b") == 2


def test_what_was_put_survives_a_kill(tmp_path):
    path = tmp_path / "cache.sqlite"
    code = (
        "import os, signal; from pathlib import Path; from evalkit.files.cache import Cache\n"
        f"cache = Cache(Path({str(path)!r}))\n"
        "[cache.put(str(n), n) for n in range(100)]\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    assert killed.returncode == -9
    with Cache(path) as cache:
        assert [cache.get(str(n)) for n in range(100)] == list(range(100))


def test_the_order_of_fields_does_not_change_a_key_and_every_part_does():
    assert content_key({"a": 1, "b": 2}, "x") == content_key({"b": 2, "a": 1}, "x")
    parts = [("a", "b"), ("ab",), ("a", "b", None), ("a", ["b"]), ("b", "a"), ({"a": "b"},)]
    assert len({content_key(*part) for part in parts}) == len(parts)


def test_a_file_that_is_no_cache_is_a_clear_error(tmp_path):
    path = tmp_path / "cache.sqlite"
    path.write_text("no database" * 100)
    with pytest.raises(RecordError, match=r"cannot be opened.*remove it or set EVALKIT_CACHE"):
        Cache(path)
    with pytest.raises(RecordError, match="cannot be opened"):
        Cache(path / "below" / "a file")


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"EVALKIT_CACHE": "/a"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/evalkit")),
        ({"HOME": "/c"}, Path("/c/.cache/evalkit")),
    ],
)
def test_the_folder_comes_from_the_environment(monkeypatch, environment, folder):
    for name in ("EVALKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == folder
