"""Families beyond LLaVA: generation, batches, choices, log-probabilities and two training steps, or a refusal."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checkpoints import DOCS, told_families
from family_checks import ALL, Checks, row_of, some_prompts
from tiny_families import build_further, save_further

from evalkit.engines.model.inputs.prompt_formats import PromptFormat
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import EngineError
from evalkit.schema import Prompt


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list[Prompt]:
    return some_prompts(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("family", ALL)
def test_a_family_does_what_its_row_in_docs_says(family: str, prompts: list[Prompt], tmp_path: Path) -> None:
    found = row_of(family, prompts, tmp_path)
    assert "no:" not in found
    assert found == told_families(DOCS.read_text("utf-8"))[family], "write it again: python -m tests.checkpoints"


def test_a_family_that_fails_a_check_has_no_yes_there(prompts: list[Prompt], tmp_path: Path) -> None:
    checks = Checks("paligemma", prompts, tmp_path)
    checks.engine.encoder.format = replace(checks.engine.encoder.format, text_type=0)
    cells = dict(checks.cells())
    assert cells["logprobs"].startswith("no: ")
    assert cells["generate"] == "yes"


def test_a_response_that_sees_its_own_future_is_refused(prompts: list[Prompt]) -> None:
    engine = TransformersEngine.from_live(*build_further("paligemma"), name="paligemma")
    engine.encoder.format = replace(engine.encoder.format, text_type=0)
    with pytest.raises(EngineError, match="lets a response's tokens see later ones"):
        engine.logprobs(prompts[:1], ["There is a dog."])


def test_without_a_format_the_message_names_no_other_familys_template() -> None:
    model, processor = build_further("idefics2")
    processor.chat_template = None
    with pytest.raises(EngineError, match="none is built in for it") as caught:
        TransformersEngine.from_live(model, processor, name="x")
    assert "llava" not in str(caught.value).lower()
    assert PromptFormat().template is None


@pytest.mark.parametrize(("config", "message"), [
    ({"model_type": "blip-2", "vision_config": {}, "qformer_config": {}, "text_config": {"model_type": "t5"}},
     r"encoder-decoder \(t5\).*decoder-only"),
    ({"model_type": "llava"}, "neither text_config nor vision_config.*billions"),
    ({"model_type": "minicpmv", "auto_map": {"AutoConfig": "x.Y"}}, "vllm serve MODEL --trust-remote-code.*openai"),
    ({"model_type": "omnilmm"}, "authors' code only.*evalkit score"),
    ({"model_type": "idefics", "vision_config": {}}, "images behind the text.*Idefics2.*evalkit score"),
    ({"model_type": "fuyu", "text_config": {}}, "no chat format: use a chat model.*evalkit score"),
    ({"model_type": "kosmos-2", "text_config": {}, "vision_config": {}}, "ground captions.*evalkit score"),
    ({"model_type": "git", "vision_config": {}}, "trained on captions.*evalkit score"),
    ({"model_type": "florence2", "text_config": {}, "vision_config": {}}, "encoder-decoder.*<CAPTION>.*evalkit score"),
    ({"model_type": "pix2struct"}, "drawn into the image.*evalkit score"),
    ({"model_type": "something", "auto_map": {"AutoConfig": "x.Y"}}, "code of its own, which is not run here"),
])  # fmt: skip
def test_what_cannot_run_here_is_refused_from_its_configuration(
    config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineError, match=message):
        TransformersEngine(tmp_path)


@pytest.mark.parametrize("text", ["a </s> b", "an <image> of it", "<unk><s>"])
def test_control_tokens_in_a_response_are_text(text: str, prompts: list[Prompt]) -> None:
    engine = TransformersEngine.from_live(*build_further("paligemma"), name="paligemma")
    ids = engine.encoder.continuation_ids(text)
    special = set(engine.encoder.tokenizer.all_special_ids) | set(engine.encoder.placeholder_ids)
    assert not special & set(ids)
    assert engine.encoder.decode(ids) == text
    assert len(engine.logprobs(prompts[:1], [text])[0].logprobs) == len(ids)


def test_sampling_settings_of_a_checkpoint_do_not_stop_it_from_being_saved(tmp_path: Path) -> None:
    folder = save_further("idefics2", tmp_path / "model")
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(settings | {"temperature": 0.9, "top_p": 0.6}))
    engine = TransformersEngine(folder)
    engine.model.save_pretrained(tmp_path / "saved")  # raised ValueError
    assert engine.model.generation_config.temperature is None
