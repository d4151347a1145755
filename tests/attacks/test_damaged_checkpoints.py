"""A checkpoint or a training folder that was cut, or is somebody else's: one line that names the file, nothing runs."""

import pickle
import shutil
from pathlib import Path

import pytest

from evalkit.miniature.files import write_world
from tests.attacks.attacked import program

pytest.importorskip("transformers")
from aligners.preference.pairs import write_pairs
from tests.preference_data import make_pairs


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny_models import save_tiny

    return save_tiny("llava", tmp_path_factory.mktemp("checkpoint") / "tiny")


class _Opens:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_pickled_objects_in_weights_are_not_run(folder: Path, tiny: Path) -> None:
    write_world(folder / "world", 2, seed=1)
    model = Path(shutil.copytree(tiny, folder / "model"))
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(_Opens(folder / "ran")))
    done = program("run", "--model", model, "--tasks", "chair", "--world", folder / "world", "--limit", "2")
    assert done.code != 0
    assert str(model) in done.err
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("content", [b"", b'{"beta": 0.1, "ep', b"\xff\xfe{}", b"[]", b"[" * 10**5])
def test_settings_of_a_training_that_were_cut_are_named(folder: Path, tiny: Path, content: bytes) -> None:
    pairs = folder / "images" / "pairs.jsonl"
    write_pairs(pairs, make_pairs(folder / "images"))
    settings = folder / "aligned" / "training" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_bytes(content)
    done = program("align", "ddpo", "--model", tiny, "--data", pairs, "--output-path", folder / "aligned")
    assert done.code != 0
    assert "settings.json" in done.err
    assert settings.read_bytes() == content
