"""Folders that the dashboard's tests show, made once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dashboard_pages import sound
from dashboard_runs import write_demo, write_unfinished
from hostile_runs import write_hostile
from streamlit.testing.v1 import AppTest

from dashboard.reading.shown import ENVIRONMENT, Shown

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
CHROMIUM = Path("/usr/bin/chromium")
Open = Callable[..., AppTest]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models on three benchmarks, a run that stopped half-way, an alignment."""
    folder = write_demo(tmp_path_factory.mktemp("demo"), scenes=16)
    write_unfinished(folder / "runs" / "going" / "chair", folder / "world", 9)
    return folder


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs whose every text is a payload."""
    return write_hostile(tmp_path_factory.mktemp("hostile"))


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Open:
    """(page, folders, query parameters) -> the page after its first run, without an exception."""

    def opened(page: str, *folders: Path, images: tuple[Path, ...] = (), **parameters: str) -> AppTest:
        monkeypatch.setenv(ENVIRONMENT, Shown(folders, images).as_text())
        app = AppTest.from_file(str(APP), default_timeout=120)
        if page != "overview":  # the app opens there; its own filters must not see the other page's address
            app.run().switch_page(f"views/{page}.py")
        for name in list(app.query_params):
            del app.query_params[name]
        for name, value in parameters.items():
            app.query_params[name] = value
        app.run()
        return sound(app)

    return opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium; tests that ask for it are skipped where there is none.

    Of a module: playwright keeps an event loop running, in which no other test of this process could start its own.
    """
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM} (Debian's chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=options)
        yield chromium
        chromium.close()
