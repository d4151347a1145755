"""No memory left, a worker that crashes: what was finished stays, the error says what happened, the run goes on."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import benchmarks.commands
import evalkit.engines.transformers as engines
from evalkit.__main__ import main
from evalkit.engines.replay import ScriptedEngine
from evalkit.errors import EngineError
from evalkit.miniature.files import write_world
from evalkit.runs.records import RECORDS, RESPONSES, read_journal
from evalkit.sampling import Sampling
from evalkit.schema import Prompt, Response

SCENES = 6
COMMAND = "run --tasks chair --world world --label m --max-new-tokens 4 --engine"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_world(tmp_path / "world", SCENES, seed=2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALKIT_RUNS", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny_models import save_tiny

    return save_tiny("llava", tmp_path_factory.mktemp("checkpoint") / "tiny")


class DyingWorker(ScriptedEngine):
    """Dies, as an engine whose worker process is gone, after some responses."""

    def __init__(self, after: int | None) -> None:
        super().__init__(lambda prompt, sample: f"A dog beside item {prompt.id}.", "worker")
        self.after = after

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Response]:
        for number, response in enumerate(super().generate(prompts, sampling)):
            if number == self.after:
                raise EngineError("the engine core died: worker 1 was killed by signal 9")
            yield response


def test_a_dead_worker_loses_nothing_and_the_same_command_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    for after, code in ((2, 3), (0, 3), (3, 3), (None, 0)):
        engine = DyingWorker(after)
        monkeypatch.setattr(benchmarks.commands, "open_engine", lambda options, formats, engine=engine: engine)
        assert main([*COMMAND.split(), "vllm", "--model", "m"]) == code
        err = capsys.readouterr().err
        assert ("evalkit: the engine core died: worker 1 was killed by signal 9\n" in err) == (code == 3)
        asked += [name for name, _ in engine.asked[: engine.after]]
    stored = [row["id"] for row in read_journal(folder / "runs/m/chair" / RESPONSES)]
    assert sorted(stored) == sorted(asked) == sorted(set(asked))
    assert len((folder / "runs/m/chair" / RECORDS).read_bytes().splitlines()) == SCENES


@pytest.fixture(params=["the engine's own decoding", "generate of transformers"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways by which prompts are read and responses decoded."""
    monkeypatch.setattr(engines.TransformersEngine, "share_prefixes", request.param == "the engine's own decoding")
    return str(request.param)


def _failing(patch: pytest.MonkeyPatch, error: BaseException, from_call: int = 0, rows: int = 1) -> list[int]:
    """Raise when the n-th batch or a later one is read, if it has so many rows or more.

    Returns:
        the rows of every batch that was tried; filled while the program runs.
    """
    tried: list[int] = []

    def wrap(read: Callable[..., Any], rows_of: Callable[..., int]) -> Callable[..., Any]:
        def failing(*arguments: Any, **named: Any) -> Any:
            tried.append(rows_of(*arguments, **named))
            if len(tried) > from_call and tried[-1] >= rows:
                raise error
            return read(*arguments, **named)

        return failing

    opened = benchmarks.commands.open_engine

    def open_engine(options: Any, formats: Any) -> Any:
        engine: Any = opened(options, formats)
        engine.model.generate = wrap(engine.model.generate, lambda **named: named["input_ids"].shape[0])
        return engine

    patch.setattr(benchmarks.commands, "open_engine", open_engine)
    patch.setattr(engines, "read_whole", wrap(engines.read_whole, lambda model, encoded: len(encoded.starts)))
    return tried


def test_a_batch_that_does_not_fit_into_memory_is_halved(
    folder: Path, tiny: Path, way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    tried = _failing(monkeypatch, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), rows=4)
    assert main([*COMMAND.split(), "transformers", "--model", str(tiny), "--batch-size", "6"]) == 0
    assert "out of memory with 6 sequences at once; going on with 3" in caplog.text
    assert tried == [6, 3, 3]
    assert len(read_journal(folder / "runs/m/chair" / RESPONSES)) == SCENES


def test_what_does_not_fit_alone_fails_and_is_tried_again(
    folder: Path, tiny: Path, way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    words = [*COMMAND.split(), "transformers", "--model", str(tiny), "--batch-size", "1"]
    with pytest.MonkeyPatch.context() as patch:
        _failing(patch, torch.OutOfMemoryError("CUDA out of memory."), from_call=2)
        assert main(words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"4 of {SCENES} samples failed" in line
    assert "out of memory, even alone in a batch" in line
    before = read_journal(folder / "runs/m/chair" / RESPONSES)
    assert main(words) == 0
    after = read_journal(folder / "runs/m/chair" / RESPONSES)
    assert after[: len(before)] == before
    assert len(after) == len(before) + 4  # the failed ones alone


def test_a_device_error_stops_with_one_line_and_the_same_command_goes_on(
    folder: Path, tiny: Path, way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*COMMAND.split(), "transformers", "--model", str(tiny), "--batch-size", "2"]
    with pytest.MonkeyPatch.context() as patch:
        _failing(patch, RuntimeError("CUDA error: an illegal memory access was encountered"), from_call=1)
        assert main(words) == 3
    assert "CUDA error: an illegal memory access" in capsys.readouterr().err.splitlines()[-1]
    before = read_journal(folder / "runs/m/chair" / RESPONSES)
    assert len(before) == 2
    assert main(words) == 0
    after = read_journal(folder / "runs/m/chair" / RESPONSES)
    assert after[:2] == before
    assert len({row["id"] for row in after}) == len(after) == SCENES
