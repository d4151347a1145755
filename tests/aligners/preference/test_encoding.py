from pathlib import Path

import pytest
import torch
from preference_data import make_pairs
from tiny_models import FAMILIES, build_tiny

from aligners.preference.encoding import Layout, PairEncoder
from aligners.preference.layouts import find_layout, response_logps
from aligners.preference.pairs import Pair
from aligners.training.response_logps import end_token, measuring, pad_responses
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import DataError, TrainingError

BEST = {"llava": Layout.PACKED, "llava_next": Layout.PACKED, "idefics3": Layout.PACKED, "gemma3": Layout.SHARED_IMAGES}


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request, tmp_path_factory):
    model, processor = build_tiny(request.param)
    prompts = PromptEncoder(processor)
    encoder = PairEncoder(prompts, end_token(prompts, model))
    folder = tmp_path_factory.mktemp("images")
    tokens = [encoder.tokenize(pair) for pair in make_pairs(folder, 4)]
    return request.param, model, processor, encoder, tokens


def layouts_of(name: str) -> list[Layout]:
    return [layout for layout in Layout if not (name == "gemma3" and layout is Layout.PACKED)]


def test_every_layout_gives_the_log_probabilities_of_the_engine(family):
    name, model, processor, encoder, tokens = family
    engine = TransformersEngine.from_live(model, processor, name=name)
    prompts = [pair.prompt for pair in tokens]
    wanted = engine.logprobs(prompts, [list(pair.chosen_ids) for pair in tokens])
    wanted += engine.logprobs(prompts, [list(pair.rejected_ids) for pair in tokens])
    for layout in layouts_of(name):
        with torch.no_grad(), measuring(model):
            logps, mask = response_logps(model, encoder.batch(tokens, layout), layout)
        for row, kept, right in zip(logps, mask, wanted, strict=True):
            assert row[kept].tolist() == pytest.approx(right.logprobs, abs=2e-4), layout


def test_every_layout_gives_the_same_gradients(family):
    name, model, _, encoder, tokens = family
    gradients = []
    for layout in layouts_of(name):
        model.zero_grad()
        with measuring(model):
            logps, mask = response_logps(model, encoder.batch(tokens, layout), layout)
        (logps * mask).sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    model.zero_grad()
    for other in gradients[1:]:
        assert (other - gradients[0]).norm() < 1e-4 * gradients[0].norm()


def test_the_cheapest_layout_that_is_right_is_found(family):
    name, model, _, encoder, tokens = family
    assert find_layout(model, encoder, tokens[:2]) is BEST[name]


def test_a_processor_of_another_checkpoint_is_told(tmp_path):
    model, _ = build_tiny("gemma3")
    _, processor = build_tiny("llava")
    encoder = PairEncoder(PromptEncoder(processor), 2)
    tokens = [encoder.tokenize(pair) for pair in make_pairs(tmp_path, 2)]
    with pytest.raises(TrainingError, match=r"Gemma3.*does the processor belong to this checkpoint"):
        find_layout(model, encoder, tokens)


def test_each_image_goes_through_the_tower_once_a_pair(family):
    name, model, _, encoder, tokens = family
    tower, seen = model.get_encoder(modality="image"), []
    hook = tower.register_forward_hook(lambda module, args, kwargs, out: seen.append(out[0].shape[0]), with_kwargs=True)
    for layout in (BEST[name], Layout.SEPARATE):
        with torch.no_grad(), measuring(model):
            response_logps(model, encoder.batch(tokens, layout), layout)
    hook.remove()
    once, twice = seen
    assert twice == 2 * once


def test_the_end_token_is_the_one_that_closes_a_turn():
    model, processor = build_tiny("llava")
    prompts = PromptEncoder(processor)
    assert end_token(prompts, model) == processor.tokenizer.eos_token_id
    other = PromptEncoder(processor, processor.chat_template.replace("{{ eos_token }}", "<unk>"))
    unknown = processor.tokenizer.unk_token_id
    assert end_token(other, model) == processor.tokenizer.eos_token_id  # generation does not stop at <unk>
    model.generation_config.eos_token_id = [unknown, processor.tokenizer.eos_token_id]
    assert end_token(other, model) == unknown


def test_the_ordinary_forward_pass_is_back_after_scoring():
    model, _ = build_tiny("llava")
    before = model.forward
    with measuring(model):
        assert model.forward != before
    assert model.forward == before


def test_a_half_precision_mask_works_with_eager_attention(tmp_path):
    model, processor = build_tiny("llava")
    prompts = PromptEncoder(processor)
    encoder = PairEncoder(prompts, end_token(prompts, model))
    tokens = [encoder.tokenize(pair) for pair in make_pairs(tmp_path, 2)]
    with torch.no_grad(), measuring(model):
        wanted, _ = response_logps(model, encoder.batch(tokens, Layout.PACKED), Layout.PACKED)
        model.set_attn_implementation("eager")
        found, _ = response_logps(model, encoder.batch(tokens, Layout.PACKED), Layout.PACKED)
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("lengths", "rows"),
    [((3,), [[1, 2, 3]]), ((1, 2), [[1, 0], [2, 3]]), ((2, 1), [[1, 2], [3, 0]])],
)
def test_responses_behind_each_other_become_rows(lengths, rows):
    values, mask = pad_responses(torch.tensor([1.0, 2.0, 3.0]), lengths)
    assert values.tolist() == rows
    assert mask.sum(-1).tolist() == list(lengths)


def test_an_image_path_cannot_lead_out_of_its_folder(tmp_path):
    with pytest.raises(DataError, match="leads out"):
        _ = Pair("1", "../x.png", "?", "a", "b", folder=tmp_path).images[0].path
    assert Pair("1", str(tmp_path / "x.png"), "?", "a", "b", folder=Path("elsewhere")).images[0].name == "x.png"
