"""What the tests stand on: official data and golden vectors where they are, English in any case, no network.

Nothing beside the checkout is needed. Without NLTK's own data the miniature's stands in; what needs official files,
golden vectors or NLTK's own data is marked `official` and skipped with that reason where they are absent (make
conformance).
"""

import gc
import importlib.util
import os
from pathlib import Path

import pytest

if importlib.util.find_spec("hypothesis"):  # not in the environment of the vLLM tests
    from hypothesis import settings

    settings.register_profile("unhurried", deadline=None)  # a busy machine is no failure
    settings.load_profile("unhurried")

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = Path(os.environ.get("EVALKIT_GOLDEN", ROOT.parent / "shared" / "golden"))
ASSETS = Path(os.environ.get("EVALKIT_ASSETS", ROOT.parent / "shared" / "assets"))
OFFICIAL = ("assets", "golden", "nltk_data")  # fixtures of what no checkout brings along

if "NLTK_DATA" not in os.environ and (ASSETS / "nltk_data").is_dir():
    os.environ["NLTK_DATA"] = str(ASSETS / "nltk_data")
if ASSETS.is_dir():
    os.environ.setdefault("EVALKIT_ASSETS", str(ASSETS))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _own_language() -> str | None:
    """Let the miniature's language data stand in where NLTK's is not complete; what is used, None for NLTK's own."""
    from evalkit.files.cache import cache_folder
    from evalkit.miniature.language import language_folder
    from evalkit.text import has_language_data, language_data

    if not has_language_data():
        folders = [os.environ.get("NLTK_DATA"), str(language_folder(cache_folder()))]
        os.environ["NLTK_DATA"] = os.pathsep.join(filter(None, folders))
    return language_data()


OWN_LANGUAGE = _own_language() if importlib.util.find_spec("nltk") else None


def pytest_report_header() -> list[str]:
    """What is here and what is done without."""
    absent = "absent, the tests that need it are skipped"
    return [
        f"official data: {ASSETS if ASSETS.is_dir() else absent}",
        f"golden vectors: {GOLDEN if GOLDEN.is_dir() else absent}",
        f"NLTK's own data: {f'absent, {OWN_LANGUAGE} stands in' if OWN_LANGUAGE else 'found'}",
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs more than a checkout: `-m official` are the tests of conformance."""
    for item in items:
        if set(OFFICIAL).intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.official)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of golden vectors (EVALKIT_GOLDEN)."""
    if not GOLDEN.is_dir():
        pytest.skip("golden vectors are absent (EVALKIT_GOLDEN)")
    return GOLDEN


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of official data (EVALKIT_ASSETS)."""
    if not ASSETS.is_dir():
        pytest.skip("official data is absent (EVALKIT_ASSETS)")
    return ASSETS


@pytest.fixture(scope="session")
def nltk_data() -> None:
    """NLTK's own tagger, sentences and WordNet."""
    if OWN_LANGUAGE is not None:
        pytest.skip("NLTK's own data is absent (python -m nltk.downloader ..., or NLTK_DATA)")


def pytest_collection_finish() -> None:
    """Full garbage collections during the tests pass over the libraries, which stay."""
    gc.collect()
    gc.freeze()
