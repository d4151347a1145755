"""Families beyond LLaVA: generation, batches, choices, log-probabilities and two training steps, or a refusal."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_families import FURTHER_FAMILIES, build_further, save_further
from tiny_models import FAMILIES, build_tiny, save_tiny

from aligners.ddpo import align_ddpo
from aligners.preference.pairs import Pair, write_pairs
from evalkit.engines.model.inputs.prompt_formats import PromptFormat
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import EngineError
from evalkit.images import ImageFile
from evalkit.sampling import Sampling
from evalkit.schema import Prompt

GREEDY = Sampling(max_new_tokens=8)
QUESTIONS = ("Is there a dog in the image?", "Yes", "Describe the image in detail.")
GROUPS = [["Yes", "yes"], ["No", "no"]]
ANSWERS = ["There is a dog.", "No", "a cup"]
ALL = (*FURTHER_FAMILIES, *FAMILIES)


def built(family: str) -> tuple[Any, Any]:
    """Model and processor of a family."""
    return build_further(family) if family in FURTHER_FAMILIES else build_tiny(family)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list[Prompt]:
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(draw.integers(0, 255, (30 + 7 * i, 40, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return [Prompt(str(i), QUESTIONS[i], (ImageFile(folder, f"{i}.png"),)) for i in range(3)]


def measured(engine: TransformersEngine, prompts: list[Prompt], size: int) -> tuple[Any, list[float], list[float]]:
    """(greedy ids, masses, log-probabilities) at a batch size."""
    engine.batch_size = size
    ids = {r.prompt_id: r.token_ids or r.failure for r in engine.generate(prompts, GREEDY)}
    masses = [mass for choice in engine.choices(prompts, GROUPS) for mass in choice.masses]
    logprobs = [value for row in engine.logprobs(prompts, ANSWERS) for value in row.logprobs]
    return ids, masses, logprobs


@pytest.mark.parametrize("family", ALL)
def test_a_batch_gives_what_each_prompt_gives_alone(family: str, prompts: list[Prompt]) -> None:
    engine = TransformersEngine.from_live(*built(family), name=family)
    alone, together = measured(engine, prompts, 1), measured(engine, prompts, 8)
    assert together[0] == alone[0]
    assert all(isinstance(ids, tuple) and ids for ids in alone[0].values())
    assert together[1] == pytest.approx(alone[1], rel=1e-4)
    assert together[2] == pytest.approx(alone[2], abs=1e-4)


@pytest.mark.parametrize("family", ALL)
def test_log_probabilities_are_those_of_generation(family: str, prompts: list[Prompt]) -> None:
    """Greedy decoding picks the most likely token: choices of the first, log-probabilities of all (their argmax)."""
    engine = TransformersEngine.from_live(*built(family), name=family)
    (response,) = engine.generate(prompts[:1], GREEDY)
    ids = response.token_ids or ()
    others = [engine.logprobs(prompts[:1], [[*ids[:t], token]])[0].logprobs[-1] for t in (0, 3) for token in (40, 50)]
    (row,) = engine.logprobs(prompts[:1], [list(ids)])
    assert row.logprobs[0] >= max(others[:2])
    assert row.logprobs[3] >= max(others[2:])


@pytest.mark.parametrize("family", ALL)
def test_two_training_steps_leave_a_checkpoint_that_answers(family: str, prompts: list[Prompt], tmp_path: Path) -> None:
    save = save_further if family in FURTHER_FAMILIES else save_tiny
    folder = save(family, tmp_path / "model")
    write_pairs(tmp_path / "pairs.jsonl", [
        Pair(p.id, str(p.images[0].path), p.text, "There is a dog.", f"There is a car {i}.")
        for i, p in enumerate(prompts)
    ])  # fmt: skip
    settings = {"batch_size": 1, "max_steps": 2, "lora": False, "gradient_checkpointing": False}
    align_ddpo(folder, tmp_path / "pairs.jsonl", tmp_path / "out", "dpo", settings)
    (response,) = TransformersEngine(tmp_path / "out").generate(prompts[:1], GREEDY)
    assert response.token_ids


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
