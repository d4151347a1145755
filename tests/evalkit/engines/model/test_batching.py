"""Batches: buckets of like prompts, preparation ahead in order, halving that never tries a known-bad size again."""

import threading
import time
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evalkit.engines.model.batching import Batch, ahead, plan, run_batches
from evalkit.errors import DataError
from evalkit.images import ImageFile
from evalkit.schema import Prompt


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 9), st.integers(1, 12))
def test_every_prompt_and_sample_is_planned_once(lengths: list[int], rows: int, samples: int) -> None:
    prompts = [Prompt(str(i), "x" * n) for i, n in enumerate(lengths)]
    batches = plan(prompts, rows, samples)
    done = [(i, sample) for batch in batches for i in batch.indices for sample in batch.samples]
    assert sorted(done) == [(i, sample) for i in range(len(prompts)) for sample in range(samples)]
    assert all(batch.rows <= rows for batch in batches)


def test_like_prompts_share_a_batch_longest_first(tmp_path: Path) -> None:
    for name, size in (("small", 10), ("large", 60)):
        Image.new("RGB", (size, size)).save(tmp_path / f"{name}.png")
    small, large = ((ImageFile(tmp_path, f"{name}.png"),) for name in ("small", "large"))
    prompts = [
        Prompt("0", "?" * 90),
        Prompt("1", "?", small),
        Prompt("2", "?", large),
        Prompt("3", "?????", small),
        Prompt("4", "?", large + small),
    ]
    assert [batch.indices for batch in plan(prompts, 2)] == [(4,), (2, 3), (1,), (0,)]


def test_a_picture_that_many_prompts_show_is_looked_at_once(tmp_path: Path) -> None:
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    prompts = [Prompt(str(i), "?", (ImageFile(tmp_path, "a.png"),)) for i in range(6)]
    with patch.object(ImageFile, "size", return_value=(10, 10)) as size:
        (batch,) = plan(prompts, 6)
    assert batch.indices == (0, 1, 2, 3, 4, 5)
    assert size.call_count == 1


def test_extra_length_counts() -> None:
    prompts = [Prompt("0", "??"), Prompt("1", "?")]
    assert plan(prompts, 1, extra=[0, 5])[0].indices == (1,)


def test_image_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (300, 300)).save(tmp_path / "big.png")
    monkeypatch.setattr("evalkit.images.MAX_PIXELS", 10_000)
    with pytest.raises(DataError, match=r"big\.png.*300 x 300 pixels"):
        plan([Prompt("0", "?", (ImageFile(tmp_path, "big.png"),))], 1)


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 9))
def test_pieces_keep_the_work_and_the_limit(prompts: int, samples: int, rows: int) -> None:
    whole = Batch(tuple(range(prompts)), range(samples))
    pieces = whole.pieces(rows)
    assert all(piece.rows <= rows for piece in pieces)
    assert sorted((i, s) for piece in pieces for i in piece.indices for s in piece.samples) == [
        (i, s) for i in range(prompts) for s in range(samples)
    ]


def test_preparation_runs_ahead_in_other_threads_and_keeps_the_order() -> None:
    started: list[int] = []

    def prepare(item: int) -> str:
        started.append(item)
        time.sleep(0.01 * (3 - item % 3))
        return f"{item} {threading.current_thread() is threading.main_thread()}"

    found = ahead(prepare, range(6), depth=2)
    assert next(found) == (0, "0 False")
    assert max(started) <= 2
    assert [ready for _, ready in found] == [f"{i} False" for i in range(1, 6)]


def test_error_in_preparation_reaches_the_caller() -> None:
    def prepare(item: int) -> int:
        if item == 2:
            raise DataError("item 2")
        return item

    found = ahead(prepare, range(5))
    assert [next(found)[0], next(found)[0]] == [0, 1]
    with pytest.raises(DataError, match="item 2"):
        next(found)


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 12))
def test_halving_does_all_work_and_tries_no_size_above_a_failed_one(count: int, rows: int, fit: int) -> None:
    tried: list[int] = []

    def work(batch: Batch, ready: Batch) -> tuple[int, ...]:
        assert ready == batch
        tried.append(batch.rows)
        if batch.rows > fit:
            raise MemoryError
        return batch.indices

    batches = plan([Prompt(str(i), "x") for i in range(count)], rows)
    with patch("evalkit.engines.model.batching.free_memory"):  # a full garbage collection, slow once torch is loaded
        outcome = list(run_batches(batches, lambda batch: batch, work))
    assert sorted(i for batch, _ in outcome for i in batch.indices) == list(range(count))
    assert all((result is None) == (fit == 0) for _, result in outcome)
    failed = [size for size in tried if size > max(fit, 1)]
    assert len(set(failed)) == len(failed)


def test_other_errors_pass_through() -> None:
    def work(batch: Batch, ready: None) -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        list(run_batches([Batch((0,), range(1))], lambda _: None, work))
