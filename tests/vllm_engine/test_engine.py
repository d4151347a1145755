"""Real vLLM on a CPU against the transformers engine: the same text, the same probabilities, seeds that hold."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from peft import LoraConfig, get_peft_model

from evalkit.engines.model.loading import load_checkpoint
from evalkit.engines.model.parity import TIE
from evalkit.engines.transformers import TransformersEngine
from evalkit.engines.vllm import VLLMEngine
from evalkit.errors import EngineError
from evalkit.sampling import Sampling
from evalkit.schema import Prompt, Response

GREEDY = Sampling(max_new_tokens=16)
SETTINGS = {"enforce_eager": True, "max_model_len": 512, "max_num_seqs": 16}
TEXTS = ("There is a dog in the park.", "yes", "The image shows a kitchen with a dining table.", "")


@pytest.fixture(scope="module", params=["llava", "idefics3"])
def engines(request: pytest.FixtureRequest) -> Iterator[tuple[VLLMEngine, TransformersEngine]]:
    """Both engines on one checkpoint."""
    checkpoint: Path = request.getfixturevalue(request.param)
    engine = VLLMEngine(checkpoint, **SETTINGS)
    try:
        yield engine, TransformersEngine(checkpoint)
    finally:
        engine.close()


def by_key(responses: Iterator[Response]) -> dict[tuple[str, int], Response]:
    return {(response.prompt_id, response.sample): response for response in responses}


def gap(engine: TransformersEngine, prompt: Prompt, ours: Response, theirs: Response) -> float:
    """Difference of the log-probabilities of the first differing tokens."""
    end = (min(engine.end_ids),)
    a, b = (ours.token_ids or ()) + end, (theirs.token_ids or ()) + end
    at = next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    first, second = engine.logprobs([prompt, prompt], [a[: at + 1], b[: at + 1]])
    return abs(first.logprobs[-1] - second.logprobs[-1])


def test_greedy_text_is_that_of_transformers(
    engines: tuple[VLLMEngine, TransformersEngine], prompts: list[Prompt]
) -> None:
    vllm, transformers = engines
    ours, theirs = by_key(vllm.generate(prompts, GREEDY)), by_key(transformers.generate(prompts, GREEDY))
    assert len(ours) == len(prompts) == 100
    differing = {
        p.id: gap(transformers, p, ours[p.id, 0], theirs[p.id, 0]) for p in prompts if ours[p.id, 0] != theirs[p.id, 0]
    }
    assert {name: size for name, size in differing.items() if size > TIE["float32"]} == {}
    assert len(differing) <= 5


def test_logprobs_and_choices_are_those_of_transformers(
    engines: tuple[VLLMEngine, TransformersEngine], prompts: list[Prompt]
) -> None:
    vllm, transformers = engines
    chosen = prompts[: 4 * len(TEXTS)]
    texts = [TEXTS[i % len(TEXTS)] for i in range(len(chosen))]
    for ours, theirs in zip(vllm.logprobs(chosen, texts), transformers.logprobs(chosen, texts), strict=True):
        assert ours.token_ids == theirs.token_ids
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-3)
    groups = [["yes", "Yes"], ["no", "No"]]
    for mine, other in zip(vllm.choices(chosen, groups), transformers.choices(chosen, groups), strict=True):
        assert mine.masses == pytest.approx(other.masses, rel=1e-3)
        assert mine.argmax == other.argmax


def test_sampled_responses_depend_on_their_seed_alone(
    engines: tuple[VLLMEngine, TransformersEngine], prompts: list[Prompt]
) -> None:
    vllm, _ = engines
    sampling = Sampling(temperature=1.0, n=4, max_new_tokens=12, seed=3)
    first = by_key(vllm.generate(prompts[:25], sampling))
    again = by_key(vllm.generate(prompts[24::-2], sampling))  # another order, another batch
    assert len(first) == 100
    assert {key: first[key] for key in again} == again
    assert len({first[prompts[0].id, sample].text for sample in range(4)}) > 1
    other = by_key(vllm.generate(prompts[:5], Sampling(temperature=1.0, n=4, max_new_tokens=12, seed=4)))
    assert any(first[key] != other[key] for key in other)


def test_the_image_token_is_never_written(
    engines: tuple[VLLMEngine, TransformersEngine], prompts: list[Prompt]
) -> None:
    vllm, _ = engines
    hot = Sampling(temperature=2.0, max_new_tokens=64)  # the highest vLLM takes
    written = {token for response in vllm.generate(prompts[:32], hot) for token in response.token_ids or ()}
    assert len(written) > 50
    assert not written & set(vllm.encoder.placeholder_ids)


def test_a_prompt_beyond_the_context_is_a_failed_response(
    engines: tuple[VLLMEngine, TransformersEngine], prompts: list[Prompt]
) -> None:
    vllm, _ = engines
    long = Prompt("long", "What is this? " * 300, prompts[0].images)
    found = by_key(vllm.generate([prompts[0], long, prompts[1]], GREEDY))
    assert "512" in (found["long", 0].failure or "")
    assert found[prompts[1].id, 0].failure is None


def test_a_killed_worker_is_an_error_and_what_was_finished_stays(
    engines: tuple[VLLMEngine, TransformersEngine], prompts: list[Prompt]
) -> None:
    vllm, _ = engines  # the last test on this engine
    finished: list[Response] = []

    def work() -> None:
        for response in vllm.generate(prompts, Sampling(max_new_tokens=64)):
            finished.append(response)
            if len(finished) == 5:
                kill_processes_of_vllm()

    with pytest.raises(EngineError, match=r"engine has died .*rerun the same command to resume"):
        work()
    assert 5 <= len(finished) < 100
    assert all(response.failure is None for response in finished)


@pytest.fixture(scope="module")
def adapted(llava_next: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VLLMEngine, Path, Path]]:
    """vLLM on LLaVA-NeXT with a LoRA adapter on every linear layer of its language model; the base; the adapter."""
    folder = tmp_path_factory.mktemp("adapter")
    model = load_checkpoint(llava_next).model
    torch.manual_seed(1)
    layers = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
    wrapped = get_peft_model(model, LoraConfig(r=4, target_modules=layers))
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    wrapped.save_pretrained(folder)
    engine = VLLMEngine(llava_next, adapter=folder, **SETTINGS)
    try:
        yield engine, llava_next, folder
    finally:
        engine.close()


def test_an_adapter_on_llava_next_answers_as_in_transformers(
    adapted: tuple[VLLMEngine, Path, Path], prompts: list[Prompt]
) -> None:
    vllm, base, adapter = adapted
    asked = prompts[:24]
    ours = by_key(vllm.generate(asked, GREEDY))
    plain, with_adapter = TransformersEngine(base), TransformersEngine(base, adapter=adapter)
    theirs = by_key(with_adapter.generate(asked, GREEDY))
    differing = {
        p.id: gap(with_adapter, p, ours[p.id, 0], theirs[p.id, 0]) for p in asked if ours[p.id, 0] != theirs[p.id, 0]
    }
    assert {name: size for name, size in differing.items() if size > TIE["float32"]} == {}
    assert len(differing) <= 2
    assert sum(ours[key] != response for key, response in by_key(plain.generate(asked, GREEDY)).items()) > 12
    for found, expected in zip(vllm.logprobs(asked[:4], TEXTS), with_adapter.logprobs(asked[:4], TEXTS), strict=True):
        assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-3)


def kill_processes_of_vllm() -> None:
    """End the engine and worker processes that this process started."""
    for child in psutil.Process().children(recursive=True):
        if "VLLM" in " ".join(child.cmdline()):
            os.kill(child.pid, signal.SIGKILL)
