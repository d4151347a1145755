from dataclasses import replace

import pytest
import torch
from preference_data import make_pairs
from tiny_models import build_tiny

from aligners.preference.encoding import Layout, PairEncoder
from aligners.preference.reference_logps import content_key, reference_logps
from aligners.training.response_logps import end_token
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.transformers import TransformersEngine


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
