"""Checkpoints load with their processor and adapter, or say what is wrong with them."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import build_tiny, save_tiny, torchvision_problem
from transformers import LlamaConfig, LlamaForCausalLM

from evalkit.engines.model.loading import load_checkpoint
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import EngineError
from evalkit.images import ImageFile
from evalkit.sampling import Sampling
from evalkit.schema import Prompt

GREEDY = Sampling(max_new_tokens=8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llava", tmp_path_factory.mktemp("models") / "llava")


@pytest.fixture(scope="module")
def adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter that changes the answers."""
    folder = tmp_path_factory.mktemp("models") / "lora"
    model = load_checkpoint(checkpoint).model
    torch.manual_seed(1)
    wrapped = get_peft_model(model, LoraConfig(r=4, target_modules=r".*language_model.*(q|v)_proj"))
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=1.0)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture
def prompt(tmp_path: Path) -> Prompt:
    Image.new("RGB", (40, 30), (200, 0, 0)).save(tmp_path / "a.png")
    return Prompt("0", "Describe the image.", (ImageFile(tmp_path, "a.png"),))


def answer(engine: TransformersEngine, prompt: Prompt) -> str | None:
    return next(iter(engine.generate([prompt], GREEDY))).text


def test_saved_checkpoint_answers_like_the_live_model(checkpoint: Path, prompt: Prompt) -> None:
    live = TransformersEngine.from_live(*build_tiny("llava"), name="live")
    assert answer(TransformersEngine(checkpoint), prompt) == answer(live, prompt)


def test_dtype_is_as_asked_and_recorded(checkpoint: Path, prompt: Prompt) -> None:
    engine = TransformersEngine(checkpoint, dtype="bfloat16")
    assert engine.describe()["dtype"] == "bfloat16"
    assert answer(engine, prompt) is not None


def test_adapter_changes_the_answer_and_is_recorded(checkpoint: Path, adapter: Path, prompt: Prompt) -> None:
    base, tuned = TransformersEngine(checkpoint), TransformersEngine(checkpoint, adapter=adapter)
    assert answer(tuned, prompt) != answer(base, prompt)
    assert (base.describe()["adapter"], tuned.describe()["adapter"]) == (None, str(adapter))


def test_adapter_folder_alone_stands_for_its_base_with_the_adapter(
    checkpoint: Path, adapter: Path, prompt: Prompt
) -> None:
    assert answer(TransformersEngine(adapter), prompt) == answer(
        TransformersEngine(checkpoint, adapter=adapter), prompt
    )


def test_content_hash_tells_models_apart_and_not_files(checkpoint: Path, adapter: Path, tmp_path: Path) -> None:
    def content(folder: Path, **options: Any) -> str:
        return str(TransformersEngine(folder, **options).describe()["content"])

    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    load_checkpoint(checkpoint).model.save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    for path in checkpoint.iterdir():
        if not (tmp_path / "shards" / path.name).exists() and path.suffix != ".safetensors":
            shutil.copy(path, tmp_path / "shards")
    assert content(copy) == content(checkpoint) == content(tmp_path / "shards")
    found = {content(checkpoint), content(checkpoint, adapter=adapter), content(save_tiny("llava", copy, seed=9))}
    settings = json.loads((checkpoint / "config.json").read_text())
    settings["text_config"]["rms_norm_eps"] = 0.5
    shutil.copytree(checkpoint, tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text(json.dumps(settings))
    assert len(found | {content(tmp_path / "other")}) == 4


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/no/such/folder", "./missing", "one/two/three"])
def test_missing_folder_is_named(name: str) -> None:
    with pytest.raises(EngineError, match=f"{name} does not exist"):
        load_checkpoint(name)


def test_folder_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no config\.json"):
        load_checkpoint(tmp_path)


def test_unreadable_configuration_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    (copy / "config.json").write_text('{"model_type": "lla')
    with pytest.raises(EngineError, match="cannot read the configuration"):
        load_checkpoint(copy)


def test_text_only_checkpoint_is_refused(tmp_path: Path) -> None:
    config = LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=32
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(EngineError, match=r"not a vision-language checkpoint.*'llama'"):
        load_checkpoint(tmp_path)


def test_torn_weights_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[:1000])
    with pytest.raises(EngineError, match="cannot load the model"):
        load_checkpoint(copy)


class _Opens:
    """An object whose unpickling would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("what", ["a pickle that starts code", "empty", "torn"])
def test_weights_that_are_no_tensors_are_refused_in_one_line(checkpoint: Path, tmp_path: Path, what: str) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    data = pickle.dumps(_Opens(tmp_path / "made"))
    (copy / "pytorch_model.bin").write_bytes({"empty": b"", "torn": data[:20]}.get(what, data))
    with pytest.raises(EngineError, match="cannot load the model") as caught:
        load_checkpoint(copy)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "made").exists()


def test_absent_weights_are_not_made_up(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    lost = next(name for name in weights if "q_proj" in name)
    del weights[lost]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"1 weights of its model are missing.*q_proj"):
        load_checkpoint(copy)


def test_weights_of_another_size_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    wrong = next(name for name in weights if "q_proj" in name)
    weights[wrong] = weights[wrong][:, :-1].contiguous()
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match=r"1 weights .* of another size, e\.g\. .*q_proj.*belong together"):
        load_checkpoint(copy)


def test_checkpoint_without_processor_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "copy")
    for path in copy.glob("*processor*"):
        path.unlink()
    for path in copy.glob("token*"):
        path.unlink()
    with pytest.raises(EngineError, match="processor"):
        load_checkpoint(copy)


def test_unknown_dtype_lists_the_known(checkpoint: Path) -> None:
    with pytest.raises(EngineError, match=r"float31.*bfloat16"):
        load_checkpoint(checkpoint, dtype="float31")


def test_image_backend_is_pil_whatever_is_installed(checkpoint: Path) -> None:
    assert type(load_checkpoint(checkpoint).processor.image_processor).__name__ == "CLIPImageProcessorPil"


def test_image_backend_that_is_not_there_is_refused(checkpoint: Path) -> None:
    with pytest.raises(EngineError, match=r"known: pil, torchvision"):
        load_checkpoint(checkpoint, image_backend="cv2")
    if torchvision_problem() is not None:
        with pytest.raises(EngineError, match="not usable here"):
            load_checkpoint(checkpoint, image_backend="torchvision")


def test_folder_that_is_no_adapter_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no adapter_config\.json"):
        load_checkpoint(checkpoint, adapter=tmp_path)


def test_adapter_without_weights_is_refused(checkpoint: Path, adapter: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(adapter, tmp_path / "copy")
    (copy / "adapter_model.safetensors").unlink()
    with pytest.raises(EngineError, match="does not fit this model"):
        load_checkpoint(checkpoint, adapter=copy)


def test_torn_adapter_is_refused(checkpoint: Path, adapter: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(adapter, tmp_path / "copy")
    whole = (copy / "adapter_model.safetensors").read_bytes()
    (copy / "adapter_model.safetensors").write_bytes(whole[:100])
    with pytest.raises(EngineError, match="does not fit this model"):
        load_checkpoint(checkpoint, adapter=copy)


@pytest.mark.parametrize("change", ["rename", "drop"])
def test_adapter_of_another_model_is_refused(checkpoint: Path, adapter: Path, tmp_path: Path, change: str) -> None:
    copy = shutil.copytree(adapter, tmp_path / "copy")
    weights = load_file(copy / "adapter_model.safetensors")
    name = next(iter(weights))
    tensor = weights.pop(name)
    if change == "rename":
        weights[name.replace("layers.0", "layers.9")] = tensor
    save_file(weights, copy / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EngineError, match="weights unmatched"):
        load_checkpoint(checkpoint, adapter=copy)


def test_adapter_folder_whose_base_is_gone_names_the_base(adapter: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(adapter, tmp_path / "copy")
    settings = json.loads((copy / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "/gone/base"
    (copy / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(EngineError, match="/gone/base does not exist"):
        load_checkpoint(copy)
