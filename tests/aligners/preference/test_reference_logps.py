from dataclasses import replace

import pytest
import torch
from preference_data import make_pairs
from tiny_models import build_tiny

from aligners.preference import reference_logps as reference
from aligners.preference.encoding import Layout, PairEncoder
from aligners.preference.layouts import response_logps
from aligners.preference.reference_logps import content_key, reference_logps
from aligners.training.response_logps import end_token, measuring
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import TrainingError


@pytest.fixture
def setting(tmp_path):
    model, processor = build_tiny("llava")
    prompts = PromptEncoder(processor)
    encoder = PairEncoder(prompts, end_token(prompts, model))
    pairs = make_pairs(tmp_path / "images", 5)
    return model, processor, encoder, [encoder.tokenize(pair) for pair in pairs]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_they_are_the_log_probabilities_of_the_engine(setting, tmp_path, batch_size):
    model, processor, encoder, pairs = setting
    found = reference_logps(model, encoder, pairs, tmp_path, layout=Layout.PACKED, batch_size=batch_size).pairs
    engine = TransformersEngine.from_live(model, processor, name="start")
    for side in ("chosen", "rejected"):
        wanted = engine.logprobs([p.prompt for p in pairs], [list(getattr(p, f"{side}_ids")) for p in pairs])
        for one, right in zip(found, wanted, strict=True):
            assert getattr(one, side).tolist() == pytest.approx(right.logprobs, abs=2e-4)


def test_pairs_that_do_not_fit_into_memory_together_are_read_in_halves(setting, tmp_path, monkeypatch):
    model, _, encoder, pairs = setting
    whole = reference_logps(model, encoder, pairs, tmp_path / "whole", layout=Layout.SEPARATE).pairs
    read, limit = [], 2

    def scarce(model, batch, layout):
        read.append(len(batch.lengths) // 2)
        if read[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return response_logps(model, batch, layout)

    monkeypatch.setattr(reference, "response_logps", scarce)
    halves = reference_logps(model, encoder, pairs, tmp_path / "halves", layout=Layout.SEPARATE).pairs
    assert read == [5, 2, 3, 1, 2]
    for one, other in zip(whole, halves, strict=True):
        assert one.chosen.tolist() == pytest.approx(other.chosen.tolist(), abs=1e-5)
        assert one.rejected.tolist() == pytest.approx(other.rejected.tolist(), abs=1e-5)
    limit = 0
    with pytest.raises(TrainingError, match=r"out of memory with the reference of pair '.' alone"):
        reference_logps(model, encoder, pairs, tmp_path / "none", layout=Layout.SEPARATE)


def test_they_are_read_back_from_the_folder_without_the_model(setting, tmp_path):
    model, _, encoder, pairs = setting
    calls = []
    arguments = {"layout": Layout.PACKED, "progress": lambda *call: calls.append(call)}
    first = reference_logps(model, encoder, pairs, tmp_path, **arguments)
    assert calls
    calls.clear()
    second = reference_logps(model, encoder, pairs, tmp_path, **arguments)
    assert not calls
    assert second.seconds == first.seconds > 0
    for a, b in zip(first.pairs, second.pairs, strict=True):
        assert torch.equal(a.chosen, b.chosen)
        assert torch.equal(a.rejected, b.rejected)


def test_a_torn_file_is_computed_again(setting, tmp_path):
    model, _, encoder, pairs = setting
    first = reference_logps(model, encoder, pairs, tmp_path, layout=Layout.PACKED)
    (file,) = tmp_path.glob("reference-*.safetensors")
    file.write_bytes(file.read_bytes()[:40])
    again = reference_logps(model, encoder, pairs, tmp_path, layout=Layout.PACKED)
    assert torch.equal(first.pairs[0].chosen, again.pairs[0].chosen)


def test_everything_that_moves_the_numbers_moves_the_key(setting, tmp_path):
    model, processor, encoder, pairs = setting
    key = content_key(model, encoder, pairs)
    other, _ = build_tiny("llava", seed=1)
    template = PairEncoder(PromptEncoder(processor, processor.chat_template + " "), encoder.end_id)
    longer = [replace(pairs[0], chosen_ids=(*pairs[0].chosen_ids, 5)), *pairs[1:]]
    asked = [replace(pairs[0], prompt=replace(pairs[0].prompt, text="Why?")), *pairs[1:]]
    keys = [key, content_key(other, encoder, pairs), content_key(model, template, pairs)]
    keys += [content_key(model, encoder, longer), content_key(model, encoder, asked)]
    keys.append(content_key(model, encoder, pairs, bf16=True))
    file = tmp_path / "images" / "0.png"
    from PIL import Image

    Image.new("RGB", (30, 30), "red").save(file)
    keys.append(content_key(model, encoder, pairs))
    processor.image_processor.image_mean = [0.1, 0.2, 0.3]
    keys.append(content_key(model, encoder, pairs))
    assert len(set(keys)) == len(keys)


# --- pairs about one image -------------------------------------------------------------------------------------------


@pytest.fixture
def several(setting, tmp_path):
    """Nine pairs, three about each image, with several questions."""
    model, _, encoder, _ = setting
    return model, encoder, [encoder.tokenize(pair) for pair in make_pairs(tmp_path / "images", 9)]


def read(setting, folder, **options):
    model, encoder, pairs = setting
    return reference_logps(model, encoder, pairs, folder, layout=Layout.PACKED, **options).pairs


def check_close(one, other):
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a.chosen, b.chosen, atol=1e-5, rtol=0)
        torch.testing.assert_close(a.rejected, b.rejected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_size", [2, 4, 9])
def test_sharing_images_changes_nothing(several, tmp_path, monkeypatch, batch_size):
    _, encoder, pairs = several
    rows = []
    by_image = encoder.by_image
    monkeypatch.setattr(encoder, "by_image", lambda some: rows.append((len(some), batch := by_image(some))) or batch)
    shared = read(several, tmp_path / "on", batch_size=batch_size)
    assert all(batch is not None and len(batch.inputs["pixel_values"]) < size for size, batch in rows if size > 3)
    monkeypatch.setattr(encoder, "by_image", lambda some: None)
    check_close(shared, read(several, tmp_path / "off", batch_size=batch_size))
    assert len({round(float(pair.chosen[0]), 4) for pair in shared}) > len(pairs) // 3  # the images tell them apart


def test_two_images_with_the_same_question_are_not_mixed_up(several):
    model, encoder, pairs = several
    same = [replace(pair, prompt=replace(pairs[0].prompt, images=pair.prompt.images)) for pair in pairs[:6]]
    same = [replace(pair, chosen_ids=pairs[0].chosen_ids, rejected_ids=pairs[0].rejected_ids) for pair in same]
    batch = encoder.by_image(same)
    assert len(batch.inputs["pixel_values"]) == 3
    with measuring(model), torch.no_grad():
        together, _ = response_logps(model, batch, Layout.PACKED)
        apart, _ = response_logps(model, encoder.batch(same, Layout.PACKED), Layout.PACKED)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=0)
    assert not torch.allclose(apart[0], apart[1], atol=1e-4)


def test_a_model_that_reads_shared_rows_otherwise_goes_without(several, tmp_path, monkeypatch):
    _, encoder, _ = several
    by_image, calls = encoder.by_image, []

    def broken(some):
        calls.append(len(some))
        batch = by_image(some)
        batch.inputs["pixel_values"] = batch.inputs["pixel_values"].flip(0)
        return batch

    monkeypatch.setattr(encoder, "by_image", broken)
    found = read(several, tmp_path / "broken", batch_size=4)
    assert calls == [4]  # tried once
    monkeypatch.setattr(encoder, "by_image", lambda some: None)
    check_close(found, read(several, tmp_path / "off", batch_size=4))
