"""What the vLLM tests need: the environment of `make test-vllm`, checkpoints vLLM can serve, 100 miniature images."""

import importlib.util
import os
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # several processes share few cores
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # compiling a sampler for a tiny model would take minutes
os.environ.setdefault("VLLM_ENGINE_READY_TIMEOUT_S", "1800")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in this folder needs vLLM."""
    absent = importlib.util.find_spec("vllm") is None
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            if absent:
                item.add_marker(pytest.mark.skip(reason="vLLM is not installed here: make test-vllm"))


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list:
    """100 questions about as many miniature images."""
    from evalkit.images import ImageFile
    from evalkit.miniature.files import write_world
    from evalkit.schema import Prompt

    folder = write_world(tmp_path_factory.mktemp("world"), n_scenes=100, seed=7) / "images"
    names = sorted(path.name for path in folder.iterdir())
    asked = ("Describe the image.", "Is there a dog in the image?", "What is on the table?")
    return [Prompt(name, asked[i % 3], (ImageFile(folder, name),)) for i, name in enumerate(names)]


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA-1.5."""
    return servable("llava", tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="session")
def idefics3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Idefics3."""
    return servable("idefics3", tmp_path_factory.mktemp("idefics3"))


@pytest.fixture(scope="session")
def llava_next(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA-NeXT."""
    return servable("llava_next", tmp_path_factory.mktemp("llava_next"))


def servable(family: str, folder: Path) -> Path:
    """A tiny checkpoint with attention heads of 32, the smallest that vLLM's CPU kernels take."""
    import tiny_models

    from aligners.training.checkpoint import rename_for_vllm

    with pytest.MonkeyPatch.context() as patch:
        for key, value in {"hidden_size": 128, "intermediate_size": 256}.items():
            patch.setitem(tiny_models.TEXT, key, value)
        if family == "llava":
            tiny_models.save_tiny(family, folder, hidden=128)
        else:
            tiny_models.save_tiny(family, folder)
    rename_for_vllm(folder)
    return folder
