"""Benchmarks of speed in small: those for GPUs on a CPU, RLAIF in stages; and what `make speed` leaves out."""

from pathlib import Path
from typing import Any

import pytest
import torch

from aligners.rlaif import STAGES
from evalkit.engines.transformers import TransformersEngine
from tests.speed import __main__ as speed
from tests.speed import gpu, gpu_training, rlaif


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_every_batch_size_has_a_row_with_its_rate_and_its_ratio_to_the_first() -> None:
    start, *rows = gpu.measure("transformers", "tiny", sizes=(1, 4), batches=1, new_tokens=4)
    assert start["what"] == "transformers, start"
    assert [row["what"] for row in rows] == ["transformers, batch 1", "transformers, batch 4"]
    first, last = (float(row["tokens_per_second"]) for row in rows)
    assert rows[0]["ratio"] == 1.0
    assert rows[1]["ratio"] == pytest.approx(last / first, abs=0.02)
    assert not any("halved_to" in row for row in rows)


@pytest.mark.usefixtures("no_gpu")
def test_batch_that_does_not_fit_shows_the_one_that_did(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    whole = TransformersEngine._decode

    def scarce(engine: TransformersEngine, encoded: Any, jobs: Any, sampling: Any) -> Any:
        tried.append(len(jobs))
        if len(jobs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(engine, encoded, jobs, sampling)

    monkeypatch.setattr(TransformersEngine, "_decode", scarce)
    _, one, four = gpu.measure("transformers", "tiny", sizes=(1, 4), batches=2, new_tokens=2)
    assert "halved_to" not in one
    assert four["halved_to"] == 2
    assert tried.count(4) == 1  # the warm-up tells; what is measured is not tried in vain


@pytest.mark.usefixtures("no_gpu")
def test_response_that_ends_early_is_an_error_and_the_end_token_is_suppressed(tmp_path: Path) -> None:
    from evalkit.sampling import Sampling

    engine: Any = gpu.transformers_engine("tiny")
    end = engine.encoder.tokenizer.eos_token_id
    prompts = gpu.write_prompts(tmp_path, 1)
    eager = torch.nn.Linear(128, engine.model.config.text_config.vocab_size, dtype=torch.bfloat16)
    with torch.no_grad():
        eager.bias[end] = 1e4
    engine.model.set_output_embeddings(eager)
    assert [response.tokens for response in gpu.answer(engine, prompts, 1, Sampling(max_new_tokens=3))] == [3]
    engine.encoder.placeholder_ids = ()
    with pytest.raises(SystemExit, match="0 tokens"):
        gpu.answer(engine, prompts, 1, Sampling(max_new_tokens=3))


@pytest.mark.usefixtures("no_gpu")
def test_benchmark_for_gpus_is_left_out_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        gpu.main([])
    assert left.value.code == gpu.LEFT_OUT == speed.LEFT_OUT
    assert "no CUDA device" in capsys.readouterr().out


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("kind", gpu_training.KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_benchmark_of_training_runs_on_the_tiny_shape(kind: str, checkpointing: bool) -> None:
    row = gpu_training.measure(kind, "tiny", checkpointing, pairs=2, steps=1)
    assert row["what"] == (f"{kind}, recomputed" if checkpointing else kind)
    assert row["tokens_a_pair"] > 200
    assert row["pairs_per_second"] > 0
    assert "peak_gib" not in row


@pytest.mark.usefixtures("no_gpu")
def test_benchmark_of_training_is_left_out_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        gpu_training.main([])
    assert left.value.code == speed.LEFT_OUT
    assert "no CUDA device" in capsys.readouterr().out


def test_rlaif_in_stages_asks_and_encodes_what_one_command_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = rlaif.Case(images=2, candidates=3, new_tokens=4, questions=20, model={})
    rlaif.write(tmp_path, case)

    def measured(side: str) -> rlaif.Facts:
        stages = STAGES if side == "stages" else ("all",)
        return rlaif.added([rlaif.measure(side, stage, tmp_path, case) | {"imports": 0.0} for stage in stages])

    whole, one, stages = sides = [measured(side) for side in rlaif.SIDES]
    bound = rlaif.least(tmp_path / "one command", case)
    questions = one["prompts"]["judging"]
    assert questions > 10
    for facts in sides:
        assert facts["prompts"] == {"sampling": 6, "judging": questions}
    assert one["images"] == stages["images"]
    assert (one["images"]["sampling"], one["images"]["judging"]) == (bound["sampling"], bound["judging"]) == (2, 2)
    assert whole["images"]["judging"] == questions
    assert rlaif.same_rows(stages, one) == f"6/6 candidates identical, {questions}/{questions} judgements within 1e-5"
    rlaif.show(dict(zip(rlaif.SIDES, sides, strict=True)), bound, case)
    assert "ratio to one command" in capsys.readouterr().out


def test_what_is_left_out_is_said_and_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "card.py").write_text('"""A card."""\nprint("no card here")\nraise SystemExit(77)\n')
    (tmp_path / "pocket.py").write_text('"""A pocket."""\nprint("3 per second")\n')
    monkeypatch.setattr(speed, "HERE", tmp_path)
    monkeypatch.setattr(speed, "REPORT", tmp_path / "SPEED.md")
    speed.main([])
    assert "card left out: no card here" in capsys.readouterr().out
    written = (tmp_path / "SPEED.md").read_text()
    assert "## pocket\n\nA pocket." in written
    assert "## card" not in written
    with pytest.raises(SystemExit, match="card left out: no card here"):
        speed.main(["card"])
