"""Original LLaVA folders give the numbers of the original's data flow, to the last bit (float32, difference 0.0)."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch
from original_llava import (
    IMAGE,
    Reference,
    make_lora,
    make_original,
    make_projector,
    make_tower,
    real_vocabulary,
    tiled_features,
    tiles,
    tiny_vocabulary,
    write_json,
    write_weights,
)
from PIL import Image
from safetensors.torch import load_file
from tiny_models import tiny_tokenizer

from aligners.ddpo import align_ddpo
from aligners.preference.pairs import Pair, write_pairs
from aligners.training.checkpoint import save_checkpoint
from evalkit.engines.model.inputs.settings import InputSettings
from evalkit.engines.model.original_llava.vocabulary import load_tokenizer
from evalkit.engines.model.saved.converting import convert
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import EngineError
from evalkit.images import ImageFile
from evalkit.sampling import Sampling
from evalkit.schema import Prompt

GREEDY = Sampling(max_new_tokens=8)
SIZES = ((40, 30), (28, 28), (30, 61), (200, 90))
QUESTIONS = ("Is there a dog in the image?", "Describe it.", "What\nis  shown in the image?", "Yes")
VARIANTS: dict[str, dict[str, Any]] = {
    "llava, shards, tower outside": {},
    "llava_llama, safetensors, tower inside, trained": {
        "model_type": "llava_llama", "binary": False, "tower_inside": True, "unfreeze_mm_vision_tower": True,
    },
    "tower inside, not trained": {"tower_inside": True},
    "one linear layer": {"mm_projector_type": None},
    "rows for image tokens": {"image_tokens": True},
    "image between start and end": {"image_tokens": True, "mm_use_im_start_end": True, "mm_use_im_patch_token": True},
    "whole image features, no padding": {"mm_vision_select_feature": "cls_patch", "image_aspect_ratio": None},
    "mistral": {"model_type": "llava_mistral", "architectures": ["LlavaMistralForCausalLM"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tower(tmp_path_factory.mktemp("tower") / "clip-vit-tiny")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_vocabulary(tmp_path_factory.mktemp("words") / "tokenizer.model")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list[Prompt]:
    """Questions about images of several shapes."""
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    asked = []
    for number, (size, question) in enumerate(zip(SIZES, QUESTIONS, strict=True)):
        pixels = draw.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        asked.append(Prompt(str(number), question, (ImageFile(folder, f"{number}.png"),)))
    return asked


def check_against(reference: Reference, engine: TransformersEngine, prompts: list[Prompt]) -> None:
    """Ids, pixels and logits of each prompt alone; greedy ids alone and in one batch."""
    image_token = engine.model.config.image_token_id
    expected = {}
    for prompt in prompts:
        encoded = engine.encoder.encode([prompt])
        ids = encoded.inputs["input_ids"][0].tolist()
        first, patches = ids.index(image_token), ids.count(image_token)
        short = [*ids[:first], IMAGE, *ids[first + patches :]]
        assert short == reference.ids(engine.encoder.render(prompt))
        pixels = reference.pixels(prompt.images[0].open())
        assert torch.equal(encoded.inputs["pixel_values"], pixels)
        features = reference.features(pixels)[0]
        with torch.no_grad():
            logits = engine.model(**encoded.inputs).logits[0]
        assert (logits - reference.logits(short, features)).abs().max() == 0
        expected[prompt.id] = reference.greedy(short, features, GREEDY.max_new_tokens, image_token)
    for size in (1, 8):
        engine.batch_size = size
        found = {r.prompt_id: list(r.token_ids or ()) for r in engine.generate(prompts, GREEDY)}
        assert found == expected


@pytest.mark.parametrize("name", VARIANTS)
def test_a_folder_gives_the_original_numbers(
    name: str, tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    changes = VARIANTS[name]
    folder = make_original(tmp_path / "model", tower, vocabulary, **changes)
    outside = None if changes.get("unfreeze_mm_vision_tower") else tower
    check_against(Reference(folder, outside), TransformersEngine(folder), prompts)


def test_a_published_vocabulary_gives_the_original_numbers(tower: Path, prompts: list[Prompt], tmp_path: Path) -> None:
    vocabulary = real_vocabulary()
    if vocabulary is None:
        pytest.skip("no published sentencepiece file: set EVALKIT_SENTENCEPIECE, or install mistral-common")
    folder = make_original(tmp_path / "model", tower, vocabulary)
    check_against(Reference(folder, tower), TransformersEngine(folder), prompts)


@pytest.mark.parametrize("published", [False, True])
def test_the_vocabulary_gives_sentencepieces_own_ids(published: bool, vocabulary: Path, tmp_path: Path) -> None:
    path = real_vocabulary() if published else vocabulary
    if path is None:
        pytest.skip("no published sentencepiece file: set EVALKIT_SENTENCEPIECE, or install mistral-common")
    words = sentencepiece.SentencePieceProcessor(model_file=str(path))
    shutil.copy(path, tmp_path / "tokenizer.model")
    tokenizer, image = load_tokenizer(tmp_path, {"architectures": ["LlavaLlamaForCausalLM"]}, words.get_piece_size())
    assert image == words.piece_to_id("<0x00>")
    draw = random.Random(0)
    signs = "ab de  Th\n\tis \u00e9\u4e2d\U0001f600.,'?  1 2"
    texts = [" a", "  a", "is  shown", "\n\n a", "USER: ", "a\u2581b"]
    texts += ["".join(draw.choice(signs) for _ in range(draw.randint(1, 40))) for _ in range(500)]
    for text in texts:
        assert tokenizer(text, add_special_tokens=False).input_ids == words.encode(text), text
        assert tokenizer(f"<image>{text}").input_ids == [1, image, *words.encode(text)], text


TILED: dict[str, Any] = {
    "image_aspect_ratio": "anyres", "mm_patch_merge_type": "spatial_unpad", "newline": True, "tower_inside": True,
    "unfreeze_mm_vision_tower": True, "image_grid_pinpoints": [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]],
}  # fmt: skip


@pytest.mark.parametrize("changes", [
    {},
    {"image_grid_pinpoints": [[28, 56], [84, 28]]},  # not symmetric: (width, height)
    {"architectures": ["LlavaMistralForCausalLM"], "model_type": "llava_mistral"},
])  # fmt: skip
def test_tiles_give_the_original_numbers(
    changes: dict[str, Any], tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    folder = make_original(tmp_path / "model", tower, vocabulary, **(TILED | changes))
    reference, engine = Reference(folder, None), TransformersEngine(folder)
    image_token = engine.model.config.image_token_id
    expected = {}
    for prompt in prompts:
        image = prompt.images[0].open()
        encoded = engine.encoder.encode([prompt])
        ids = encoded.inputs["input_ids"][0].tolist()
        first, patches = ids.index(image_token), ids.count(image_token)
        short = [*ids[:first], IMAGE, *ids[first + patches :]]
        assert short == reference.ids(engine.encoder.render(prompt))
        assert torch.equal(encoded.inputs["pixel_values"][0], tiles(reference, image)[0])
        features = tiled_features(reference, image)
        assert patches == len(features)
        with torch.no_grad():
            logits = engine.model(**encoded.inputs).logits[0]
        assert (logits - reference.logits(short, features)).abs().max() == 0
        expected[prompt.id] = reference.greedy(short, features, GREEDY.max_new_tokens, image_token)
    for size in (1, 8):
        engine.batch_size = size
        assert {r.prompt_id: list(r.token_ids or ()) for r in engine.generate(prompts, GREEDY)} == expected
    assert engine.encoder.render(prompts[0]).startswith("[INST] " if "model_type" in changes else "This is")


def test_a_qwen_backbone_takes_a_row_that_no_token_has(
    tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    words = tiny_tokenizer("<|im_start|>", pad="<|endoftext|>", end="<|im_end|>").backend_tokenizer
    state = json.loads(words.to_str())
    rows = len(state["model"]["vocab"]) + 16
    kind = {"architectures": ["LlavaQwenForCausalLM"], "model_type": "llava_qwen"}
    folder = make_original(tmp_path / "model", tower, vocabulary, rows=rows, **kind)
    (folder / "tokenizer.model").unlink()
    write_json(folder / "vocab.json", state["model"]["vocab"])
    (folder / "merges.txt").write_text("".join(" ".join(pair) + "\n" for pair in state["model"]["merges"]))
    special = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None}
    added = {t["id"]: {"content": t["content"], "special": True} for t in state["added_tokens"]}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added}
               | special)  # fmt: skip
    engine, reference = TransformersEngine(folder), Reference(folder, tower)
    image_token = engine.model.config.image_token_id
    assert len(state["model"]["vocab"]) <= image_token < rows
    for prompt in prompts[:2]:
        encoded = engine.encoder.encode([prompt])
        ids = encoded.inputs["input_ids"][0].tolist()
        first, patches = ids.index(image_token), ids.count(image_token)
        before, after = engine.encoder.render(prompt).split("<image>")
        assert before.startswith("<|im_start|>user\n")
        assert ids[:first] == words.encode(before).ids
        assert ids[first + patches :] == words.encode(after).ids
        features = reference.features(reference.pixels(prompt.images[0].open()))[0]
        with torch.no_grad():
            logits = engine.model(**encoded.inputs).logits[0]
        expected = reference.logits([*ids[:first], IMAGE, *ids[first + patches :]], features)
        assert (logits - expected).abs().max() == 0


@pytest.mark.parametrize("changes", [
    {"mm_use_im_patch_token": True}, {"mm_use_im_patch_token": None}, {"mm_use_im_patch_token": False},
])  # fmt: skip
def test_image_tokens_that_the_files_lack_are_added_in_the_originals_order(
    changes: dict[str, Any], vocabulary: Path, tmp_path: Path
) -> None:
    shutil.copy(vocabulary, tmp_path / "tokenizer.model")
    words = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary)).get_piece_size()
    raw = {"architectures": ["LlavaLlamaForCausalLM"], "mm_use_im_start_end": True, **changes}
    if raw["mm_use_im_patch_token"] is None:
        del raw["mm_use_im_patch_token"]  # the original takes it as true
    tokenizer, _ = load_tokenizer(tmp_path, raw, words + 3)
    first = words if changes["mm_use_im_patch_token"] is False else words + 1
    assert tokenizer.convert_tokens_to_ids(["<im_start>", "<im_end>"]) == [first, first + 1]
    with pytest.raises(EngineError, match=r"<im_start> and <im_end> lie beyond"):
        load_tokenizer(tmp_path, raw, words)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("projector", ["mlp2x_gelu", None])
def test_an_aligned_model_still_has_the_originals_data_flow(
    lora: bool, projector: str | None, tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    """Two steps of DPO; the saved weights, put back under the original's names, give the saved model's numbers."""
    folder = make_original(tmp_path / "model", tower, vocabulary, mm_projector_type=projector)
    rows = [Pair(p.id, str(p.images[0].path), p.text, f"A dog {p.id}.", "A </s> cat.") for p in prompts]
    write_pairs(tmp_path / "pairs.jsonl", rows)
    settings = {"max_steps": 2, "batch_size": 2, "lora": lora, "gradient_checkpointing": False}
    align_ddpo(folder, tmp_path / "pairs.jsonl", tmp_path / "out", "dpo", settings)
    whole = tmp_path / "whole"
    convert(tmp_path / "out", whole)
    saved = load_file(whole / "model.safetensors")
    back = shutil.copytree(folder, tmp_path / "back")
    for path in back.glob("pytorch_model*"):
        path.unlink()
    state = {original_name(name, projector is None): value for name, value in saved.items()}
    for name in [name for name in state if "multi_modal_projector" in name]:
        assert projector is None  # the identity of a one-layer projector
        del state[name]
    write_weights(back, state, binary=False)
    reference = Reference(back, tower)
    assert any((reference.state[name] != value).any() for name, value in Reference(folder, tower).state.items())
    check_against(reference, TransformersEngine(whole), prompts[:2])


def original_name(name: str, linear: bool) -> str:
    """A saved weight's name in the original format."""
    name = name.removeprefix("model.").replace("language_model.model.", "language_model.")
    name = name.replace("language_model.lm_head", "lm_head").replace("language_model.", "model.")
    first = "model.mm_projector." if linear else "model.mm_projector.0."
    name = name.replace("multi_modal_projector.linear_1.", first)
    if not linear:
        name = name.replace("multi_modal_projector.linear_2.", "model.mm_projector.2.")
    return name.replace("vision_tower.vision_model.", "model.vision_tower.vision_tower.vision_model.")


# --- adapters and projectors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [True, False])
def test_an_adapter_is_merged_with_its_projector(
    binary: bool, tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    base = make_original(tmp_path / "base", tower, vocabulary)
    lora = make_lora(tmp_path / "lora", base, binary=binary)
    reference = Reference(base, tower, [lora])
    check_against(reference, TransformersEngine(lora, base=str(base)), prompts[:2])
    check_against(reference, TransformersEngine(base, adapter=lora), prompts[:1])


def test_an_adapter_names_its_base_or_says_what_is_missing(
    tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    base = make_original(tmp_path / "base", tower, vocabulary)
    lora = make_lora(tmp_path / "lora", base)
    with pytest.raises(EngineError, match=r"/home/author/checkpoints/vicuna, which is not here.*base=FOLDER"):
        TransformersEngine(lora)
    settings = json.loads((lora / "adapter_config.json").read_text())
    write_json(lora / "adapter_config.json", settings | {"base_model_name_or_path": str(base)})
    check_against(Reference(base, tower, [lora]), TransformersEngine(lora), prompts[:1])


def test_the_published_form_of_llava_rlhf(tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path) -> None:
    base = make_original(tmp_path / "sft_model", tower, vocabulary, mm_projector_type=None)
    lora = make_lora(tmp_path / "rlhf_lora_adapter_model" / "lora_default", base, projector=False)
    reference = Reference(base, tower, [lora])
    check_against(reference, TransformersEngine(tmp_path), prompts[:1])
    check_against(reference, TransformersEngine(tmp_path / "rlhf_lora_adapter_model"), prompts[:1])


def test_a_second_stage_lies_on_the_first(tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path) -> None:
    base = make_original(tmp_path / "base", tower, vocabulary)
    first, second = make_lora(tmp_path / "one", base), make_lora(tmp_path / "two", base, projector=False, seed=7)
    engine = TransformersEngine(second, base=f"{base}+{first}")
    check_against(Reference(base, tower, [first, second]), engine, prompts[:1])
    assert engine.describe()["layers"] == f"{first} + {second}"


def test_a_projector_lies_on_a_bare_language_model(
    tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    whole = make_original(tmp_path / "whole", tower, vocabulary)
    raw = json.loads((whole / "config.json").read_text())
    words = shutil.copytree(whole, tmp_path / "vicuna")
    for path in words.glob("pytorch_model*"):
        path.unlink()
    state = {name: value for name, value in Reference(whole, tower).state.items() if ".mm_" not in name}
    write_weights(words, state, binary=False)
    own = {name: value for name, value in raw.items() if not name.startswith(("mm_", "image_", "tune_", "unfreeze_"))}
    write_json(words / "config.json", own | {"model_type": "llama", "architectures": ["LlamaForCausalLM"]})
    projector = make_projector(tmp_path / "projector", raw)
    reference = Reference(words, tower, [projector], config=projector)
    check_against(reference, TransformersEngine(projector, base=str(words)), prompts[:1])


def test_an_adapter_that_fits_another_base_is_refused(tower: Path, vocabulary: Path, tmp_path: Path) -> None:
    base = make_original(tmp_path / "base", tower, vocabulary)
    deeper = make_original(tmp_path / "deeper", tower, vocabulary, num_hidden_layers=3)
    lora = make_lora(tmp_path / "lora", deeper, projector=False)
    with pytest.raises(EngineError, match=r"does not fit this model.*layers\.2.*right base"):
        TransformersEngine(lora, base=str(base))


# --- towers -----------------------------------------------------------------------------------------------------------


def test_a_stored_tower_that_was_not_trained_counts_only_where_the_named_one_is_missing(
    tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    other = make_tower(tmp_path / "other", seed=9)
    folder = make_original(tmp_path / "model", other, vocabulary, tower_inside=True, mm_vision_tower=str(tower))
    named = TransformersEngine(folder)
    check_against(Reference(folder, tower), named, prompts[:1])
    assert named.describe()["vision_tower"] == str(tower)
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in tower.glob("*config.json"):
        shutil.copy(path, bare)
    stored = TransformersEngine(folder, vision_tower=str(bare))
    check_against(Reference(folder, other), stored, prompts[:1])
    assert stored.describe()["vision_tower"] == "stored in the checkpoint"
    assert "not at hand" in str(stored.describe()["vision_tower_reason"])
    assert stored.describe()["vision_tower_content"] != named.describe()["vision_tower_content"]


def test_a_tower_elsewhere_is_given_by_its_folder(
    tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    folder = make_original(tmp_path / "model", tower, vocabulary, mm_vision_tower="/not/here/clip-vit-tiny")
    with pytest.raises(EngineError, match=r"/not/here/clip-vit-tiny is not at hand.*vision_tower=FOLDER"):
        TransformersEngine(folder)
    check_against(Reference(folder, tower), TransformersEngine(folder, vision_tower=str(tower)), prompts[:1])


# --- saved again, other settings, refusals ----------------------------------------------------------------------------


@pytest.mark.parametrize("projector", ["mlp2x_gelu", None])
def test_a_saved_model_gives_the_same_numbers(
    projector: str | None, tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    folder = make_original(tmp_path / "model", tower, vocabulary, mm_projector_type=projector)
    engine = TransformersEngine(folder)
    save_checkpoint(engine.model, engine.encoder.processor, tmp_path / "saved")
    again = TransformersEngine(tmp_path / "saved")
    check_against(Reference(folder, tower), again, prompts[:2])
    signed = ("image_padding", "system_text", "chat_template")
    assert [again.describe()[name] for name in signed] == [engine.describe()[name] for name in signed]


def test_padding_and_system_text_are_settings(
    tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    folder = make_original(tmp_path / "model", tower, vocabulary)
    cropped = make_original(tmp_path / "cropped", tower, vocabulary, image_aspect_ratio=None)
    engine = TransformersEngine(folder, image_padding="crop", system_text="none")
    assert engine.encoder.render(prompts[0]).startswith("USER: <image>\n")
    check_against(Reference(cropped, tower), engine, prompts)
    assert (engine.describe()["image_padding"], engine.describe()["system_text"]) == ("crop", "none")
    wide = TransformersEngine(cropped, image_padding="pad", system_text='It\'s a "test"\\.')
    assert wide.encoder.render(prompts[0]).startswith('It\'s a "test"\\. USER: <image>\n')
    check_against(Reference(folder, tower), wide, prompts[:1])


def test_the_converted_form_with_pad_and_system_text_gives_the_original_numbers(
    tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    """llava-hf's folders crop, and their template writes no system text."""
    folder = make_original(tmp_path / "model", tower, vocabulary)
    plain = tmp_path / "llava-hf"
    convert(folder, plain, inputs=InputSettings("crop", "none"))
    settings = json.loads((plain / "processor_config.json").read_text())
    settings["image_processor"]["image_processor_type"] = "CLIPImageProcessor"
    del settings["image_processor"]["do_pad"]
    write_json(plain / "processor_config.json", settings)
    bare = TransformersEngine(plain)
    assert type(bare.encoder.processor.image_processor).__name__ == "CLIPImageProcessorPil"
    assert (bare.describe()["image_padding"], bare.describe()["system_text"]) == ("crop", "none")
    engine = TransformersEngine(plain, image_padding="pad", system_text="vicuna_v1")
    check_against(Reference(folder, tower), engine, prompts)
    original = TransformersEngine(folder).describe()
    assert [engine.describe()[name] for name in ("image_padding", "system_text")] == [
        original["image_padding"], original["system_text"],
    ]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), [
    ({"architectures": ["LlavaMptForCausalLM"]}, "its class is LlavaMptForCausalLM"),
    ({"quantization_config": {"quant_method": "awq"}}, r"quantised \(awq\)"),
    ({"mm_projector_type": "mlp3x_gelu"}, "its projector is mlp3x_gelu"),
    ({"mm_vision_tower": "google/siglip-so400m-patch14-384"}, "no CLIP.*llava-onevision"),
    ({"mm_resampler_type": "spatial_pool"}, "the resampler spatial_pool"),
    ({"image_aspect_ratio": "anyres_max_9"}, "'anyres_max_9'"),
    ({"hidden_size": None}, "lacks hidden_size"),
])  # fmt: skip
def test_what_has_no_exact_counterpart_is_refused_by_name(
    changes: dict[str, Any], message: str, tower: Path, vocabulary: Path, tmp_path: Path
) -> None:
    folder = make_original(tmp_path / "model", tower, vocabulary)
    raw = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", raw | changes)
    with pytest.raises(EngineError, match=message):
        TransformersEngine(folder)


def test_a_bare_class_name_is_refused_before_a_default_model_is_built(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"model_type": "llava", "architectures": ["LlavaLlamaForCausalLM"]})
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(EngineError, match=r"original LLaVA folder, but its config\.json lacks hidden_size"):
        TransformersEngine(tmp_path)


@pytest.mark.parametrize("name", ["lm_head.weight", "model.mm_projector.2.bias", "model.layers.1.mlp.up_proj.weight"])
def test_a_lost_weight_is_not_made_up(name: str, tower: Path, vocabulary: Path, tmp_path: Path) -> None:
    folder = make_original(tmp_path / "model", tower, vocabulary, binary=False)
    state = Reference(folder, tower).state
    del state[name]
    write_weights(folder, state, binary=False)
    with pytest.raises(EngineError, match="1 weights are missing"):
        TransformersEngine(folder)


def test_quantised_weights_are_told_by_their_names(tower: Path, vocabulary: Path, tmp_path: Path) -> None:
    folder = make_original(tmp_path / "model", tower, vocabulary, binary=False)
    state = Reference(folder, tower).state
    state["model.layers.0.mlp.up_proj.qweight"] = state.pop("model.layers.0.mlp.up_proj.weight").to(torch.int32)
    write_weights(folder, state, binary=False)
    with pytest.raises(EngineError, match=r"quantised \(model\.layers\.0\.mlp\.up_proj\.qweight\)"):
        TransformersEngine(folder)


def test_an_image_token_in_a_response_is_text(
    tower: Path, vocabulary: Path, prompts: list[Prompt], tmp_path: Path
) -> None:
    engine = TransformersEngine(make_original(tmp_path / "model", tower, vocabulary))
    ids = engine.encoder.continuation_ids("an <image> and </s>")
    assert not {1, 2, 3} & set(ids)
    assert engine.encoder.decode(ids) == "an <image> and </s>"
    (measured,) = engine.logprobs(prompts[:1], ["an <image> and </s>"])
    assert list(measured.token_ids) == ids
    assert "<image>" in (next(iter(engine.generate([replace(prompts[0], text="an <image>")], GREEDY))).failure or "")
