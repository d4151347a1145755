import json

import pytest
import torch
from safetensors import safe_open
from tiny_models import FAMILIES, build_tiny

from aligners.training.checkpoint import CARD, Card, merged, older_name, read_card, save_checkpoint, weights_hash
from evalkit.engines.model.loading import load_checkpoint
from evalkit.errors import DataError

CARD_HERE = Card(
    parent="somewhere", parent_hash="ab", method="ddpo", preset="dpo", data={"pairs": "cd"}, settings={"beta": 0.1},
    seeds={"training": 1}, cost={"pairs": 2, "steps": 1, "seconds": 0.5, "tokens": 9}, skipped={"an empty response": 1},
)  # fmt: skip


def names_in(folder):
    names = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            names += list(file.keys())
    return names


def inputs_of(processor):
    from PIL import Image

    image = Image.radial_gradient("L").convert("RGB").resize((56, 40))
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    return processor(text=[text], images=[[image]], return_tensors="pt")


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_what_is_saved_is_loaded_back_identically(family, tmp_path):
    model, processor = build_tiny(family)
    save_checkpoint(model, processor, tmp_path, CARD_HERE)
    loaded = load_checkpoint(tmp_path, dtype="float32")
    inputs = inputs_of(processor)
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, loaded.model(**inputs_of(loaded.processor)).logits)
    assert weights_hash(loaded.model) == weights_hash(model)
    assert read_card(tmp_path) == CARD_HERE


@pytest.mark.parametrize(
    ("family", "renamed"), [("llava", True), ("llava_next", True), ("gemma3", True), ("idefics3", False)]
)
def test_towers_get_the_names_that_vllm_expects(family, renamed, tmp_path):
    model, processor = build_tiny(family)
    save_checkpoint(model, processor, tmp_path)
    tower = [name for name in names_in(tmp_path) if "vision_tower." in name]
    assert bool(tower) is renamed
    assert all("vision_tower.vision_model." in name for name in tower)


def test_the_index_of_a_sharded_checkpoint_is_renamed_with_its_shards(tmp_path):
    model, processor = build_tiny("llava")
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    from aligners.training.checkpoint import rename_for_vllm

    rename_for_vllm(tmp_path)
    processor.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert sorted(index) == sorted(names_in(tmp_path))
    assert len(set(index.values())) > 1
    assert weights_hash(load_checkpoint(tmp_path, dtype="float32").model) == weights_hash(model)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("vision_tower.encoder.layers.0.weight", "vision_tower.vision_model.encoder.layers.0.weight"),
        ("vision_tower.vision_model.encoder.layers.0.weight", "vision_tower.vision_model.encoder.layers.0.weight"),
        ("model.vision_tower.embeddings.class_embedding", "model.vision_tower.vision_model.embeddings.class_embedding"),
        ("language_model.lm_head.weight", "language_model.lm_head.weight"),
    ],
)
def test_older_names(name, wanted):
    assert older_name(name) == wanted


def test_models_of_one_shape_have_different_hashes():
    first, _ = build_tiny("llava", seed=0)
    second, _ = build_tiny("llava", seed=1)
    assert weights_hash(first) != weights_hash(second)
    with torch.no_grad():
        second.lm_head.weight[0, 0] += 1e-3
    again, _ = build_tiny("llava", seed=1)
    assert weights_hash(second) != weights_hash(again)


def test_a_model_without_an_adapter_is_its_own_merge():
    model, _ = build_tiny("llava")
    assert merged(model) is model


@pytest.mark.parametrize("content", ["{", '{"parent": "x"}', '{"unknown": 1}'])
def test_a_damaged_card_is_named(content, tmp_path):
    (tmp_path / CARD).write_text(content)
    with pytest.raises(DataError, match="card"):
        read_card(tmp_path)


def test_a_folder_without_a_card_has_none(tmp_path):
    assert read_card(tmp_path) is None
