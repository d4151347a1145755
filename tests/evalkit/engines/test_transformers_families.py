"""Every model family goes through generate, logprobs and choices, checked against a plain call of the model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import FAMILIES, TORCHVISION_FAMILIES, build_tiny, torchvision_problem

from evalkit.engines.model.parity import check_parity
from evalkit.engines.transformers import TransformersEngine
from evalkit.images import ImageFile
from evalkit.sampling import Sampling
from evalkit.schema import Prompt, Response

GREEDY = Sampling(max_new_tokens=10)
PROMPTS = 9


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list[Prompt]:
    """Images of mixed sizes, questions of mixed lengths, one prompt without an image, one with a system text."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(3)
    found = [Prompt("text", "Is there a dog? Answer yes or no.", system="Be brief.")]
    for i in range(PROMPTS - 1):
        height, width = random.integers(28, 90, 2)
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        text = "Describe the image." + " There is a chair." * (i % 3)
        found.append(Prompt(f"p{i}", text, (ImageFile(folder, f"{i}.png"),), system="Be brief." if i == 0 else None))
    return found


def family_engine(family: str) -> TransformersEngine:
    problem = torchvision_problem() if family in TORCHVISION_FAMILIES else None
    if problem is not None:
        pytest.skip(problem)
    if family == "smolvlm":
        pytest.importorskip("num2words")
    model, processor = build_tiny(family)
    return TransformersEngine.from_live(model, processor, name=family)


@pytest.fixture(scope="module", params=[*FAMILIES, *TORCHVISION_FAMILIES])
def engine(request: pytest.FixtureRequest) -> TransformersEngine:
    return family_engine(request.param)


def plain_inputs(engine: TransformersEngine, prompt: Prompt) -> Any:
    """The prompt encoded by the processor alone, without this project's code."""
    processor = engine.encoder.processor
    content = [{"type": "image"} for _ in prompt.images] + [{"type": "text", "text": prompt.text}]
    messages = [{"role": "user", "content": content}]
    if prompt.system:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt.system}]})
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    images = [Image.open(file.path).convert("RGB") for file in prompt.images]
    template_has_bos = text.startswith(processor.tokenizer.bos_token)
    return processor(text=[text], images=images or None, return_tensors="pt", add_special_tokens=not template_has_bos)


def plain_greedy(engine: TransformersEngine, prompt: Prompt, tokens: int) -> list[int]:
    """Token by token without cache, padding or batch; placeholders suppressed, nothing after the end token."""
    inputs, written = plain_inputs(engine, prompt), list[int]()
    for _ in range(tokens):
        logits = plain_logits(engine, inputs, written)[-1]
        logits[list(engine.encoder.placeholder_ids)] = float("-inf")
        written.append(int(logits.argmax()))
        if written[-1] in engine.end_ids:
            return written[:-1]
    return written


def plain_logits(engine: TransformersEngine, inputs: Any, more: list[int]) -> torch.Tensor:
    """Logits (len(more) + 1, V) from the last prompt token on."""
    extended = dict(inputs)
    length = inputs["input_ids"].shape[1]
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor) and value.shape == inputs["input_ids"].shape:
            tail = {"input_ids": torch.tensor([more], dtype=torch.long), "attention_mask": torch.ones(1, len(more))}
            extended[name] = torch.cat([value, tail.get(name, torch.zeros(1, len(more))).to(value.dtype)], dim=1)
    with torch.no_grad():
        logits: torch.Tensor = engine.model(**extended).logits
    return logits[0, length - 1 :].float()


def by_key(responses: Any) -> dict[tuple[str, int], Response]:
    return {(response.prompt_id, response.sample): response for response in responses}


def test_greedy_response_is_that_of_a_plain_loop_over_the_model(
    engine: TransformersEngine, prompts: list[Prompt]
) -> None:
    responses = by_key(engine.generate(prompts, GREEDY))
    for prompt in prompts[:4]:
        assert list(responses[prompt.id, 0].token_ids or ()) == plain_greedy(engine, prompt, GREEDY.max_new_tokens)


@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        Sampling(max_new_tokens=10, temperature=1.0, top_p=0.9, n=2, seed=5),
        Sampling(max_new_tokens=6, num_beams=3),
    ],
    ids=["greedy", "sampled", "beams"],
)
def test_responses_do_not_depend_on_batch_size_or_order(
    engine: TransformersEngine, prompts: list[Prompt], sampling: Sampling
) -> None:
    found = []
    for size, order in ((1, prompts), (4, prompts), (64, prompts[::-1])):
        engine.batch_size = size
        found.append(by_key(engine.generate(order, sampling)))
    assert len(found[0]) == len(prompts) * sampling.n
    assert found[0] == found[1] == found[2]


def test_samples_of_one_prompt_differ(engine: TransformersEngine, prompts: list[Prompt]) -> None:
    sampling = Sampling(max_new_tokens=10, temperature=1.0, n=4)
    assert len({response.text for response in engine.generate(prompts[:1], sampling)}) > 1


def test_logprobs_are_those_of_a_plain_forward_whatever_the_padding(
    engine: TransformersEngine, prompts: list[Prompt]
) -> None:
    continuations = ["There is a dog." * (1 + i % 3) for i in range(len(prompts))]
    engine.batch_size = 8
    found = engine.logprobs(prompts, continuations)
    for prompt, text, row in zip(prompts, continuations, found, strict=True):
        assert list(row.token_ids) == engine.encoder.continuation_ids(text)
        logits = plain_logits(engine, plain_inputs(engine, prompt), list(row.token_ids))
        expected = logits[:-1].log_softmax(-1).gather(1, torch.tensor(row.token_ids)[:, None])[:, 0]
        assert row.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_choices_are_the_masses_of_the_first_token(engine: TransformersEngine, prompts: list[Prompt]) -> None:
    groups = [["yes", "Yes"], ["no", "No"]]
    engine.batch_size = 8
    for prompt, choice in zip(prompts, engine.choices(prompts, groups), strict=True):
        logits = plain_logits(engine, plain_inputs(engine, prompt), [])[0]
        probabilities = logits.double().softmax(-1)
        for group, mass in zip(groups, choice.masses, strict=True):
            firsts = {engine.encoder.continuation_ids(form)[0] for form in group}
            assert mass == pytest.approx(sum(probabilities[i].item() for i in firsts), rel=1e-4)
        assert choice.argmax == engine.encoder.decode([int(logits.argmax())])


def test_parity_holds_in_float32(engine: TransformersEngine, prompts: list[Prompt]) -> None:
    report = check_parity(engine, prompts, n=len(prompts), batch_sizes=(4, 8), max_new_tokens=10)
    assert report.identical
    assert (report.checked, report.dtype) == (len(prompts), "float32")


def test_saved_checkpoint_loads_and_answers_alike(
    engine: TransformersEngine, prompts: list[Prompt], tmp_path: Path
) -> None:
    """The live processors of the torchvision families use torchvision, so the loaded ones are asked to."""
    engine.model.save_pretrained(tmp_path)
    engine.encoder.processor.save_pretrained(tmp_path)
    is_pil = type(engine.encoder.processor.image_processor).__name__.endswith("Pil")
    loaded = TransformersEngine(tmp_path, image_backend="pil" if is_pil else "torchvision")
    assert by_key(loaded.generate(prompts, GREEDY)) == by_key(engine.generate(prompts, GREEDY))
    assert loaded.encoder.placeholder_ids == engine.encoder.placeholder_ids


def test_placeholder_tokens_are_never_written(engine: TransformersEngine, prompts: list[Prompt]) -> None:
    model = engine.model
    old = model.get_output_embeddings()
    eager = torch.nn.Linear(old.in_features, old.out_features)
    with torch.no_grad():
        eager.weight.copy_(old.weight)
        eager.bias.zero_()
        eager.bias[list(engine.encoder.placeholder_ids)] = 1e4
    model.set_output_embeddings(eager)
    try:
        for sampling in (GREEDY, Sampling(max_new_tokens=10, temperature=1.0), Sampling(max_new_tokens=5, num_beams=2)):
            for response in engine.generate(prompts[:3], sampling):
                assert not set(response.token_ids or ()) & set(engine.encoder.placeholder_ids)
    finally:
        model.set_output_embeddings(old)
