"""What the transformers engine does at its edges: bad input, shortage of memory, ends of responses, templates."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_models import build_tiny

from evalkit.engines.model.surface_forms import split_forms
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import DataError, EngineError
from evalkit.images import ImageFile
from evalkit.sampling import Sampling
from evalkit.schema import Prompt, Response

GREEDY = Sampling(max_new_tokens=6)


@pytest.fixture
def engine() -> TransformersEngine:
    model, processor = build_tiny("llava")
    return TransformersEngine.from_live(model, processor, name="tiny", batch_size=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(6):
        Image.new("RGB", (40, 30), (40 * i, 90, 200)).save(tmp_path / f"{i}.png")
    return tmp_path


def ask(folder: Path, name: str, text: str = "Describe the image.") -> Prompt:
    return Prompt(name, text, (ImageFile(folder, f"{name}.png"),))


def texts(responses: Any) -> dict[str, str | None]:
    return {response.prompt_id: response.text for response in responses}


def with_bias(engine: TransformersEngine, token: int) -> None:
    """Make the model prefer one token at every step."""
    old = engine.model.get_output_embeddings()
    new = torch.nn.Linear(old.in_features, old.out_features)
    with torch.no_grad():
        new.weight.copy_(old.weight)
        new.bias.zero_()
        new.bias[token] = 1e4
    engine.model.set_output_embeddings(new)


# --- ends of responses ------------------------------------------------------------------------------------------------


def test_response_of_only_the_end_token_is_empty_text_not_a_failure(engine: TransformersEngine, folder: Path) -> None:
    with_bias(engine, engine.encoder.tokenizer.eos_token_id)
    (response,) = engine.generate([ask(folder, "0")], GREEDY)
    assert response == Response("0", text="", finish="stop", token_ids=(), tokens=0)


def test_response_cut_at_the_limit_says_length(engine: TransformersEngine, folder: Path) -> None:
    (response,) = engine.generate([ask(folder, "0")], GREEDY)
    assert (response.finish, response.tokens) == ("length", GREEDY.max_new_tokens)
    assert len(response.token_ids or ()) == GREEDY.max_new_tokens


def test_greedy_samples_are_repeated(engine: TransformersEngine, folder: Path) -> None:
    responses = list(engine.generate([ask(folder, "0")], Sampling(max_new_tokens=4, n=3)))
    assert [response.sample for response in responses] == [0, 1, 2]
    assert len({response.text for response in responses}) == 1


def test_sampled_text_depends_on_seed_and_prompt_id_alone(engine: TransformersEngine, folder: Path) -> None:
    sampling = Sampling(max_new_tokens=8, temperature=1.0, seed=1)
    prompts = [ask(folder, str(i)) for i in range(5)]
    together = texts(engine.generate(prompts, sampling))
    assert texts(engine.generate(prompts[3:4], sampling)) == {"3": together["3"]}
    other_seed = Sampling(max_new_tokens=8, temperature=1.0, seed=2)
    assert texts(engine.generate(prompts, other_seed)) != together


def test_more_samples_than_rows_in_a_batch_are_split(engine: TransformersEngine, folder: Path) -> None:
    sampling = Sampling(max_new_tokens=4, temperature=1.0, n=7)
    few = {r.sample: r.text for r in engine.generate([ask(folder, "0")], sampling)}
    engine.batch_size = 16
    assert {r.sample: r.text for r in engine.generate([ask(folder, "0")], sampling)} == few
    assert sorted(few) == list(range(7))


def test_checkpoints_own_decoding_settings_are_not_applied(engine: TransformersEngine, folder: Path) -> None:
    (before,) = engine.generate([ask(folder, "0")], GREEDY)
    engine.model.generation_config.suppress_tokens = list(before.token_ids or ())
    engine.model.generation_config.repetition_penalty = 50.0
    assert list(engine.generate([ask(folder, "0")], GREEDY)) == [before]
    assert engine.model.generation_config.repetition_penalty == 50.0


# --- bad input --------------------------------------------------------------------------------------------------------


def test_missing_image_stops_before_anything_is_generated(engine: TransformersEngine, folder: Path) -> None:
    with pytest.raises(DataError, match=r"prompt 'absent': .*absent\.png"):
        next(engine.generate([ask(folder, "0"), ask(folder, "absent")], GREEDY))


def test_file_that_is_no_image_stops_before_anything_is_generated(engine: TransformersEngine, folder: Path) -> None:
    (folder / "text.png").write_text("not an image")
    with pytest.raises(DataError, match=r"prompt 'text': .*text\.png"):
        next(engine.generate([ask(folder, "0"), ask(folder, "text")], GREEDY))


def test_truncated_image_fails_its_own_prompt_only(engine: TransformersEngine, folder: Path) -> None:
    Image.effect_noise((64, 64), 90).save(folder / "torn.png")
    whole = (folder / "torn.png").read_bytes()
    (folder / "torn.png").write_bytes(whole[: len(whole) // 2])
    responses = {r.prompt_id: r for r in engine.generate([ask(folder, "0"), ask(folder, "torn")], GREEDY)}
    assert responses["0"].text is not None
    assert "torn.png" in (responses["torn"].failure or "")


def test_prompt_that_holds_the_image_token_fails(engine: TransformersEngine, folder: Path) -> None:
    (response,) = engine.generate([ask(folder, "0", "What does <image> mean?")], GREEDY)
    assert "'<image>'" in (response.failure or "")


def test_prompt_beyond_the_context_fails_and_others_do_not(engine: TransformersEngine, folder: Path) -> None:
    long = ask(folder, "1", "word " * 600)
    responses = {r.prompt_id: r for r in engine.generate([ask(folder, "0"), long], GREEDY)}
    assert responses["0"].text is not None
    assert "context of 1024 tokens" in (responses["1"].failure or "")


def test_no_prompts_give_no_responses(engine: TransformersEngine) -> None:
    assert list(engine.generate([], GREEDY)) == []
    assert engine.logprobs([], []) == []
    assert engine.choices([], [["yes"], ["no"]]) == []


def test_continuations_must_match_prompts(engine: TransformersEngine, folder: Path) -> None:
    with pytest.raises(DataError, match="2 for 1"):
        engine.logprobs([ask(folder, "0")], ["a", "b"])


def test_empty_continuation_has_no_logprobs(engine: TransformersEngine, folder: Path) -> None:
    empty, full = engine.logprobs([ask(folder, "0"), ask(folder, "1")], ["", "yes"])
    assert empty.token_ids == ()
    assert empty.total == 0
    assert full.token_ids


def test_logprobs_of_token_ids_are_those_of_the_response(engine: TransformersEngine, folder: Path) -> None:
    prompt = ask(folder, "0")
    (response,) = engine.generate([prompt], GREEDY)
    (found,) = engine.logprobs([prompt], [response.token_ids or ()])
    assert found.token_ids == response.token_ids


def test_model_is_handed_no_tensor_of_positions(
    engine: TransformersEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On several GPUs every tensor goes to the first one; hidden states on the last cannot be indexed by it."""
    handed: dict[str, Any] = {}
    forward: Callable[..., Any] = engine.model.forward

    def spy(*args: Any, **keywords: Any) -> Any:
        handed.update(keywords)
        return forward(*args, **keywords)

    monkeypatch.setattr(engine.model, "forward", spy)
    spy.__signature__ = __import__("inspect").signature(forward)  # type: ignore[attr-defined]
    prompts = [ask(folder, "0"), ask(folder, "1", "What is this?")]
    assert all(row.token_ids for row in engine.logprobs(prompts, ["yes", "There is a dog."]))
    encoded = engine.encoder.encode(prompts, padding_side="right").inputs
    inputs = {*encoded, "position_ids"}  # the latter as `generate` of transformers hands them: they go to every layer
    assert {name for name, value in handed.items() if isinstance(value, torch.Tensor)} <= inputs
    assert handed["logits_to_keep"] > 0


def test_empty_text_with_a_system_text_sends_the_system_message_alone(engine: TransformersEngine) -> None:
    assert engine.encoder.render(Prompt("0", "", system="List objects.")) == "SYSTEM: List objects. ASSISTANT:"
    (response,) = engine.generate([Prompt("0", "", system="List objects.")], GREEDY)
    assert response.text is not None


# --- memory -----------------------------------------------------------------------------------------------------------


def scarce(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch, rows: int, error: Exception) -> list[int]:
    """Let the model run out of memory above so many rows; returns the sizes that were tried."""
    tried: list[int] = []
    generate: Callable[..., Any] = engine.model.generate
    forward: Callable[..., Any] = engine.model.forward

    def limited(call: Callable[..., Any]) -> Callable[..., Any]:
        def inner(*args: Any, **keywords: Any) -> Any:
            tried.append(len(keywords["input_ids"]) if "input_ids" in keywords else 0)
            if tried[-1] > rows:
                raise error
            return call(*args, **keywords)

        return inner

    monkeypatch.setattr(engine.model, "generate", limited(generate))
    limited_forward = limited(forward)
    limited_forward.__signature__ = __import__("inspect").signature(forward)  # type: ignore[attr-defined]
    monkeypatch.setattr(engine.model, "forward", limited_forward)
    return tried


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "cublas", "cudnn", "python"],
)
def test_batch_is_halved_when_memory_runs_out(
    engine: TransformersEngine, folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    prompts = [ask(folder, str(i)) for i in range(6)]
    expected, expected_logprobs = texts(engine.generate(prompts, GREEDY)), engine.logprobs(prompts, ["yes"] * 6)
    tried = scarce(engine, monkeypatch, 1, error)
    assert texts(engine.generate(prompts, GREEDY)) == expected
    assert tried[0] == 4
    assert tried.count(4) == tried.count(2) == 1  # what did not fit is not tried again
    found = engine.logprobs(prompts, ["yes"] * 6)
    assert [row.total for row in found] == pytest.approx([row.total for row in expected_logprobs], abs=1e-4)


def test_batch_is_halved_when_memory_runs_out_while_logits_are_read(
    engine: TransformersEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [ask(folder, str(i)) for i in range(4)]
    expected = engine.logprobs(prompts, ["yes"] * 4)
    errors = [torch.OutOfMemoryError("CUDA out of memory")]
    whole = torch.Tensor.log_softmax

    def scarce_once(logits: torch.Tensor, *args: Any) -> torch.Tensor:
        if errors:
            raise errors.pop()
        return whole(logits, *args)

    monkeypatch.setattr(torch.Tensor, "log_softmax", scarce_once)
    found = engine.logprobs(prompts, ["yes"] * 4)
    assert not errors
    assert [row.total for row in found] == pytest.approx([row.total for row in expected], abs=1e-4)


def test_single_sequence_that_does_not_fit_is_a_failure(
    engine: TransformersEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scarce(engine, monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    responses = list(engine.generate([ask(folder, "0"), ask(folder, "1")], Sampling(max_new_tokens=4, n=2)))
    assert len(responses) == 4
    assert all("out of memory" in (response.failure or "") for response in responses)
    with pytest.raises(EngineError, match="out of memory"):
        engine.logprobs([ask(folder, "0")], ["yes"])


def test_other_errors_of_the_model_are_engine_errors(
    engine: TransformersEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scarce(engine, monkeypatch, 0, RuntimeError("device-side assert"))
    with pytest.raises(EngineError, match="device-side assert"):
        list(engine.generate([ask(folder, "0")], GREEDY))


# --- choices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "prefix", "firsts"),
    [
        ([[[5], [6]], [[7], [8]]], [], [[5, 6], [7, 8]]),
        ([[[5, 1], [5, 2]], [[7]]], [], [[5], [7]]),
        ([[[3, 5]], [[3, 7]]], [3], [[5], [7]]),
        ([[[3, 5, 9]], [[3]]], None, None),
        ([[[5]], [[5, 7]]], None, None),
        ([[[]], [[5]]], None, None),
    ],
    ids=["distinct", "same form twice", "common beginning", "one begins the other", "shared", "empty form"],
)
def test_split_forms(groups: Any, prefix: Any, firsts: Any) -> None:
    if prefix is None:
        with pytest.raises(EngineError):
            split_forms(groups)
    else:
        assert split_forms(groups) == (prefix, firsts)


def test_masses_of_all_first_tokens_add_up_to_one(engine: TransformersEngine, folder: Path) -> None:
    tokenizer = engine.encoder.tokenizer
    engine.encoder.lead = ""
    ascii_letters = [chr(c) for c in range(33, 127)]
    firsts = {tokenizer(letter).input_ids[0] for letter in ascii_letters}
    (choice,) = engine.choices([ask(folder, "0")], [ascii_letters[:40], ascii_letters[40:]])
    assert 0 < sum(choice.masses) < 1
    assert len(firsts) == len(ascii_letters)


def test_masses_behind_a_common_beginning_are_of_the_whole_beginning(engine: TransformersEngine, folder: Path) -> None:
    prompt = ask(folder, "0")
    (choice,) = engine.choices([prompt], [["dog7"], ["dog8"]])
    for form, mass in zip(("dog7", "dog8"), choice.masses, strict=True):
        (row,) = engine.logprobs([prompt], [form])
        assert mass == pytest.approx(torch.tensor(row.total).exp().item(), rel=1e-3)


# --- live models, description, end ------------------------------------------------------------------------------------


def test_live_model_keeps_its_mode_and_gradients(engine: TransformersEngine, folder: Path) -> None:
    engine.model.train()
    engine.model.model.vision_tower.eval()
    list(engine.generate([ask(folder, "0")], GREEDY))
    assert engine.model.training
    assert not engine.model.model.vision_tower.training
    inputs = engine.encoder.encode([ask(folder, "0")], padding_side="right").inputs
    engine.model(**inputs).logits.sum().backward()
    assert engine.model.get_output_embeddings().weight.grad is not None


def test_description_is_json_and_changes_with_the_template(engine: TransformersEngine) -> None:
    described = dict(engine.describe())
    assert json.loads(json.dumps(described)) == described
    assert described["image_processor"] == "CLIPImageProcessorPil"
    other = TransformersEngine.from_live(
        engine.model, engine.encoder.processor, name="tiny", chat_template=engine.encoder.chat_template + "\n"
    )
    assert other.describe()["chat_template"] != described["chat_template"]


def test_training_step_changes_the_described_content(engine: TransformersEngine) -> None:
    before = engine.describe()["content"]
    assert engine.describe()["content"] == before
    with torch.no_grad():
        next(engine.model.parameters()).add_(1e-3)
    assert engine.describe()["content"] != before


def test_stop_finishes_the_batch_under_way(engine: TransformersEngine, folder: Path) -> None:
    responses = engine.generate([ask(folder, str(i)) for i in range(6)], GREEDY)
    next(responses)
    engine.stop()
    assert len(list(responses)) == engine.batch_size - 1


def test_closed_engine_says_so(engine: TransformersEngine) -> None:
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        list(engine.generate([Prompt("0", "Hello?")], GREEDY))


def refusing_wide_images(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that takes no image more than twice as wide as high, as Qwen's has a limit of 200."""
    whole = engine.encoder._features

    def features(processor: Any, texts: list[str], keywords: dict[str, Any]) -> dict[str, Any]:
        if any(image.width > 2 * image.height for row in keywords.get("images", ()) for image in row):
            raise ValueError("absolute aspect ratio must be smaller than 2")
        return whole(processor, texts, keywords)

    monkeypatch.setattr(engine.encoder, "_features", features)


@pytest.mark.parametrize("times", [1, 2])
def test_an_image_that_the_processor_refuses_fails_its_own_prompts_with_its_words(
    times: int, engine: TransformersEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (90, 30), "red").save(folder / "wide.png")
    wide = ImageFile(folder, "wide.png")
    prompts = [ask(folder, str(number)) for number in range(6)]
    alone = texts(engine.generate(prompts, GREEDY))
    refusing_wide_images(engine, monkeypatch)
    asked = [Prompt(f"wide {n}", f"What is in it, {n}?", (wide,)) for n in range(times)]
    responses = {r.prompt_id: r for r in engine.generate([*prompts[:2], *asked, *prompts[2:]], GREEDY)}
    for prompt in asked:
        assert responses[prompt.id].text is None
        assert "absolute aspect ratio must be smaller than 2" in str(responses[prompt.id].failure)
    assert {name: response.text for name, response in responses.items() if not name.startswith("wide")} == alone


def test_a_processor_that_refuses_every_image_ends_the_work(
    engine: TransformersEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def features(processor: Any, texts: list[str], keywords: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("no images here")

    monkeypatch.setattr(engine.encoder, "_features", features)
    with pytest.raises(EngineError, match="no images here"):
        list(engine.generate([ask(folder, "0"), ask(folder, "1")], GREEDY))
