"""Settings of how the start is loaded: attention, image sizes, a quantised base; each does it or is refused."""

import json
from types import SimpleNamespace

import pytest
import torch
from tiny_models import build_tiny, save_tiny, tiny_tokenizer, torchvision_problem
from transformers import Qwen2_5_VLConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from aligners.ddpo import dpo_settings
from aligners.reward_model.fit import RewardModelSettings, reward_model_json
from aligners.settings import dpo_json
from aligners.training import policy as policies
from aligners.training.checkpoint import cast_weights
from aligners.training.policy import limit_pixels, load_policy, quantisation
from aligners.training.settings import LOADING, ModelSettings
from evalkit.engines.model import loading
from evalkit.errors import EngineError, UsageError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny("llava", tmp_path_factory.mktemp("tiny"))


def test_the_chosen_attention_is_used_and_an_absent_one_refused(tiny):
    model = load_policy(tiny, ModelSettings(attention="eager")).model
    assert model.config._attn_implementation == "eager"
    assert model.get_decoder().config._attn_implementation == "eager"
    with pytest.raises(UsageError, match="attention=flash_attention_2: "):
        load_policy(tiny, ModelSettings(attention="flash_attention_2"))
    with pytest.raises(UsageError, match="attention=quick"):
        load_policy(tiny, ModelSettings(attention="quick"))


@pytest.mark.parametrize("family", ["llava", "gemma3"])
def test_weights_held_in_bfloat16_leave_the_rotary_frequencies_as_they_were_computed(family):
    model, _ = build_tiny(family)
    frequencies = {name: one.clone() for name, one in model.named_buffers() if "inv_freq" in name}
    places = {name: one.detach().clone() for name, one in model.named_parameters()}
    assert frequencies
    cast_weights(model, torch.bfloat16)
    assert {one.dtype for one in model.parameters()} == {torch.bfloat16}
    for name, one in model.named_buffers():
        if name in frequencies:
            assert one.dtype == torch.float32
            assert torch.equal(one, frequencies[name])
    cast_weights(model, torch.float32)
    for name, one in model.named_parameters():
        assert torch.equal(one, places[name].to(torch.bfloat16).float())


def test_larger_images_are_scaled_down_where_a_model_takes_any_size():
    from PIL import Image

    processor = SimpleNamespace(image_processor=Qwen2VLImageProcessorPil())
    picture = Image.new("RGB", (560, 280))

    def patches():
        height, width = processor.image_processor(images=[picture], return_tensors="pt")["image_grid_thw"][0, 1:]
        return int(height * width)

    whole = patches()
    limit_pixels(processor, 28 * 28 * 50)
    assert patches() * 14 * 14 <= 28 * 28 * 50 < whole * 14 * 14
    limit_pixels(processor, 28 * 28)  # below what the processor takes at least
    assert processor.image_processor.size.shortest_edge == 28 * 28


def test_a_fixed_image_size_has_no_limit_to_set(tiny):
    with pytest.raises(UsageError, match="max_pixels: CLIPImageProcessor"):
        load_policy(tiny, ModelSettings(max_pixels=1000))


@pytest.mark.skipif(torchvision_problem() is None, reason="torchvision is usable here")
def test_a_family_whose_processor_needs_torchvision_is_refused_without_it(tmp_path):
    """So Qwen2.5-VL is not among what was run; where torchvision is, the tests of the RL stage take it along."""
    tokenizer = tiny_tokenizer("<|image_pad|>")
    Qwen2_5_VLConfig(image_token_id=tokenizer.image_token_id).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    kinds = {"image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(kinds))
    with pytest.raises(EngineError, match=r"needs torchvision: pip install 'hallu-evalkit\[vlm\]'"):
        load_policy(tmp_path, ModelSettings())


def test_a_quantised_base_needs_bitsandbytes_and_an_adapter(tiny, monkeypatch):
    settings = ModelSettings(lora=True, quantize="nf4")
    monkeypatch.setattr(policies, "library_version", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'hallu-evalkit\[qlora\]'"):
        load_policy(tiny, settings)
    for wrong in ({"lora": None}, {"lora": False}, {"lora": True, "merge_adapter": True}):
        with pytest.raises(UsageError, match="holds an adapter and takes none in"):
            ModelSettings(quantize="nf4", **wrong)
    with pytest.raises(UsageError, match="quantize is"):
        ModelSettings(lora=True, quantize="int3")


def test_the_base_is_loaded_in_four_bits_and_stays_in_its_type(tiny, monkeypatch):
    monkeypatch.setattr(policies, "library_version", lambda name: "0.48")
    asked = {}

    def load(base, **how):
        asked.update(how)
        return build_tiny("llava")[0].to(torch.bfloat16), {"missing_keys": [], "mismatched_keys": []}

    monkeypatch.setattr(loading.AutoModelForImageTextToText, "from_pretrained", load)
    settings = ModelSettings(lora=True, quantize="nf4", bf16=False)
    wanted = quantisation(settings)
    policy = load_policy(tiny, settings)
    given = asked["quantization_config"]
    assert given.to_dict() == wanted.to_dict()
    assert (given.load_in_4bit, given.bnb_4bit_quant_type) == (True, "nf4")
    assert asked["device_map"] == {"": "cuda" if torch.cuda.is_available() else "cpu"}
    assert policy.model.dtype is torch.bfloat16  # without the setting it would be held as stored, or in float32


def test_an_original_llava_is_not_quantised(monkeypatch):
    monkeypatch.setattr(loading, "load_front", lambda *some, **more: SimpleNamespace(assembly=object()))
    with pytest.raises(EngineError, match="convert it first"):
        loading.load_checkpoint("x", quantization=object())


def test_settings_that_are_not_used_leave_older_folders_as_they_were():
    reward = RewardModelSettings(learning_rate=1.0)
    assert not set(LOADING) & (dpo_json(dpo_settings("dpo")).keys() | reward_model_json(reward)["training"].keys())
    changed = dpo_settings("dpo", attention="eager", max_pixels=4)
    assert dpo_json(changed)["attention"] == "eager"
    assert dpo_json(changed)["max_pixels"] == 4
