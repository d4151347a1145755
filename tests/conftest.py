"""Shared fixtures: where golden vectors and official data lie, and NLTK data offline."""

import gc
import importlib.util
import os
from pathlib import Path

import pytest

if importlib.util.find_spec("hypothesis"):  # not in the environment of the vLLM tests
    from hypothesis import settings

    settings.register_profile("unhurried", deadline=None)  # a busy machine is not a failure
    settings.load_profile("unhurried")

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = Path(os.environ.get("EVALKIT_GOLDEN", ROOT.parent / "shared" / "golden"))
ASSETS = Path(os.environ.get("EVALKIT_ASSETS", ROOT.parent / "shared" / "assets"))

if "NLTK_DATA" not in os.environ and (ASSETS / "nltk_data").is_dir():
    os.environ["NLTK_DATA"] = str(ASSETS / "nltk_data")
os.environ.setdefault("EVALKIT_ASSETS", str(ASSETS))
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of golden vectors (EVALKIT_GOLDEN)."""
    if not GOLDEN.is_dir():
        pytest.skip(f"golden vectors absent: {GOLDEN} (set EVALKIT_GOLDEN)")
    return GOLDEN


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of official data (EVALKIT_ASSETS)."""
    if not ASSETS.is_dir():
        pytest.skip(f"official data absent: {ASSETS} (set EVALKIT_ASSETS)")
    return ASSETS


def pytest_collection_finish() -> None:
    """Full garbage collections during the tests pass over the libraries, which stay."""
    gc.collect()
    gc.freeze()
