"""Rounds of many images: their prefixes in one pass, the rest of the prompts in few, within the memory of a batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_models import build_tiny

from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.model.prefixes import sharing
from evalkit.engines.model.prefixes.check import fronts_agree
from evalkit.engines.model.prefixes.decoding import BRIEF
from evalkit.engines.model.prefixes.memory import Footprint
from evalkit.engines.transformers import PER_IMAGE, TransformersEngine
from evalkit.images import ImageFile
from evalkit.sampling import Sampling
from evalkit.schema import Prompt

TWO = Sampling(max_new_tokens=2)
QUESTIONS = tuple(f"Is there a {noun} in the image?" for noun in ("dog", "car", "chair", "person", "bowl", "train"))
IMAGES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(5)
    for i in range(IMAGES):
        shape = (60 + i % 3 * 10, 80, 3)
        Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def ask(folder: Path, images: int = IMAGES) -> list[Prompt]:
    return [Prompt(f"{i}.{k}", text, (ImageFile(folder, f"{i}.png"),)) for k, text in enumerate(QUESTIONS) for i in
            range(images)]  # fmt: skip


@pytest.fixture
def llava() -> TransformersEngine:
    model, processor = build_tiny("llava")
    return TransformersEngine.from_live(model, processor, name="llava", batch_size=IMAGES)


def texts(engine: TransformersEngine, prompts: list[Prompt], share: bool, size: int = IMAGES) -> dict[str, Any]:
    engine.share_prefixes, engine.batch_size = share, size
    return {found.prompt_id: (found.token_ids, found.failure) for found in engine.generate(prompts, TWO)}


def passes_of(model: Any) -> list[tuple[int, int]]:
    """(rows, columns) of each pass through the text model, as passes are made."""
    passes: list[tuple[int, int]] = []

    def noted(module: Any, args: Any, keywords: dict[str, Any]) -> None:
        given = keywords.get("input_ids") if keywords.get("inputs_embeds") is None else keywords["inputs_embeds"]
        passes.append(tuple(given.shape[:2]))

    model.get_decoder().register_forward_pre_hook(noted, with_kwargs=True)
    return passes


def test_images_of_a_batch_are_read_in_one_pass_and_their_questions_in_few(
    llava: TransformersEngine, folder: Path
) -> None:
    expected = texts(llava, ask(folder), share=False)
    texts(llava, ask(folder, 1), share=True)  # what is checked on first use
    passes = passes_of(llava.model)
    assert texts(llava, ask(folder), share=True) == expected
    questions = IMAGES * len(QUESTIONS)
    assert passes[0][0] == IMAGES
    tails, new = (
        [rows for rows, columns in passes[1:] if columns > 1],
        [rows for rows, columns in passes if columns == 1],
    )
    assert sum(tails) == sum(new) == questions
    assert len(tails) == len(new) <= questions / IMAGES - 2  # passes of the batch's size would be six and six


def counted_prefixes(monkeypatch: pytest.MonkeyPatch, most: int = 1000) -> list[int]:
    """How many prefixes are read at a time, from now on; memory runs out above `most`."""
    counts, read = [], sharing.read_prefixes

    def counted(model: Any, fronts: Any) -> Any:
        counts.append(len(fronts))
        if len(fronts) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return read(model, fronts)

    monkeypatch.setattr(sharing, "read_prefixes", counted)
    return counts


def test_batch_has_no_more_images_than_its_size_and_no_more_prompts_than_eight_an_image(
    llava: TransformersEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = counted_prefixes(monkeypatch)
    texts(llava, ask(folder), share=True, size=5)
    assert counts == [5, 5, 2]
    many = [Prompt(f"{k}", f"Is it number {k}?", (ImageFile(folder, "0.png"),)) for k in range(3 * PER_IMAGE)]
    expected = texts(llava, many, share=False, size=1)
    counts.clear()
    assert texts(llava, many, share=True, size=1) == expected
    assert counts == [1, 0, 0]


def test_one_bad_image_among_many_fails_its_questions_alone(
    llava: TransformersEngine, folder: Path, tmp_path: Path
) -> None:
    for i in range(IMAGES):
        whole = (folder / f"{i}.png").read_bytes()
        (tmp_path / f"{i}.png").write_bytes(whole[: len(whole) // 2] if i == 4 else whole)
    prompts = ask(tmp_path)
    expected = texts(llava, prompts, share=False)
    texts(llava, prompts[:1], share=True)
    passes = passes_of(llava.model)
    assert texts(llava, prompts, share=True) == expected
    assert {name for name, (_, failure) in expected.items() if failure} == {f"4.{k}" for k in range(len(QUESTIONS))}
    assert passes[0][0] == IMAGES - 1


def test_shortage_of_memory_for_prefixes_halves_the_batch(
    llava: TransformersEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = texts(llava, ask(folder), share=False)
    counts = counted_prefixes(monkeypatch, most=4)
    assert texts(llava, ask(folder), share=True) == expected
    assert counts[:3] == [12, 6, 3]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("apart", [0, 7, 12, 100])
def test_rows_that_go_on_leave_the_pool_and_those_that_ended_stay(
    llava: TransformersEngine, folder: Path, temperature: float, apart: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Footprint, "apart", lambda self, *_: apart)
    monkeypatch.setattr(Footprint, "rows", lambda self, *_: 100)
    sampling = Sampling(max_new_tokens=BRIEF + 4, temperature=temperature, seed=3)

    def answers(share: bool) -> dict[str, Any]:
        llava.share_prefixes = share
        return {found.prompt_id: found.token_ids for found in llava.generate(ask(folder, 2), sampling)}

    first = answers(share=False)
    ends = {ids[1] for ids in list(first.values())[:5]}  # some rows end early, so that the others go on without them
    llava.end_ids = frozenset(ends)
    expected = answers(share=False)
    going_on = sum(len(ids) >= BRIEF for ids in expected.values())
    assert 0 < going_on < len(expected) == 12
    answers(share=True)
    passes = passes_of(llava.model)
    assert answers(share=True) == expected
    later = [rows for rows, columns in passes if columns == 1][BRIEF - 1 :]
    if 2 * apart < going_on:
        assert set(later) == {len(expected)}
    else:
        assert max(later) <= min(apart, going_on)
        assert later[0] == (-(-going_on // 2) if going_on > apart else going_on)


sizes = st.integers(1, 5000)


@given(
    st.builds(Footprint, cached=sizes, gathered=sizes, worked=sizes, logits=sizes),
    st.integers(1, 64),
    st.integers(1, 700),
    st.integers(1, 99),
    st.integers(1, 20),
    st.integers(0, 50),
    st.data(),
)
def test_rows_read_at_once_take_no_more_memory_than_whole_prompts(
    cost: Footprint, sequences: int, prefix: int, tail: int, kept: int, new: int, data: st.DataObject
) -> None:
    width, images = prefix + tail, data.draw(st.integers(1, sequences))
    rows = cost.rows(sequences, images * prefix, width, tail, kept, new)

    def needed(rows: int, held: int, worked: int) -> int:
        """Numbers: keys and values, a layer's gathered ones, work in a layer, logits."""
        columns = rows * (width + new)
        cached = cost.cached * (held + rows * new)
        return cached + cost.gathered * columns + cost.worked * worked + cost.logits * kept * rows

    whole = needed(sequences, sequences * width, sequences * width)
    assert rows == 1 or needed(rows, images * prefix + rows * tail, rows * tail) <= whole
    more = rows + 1
    assert needed(more, images * prefix + more * tail, more * tail) > whole


def test_processor_is_called_once_for_the_images_of_a_batch(
    llava: TransformersEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts(llava, ask(folder, 1), share=True)
    calls: list[int] = []
    encode = PromptEncoder.encode

    def counted(self: PromptEncoder, prompts: Any, *args: Any, **keywords: Any) -> Any:
        calls.append(len(prompts))
        return encode(self, prompts, *args, **keywords)

    monkeypatch.setattr(PromptEncoder, "encode", counted)
    texts(llava, ask(folder), share=True)
    assert calls == [IMAGES]


@pytest.mark.parametrize("changed", ["pixels", "padding"])
def test_processor_whose_images_depend_on_each_other_gets_them_one_by_one(
    llava: TransformersEngine, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fronts_agree(llava.encoder)
    features = PromptEncoder._features

    def mixed(self: PromptEncoder, *args: Any) -> dict[str, Any]:
        made = features(self, *args)
        pixels = made["pixel_values"]
        if changed == "pixels":
            made["pixel_values"] = pixels - pixels.mean(0)
        elif len(pixels) > 1:
            made["pixel_values"] = torch.nn.functional.pad(pixels, (0, 1))
        return made

    monkeypatch.setattr(PromptEncoder, "_features", mixed)
    assert not fronts_agree(llava.encoder)
