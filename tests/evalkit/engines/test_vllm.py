"""The vLLM engine's own logic, on a stand-in for vLLM; the real one is tested in tests/vllm_engine."""

import json
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_vllm import Script, install
from original_llava import make_original, make_tower, tiny_vocabulary
from PIL import Image
from safetensors.torch import save_file
from tiny_models import save_tiny

from evalkit.engines.vllm import VLLMEngine
from evalkit.engines.vllm_settings import files_hash
from evalkit.errors import DataError, EngineError, UsageError
from evalkit.images import ImageFile
from evalkit.sampling import Sampling
from evalkit.schema import Prompt, Response

GREEDY = Sampling(max_new_tokens=6)
SAMPLED = Sampling(temperature=0.7, n=3, max_new_tokens=6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llava", tmp_path_factory.mktemp("llava"))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Script()
    install(monkeypatch, script)
    return script


@pytest.fixture
def engine(checkpoint: Path, script: Script) -> Iterator[VLLMEngine]:
    engine = VLLMEngine(checkpoint)
    yield engine
    script.hold = False
    engine.close()


@pytest.fixture
def prompts(tmp_path: Path) -> list[Prompt]:
    for i in range(12):
        Image.new("RGB", (40, 30), (20 * i, 90, 200)).save(tmp_path / f"{i}.png")
    return [Prompt(f"p{i}", "Describe the image.", (ImageFile(tmp_path, f"{i}.png"),)) for i in range(12)]


# --- what is asked of vLLM --------------------------------------------------------------------------------------------


def test_prompts_go_as_the_tokens_of_the_template_with_one_placeholder_per_image(
    engine: VLLMEngine, script: Script, prompts: list[Prompt]
) -> None:
    list(engine.generate(prompts[:1], GREEDY))
    inputs, params, _ = script.requests[0]
    tokenizer = engine.encoder.tokenizer
    assert tokenizer.decode(inputs["prompt_token_ids"]) == engine.encoder.render(prompts[0])
    assert inputs["prompt_token_ids"].count(tokenizer.image_token_id) == 1
    assert inputs["multi_modal_data"]["image"][0].tobytes() == prompts[0].images[0].open().tobytes()
    assert inputs["multi_modal_uuids"] == {"image": [prompts[0].images[0].sha256()]}
    assert params.logit_bias == {tokenizer.image_token_id: -100.0}
    assert (params.temperature, params.seed, params.max_tokens) == (0.0, None, 6)


def test_every_sample_is_a_request_with_its_own_seed(engine: VLLMEngine, script: Script, prompts: list[Prompt]) -> None:
    responses = list(engine.generate(prompts, SAMPLED))
    assert sorted((r.prompt_id, r.sample) for r in responses) == sorted((p.id, s) for p in prompts for s in range(3))
    for response in responses:
        assert response.token_ids == (SAMPLED.seed_for(response.prompt_id, response.sample) % 100 + 10,)


def test_questions_about_one_image_follow_each_other_and_prefix_hits_are_counted(
    engine: VLLMEngine, script: Script, prompts: list[Prompt]
) -> None:
    script.cached, script.slots = 3, 1
    asked = [Prompt(f"{name}{i}", f"{i}?", p.images) for i in range(3) for name, p in zip("ab", prompts, strict=False)]
    assert len(list(engine.generate(asked, GREEDY))) == 6
    shown = [inputs["multi_modal_uuids"]["image"][0] for inputs, _, _ in script.requests]
    a, b = (prompt.images[0].sha256() for prompt in prompts[:2])
    assert shown == [a] * 3 + [b] * 3
    assert script.args is not None
    assert script.args.enable_prefix_caching
    given = sum(len(inputs["prompt_token_ids"]) for inputs, _, _ in script.requests)
    assert (engine.prompt_tokens.given, engine.prompt_tokens.spared) == (given, 6 * 3)


def test_requests_keep_their_order_though_one_picture_takes_longer_to_open(
    engine: VLLMEngine, script: Script, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ImageFile.open

    def slow(file: ImageFile) -> Image.Image:
        time.sleep(0.3 if file.name == "0.png" else 0.0)
        return plain(file)

    monkeypatch.setattr(ImageFile, "open", slow)
    list(engine.generate(prompts[:6], GREEDY))
    shown = [inputs["multi_modal_uuids"]["image"][0] for inputs, _, _ in script.requests]
    assert shown == [prompt.images[0].sha256() for prompt in prompts[:6]]


def test_greedy_responses_are_asked_once_and_repeated(
    engine: VLLMEngine, script: Script, prompts: list[Prompt]
) -> None:
    responses = list(engine.generate(prompts[:2], Sampling(n=3)))
    assert len(script.requests) == 2
    assert [r.sample for r in responses if r.prompt_id == "p0"] == [0, 1, 2]


def test_more_requests_are_handed_over_than_run_at_once(
    checkpoint: Path, script: Script, prompts: list[Prompt]
) -> None:
    script.slots, script.hold = 2, True
    engine = VLLMEngine(checkpoint, max_num_seqs=2, data_parallel_size=2)
    responses: list[Response] = []
    reader = threading.Thread(target=lambda: responses.extend(engine.generate(prompts, GREEDY)))
    reader.start()
    while script.most < 8:  # two windows of max_num_seqs * data_parallel_size
        reader.join(0.01)
    script.hold = False
    reader.join()
    assert (len(responses), script.most) == (12, 8)
    engine.close()


@pytest.mark.parametrize(
    ("ids", "max_tokens", "kept", "finish"),
    [
        ([20, 21, 2], 6, (20, 21), "stop"),
        ([20, 9], 6, (20,), "stop"),  # 9 ends a response by the generation settings
        ([2], 6, (), "stop"),
        ([20, 21, 22], 3, (20, 21, 22), "length"),
    ],
)
def test_end_tokens_are_cut_and_the_finish_reason_kept(
    checkpoint: Path, script: Script, prompts: list[Prompt], ids: list[int], max_tokens: int, kept: Any, finish: str
) -> None:
    script.ids = ids
    engine = VLLMEngine(checkpoint)
    (response,) = engine.generate(prompts[:1], Sampling(max_new_tokens=max_tokens))
    assert (response.token_ids, response.finish, response.tokens) == (kept, finish, len(kept))
    assert response.text == engine.encoder.decode(kept)
    engine.close()


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_refused_prompt_is_a_failed_response(engine: VLLMEngine, script: Script, prompts: list[Prompt]) -> None:
    long = Prompt("long", "Describe " * 200, prompts[0].images)
    script.refuse = 200
    found = {r.prompt_id: r for r in engine.generate([*prompts[:2], long], GREEDY)}
    assert found["long"].failure == "vLLM refused the prompt: The prompt is longer than the maximum model length"
    assert found["p0"].failure is None
    with pytest.raises(EngineError, match="'long': vLLM refused"):
        engine.logprobs([long], ["A dog."])


def test_a_truncated_image_fails_alone_and_a_missing_one_stops_all(
    engine: VLLMEngine, prompts: list[Prompt], tmp_path: Path
) -> None:
    whole = (tmp_path / "0.png").read_bytes()
    (tmp_path / "0.png").write_bytes(whole[: len(whole) // 2])
    found = {r.prompt_id: r for r in engine.generate(prompts[:3], GREEDY)}
    assert "0.png" in (found["p0"].failure or "")
    assert found["p1"].failure is None
    (tmp_path / "1.png").unlink()
    with pytest.raises(DataError, match=r"'p1'.*missing"):
        list(engine.generate(prompts, GREEDY))


def test_a_dead_engine_is_an_error_after_what_was_finished(
    engine: VLLMEngine, script: Script, prompts: list[Prompt]
) -> None:
    script.die_after = 8
    responses = engine.generate(prompts, GREEDY)
    assert len([next(responses) for _ in range(8)]) == 8
    with pytest.raises(EngineError, match=r"has died .*rerun the same command to resume"):
        next(responses)
    script.die_after = 0
    with pytest.raises(EngineError, match="has died"):
        engine.choices(prompts[:1], [["yes"], ["no"]])


def test_a_checkpoint_that_vllm_cannot_serve_is_one_line(checkpoint: Path, script: Script) -> None:
    script.start_error = ValueError("head size 8 is not supported\nmore")
    with pytest.raises(EngineError, match=r"cannot serve .*: head size 8 is not supported \(more in vLLM's log"):
        VLLMEngine(checkpoint)
    with pytest.raises(EngineError, match="does not exist"):
        VLLMEngine("/no/such/folder")


def test_beam_search_is_refused(engine: VLLMEngine, prompts: list[Prompt]) -> None:
    with pytest.raises(EngineError, match="no beam search"):
        list(engine.generate(prompts, Sampling(num_beams=2)))


def test_stop_finishes_what_runs_and_drops_what_waits(
    engine: VLLMEngine, script: Script, prompts: list[Prompt]
) -> None:
    script.slots, script.hold = 4, True  # 8 requests are handed over, 4 of them run
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.extend(r.prompt_id for r in engine.generate(prompts, GREEDY)))
    reader.start()
    while len(script.requests) < 4 or script.most < 8:
        reader.join(0.01)
    engine.stop()
    while script.aborted < 4:
        reader.join(0.01)
    script.hold = False
    reader.join()
    assert len(script.requests) == 4
    assert len(set(found)) == len(found) == 4  # which four were running is up to the threads that hand them over
    assert set(found) <= {prompt.id for prompt in prompts[:8]}


# --- probabilities ----------------------------------------------------------------------------------------------------


def test_logprobs_are_those_of_the_last_prompt_tokens(
    engine: VLLMEngine, script: Script, prompts: list[Prompt]
) -> None:
    texts = ["There is a dog.", "", "yes"]
    found = engine.logprobs(prompts[:3], texts)
    assert [list(entry.token_ids) for entry in found] == [engine.encoder.continuation_ids(text) for text in texts]
    whole, params, _ = next(r for r in script.requests if r[0]["prompt_token_ids"][-1] == found[0].token_ids[-1])
    n = len(whole["prompt_token_ids"])
    assert found[0].logprobs == tuple(-float(i) for i in range(n - len(found[0].token_ids), n))
    assert (found[1].logprobs, len(script.requests), params.max_tokens) == ((), 2, 1)
    assert params.logit_bias is None


def test_choices_sum_over_the_first_tokens_of_a_group(
    engine: VLLMEngine, script: Script, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {"yes": [30], "Yes": [31, 40], "no": [32]}
    monkeypatch.setattr(engine.encoder, "continuation_ids", ids.__getitem__)
    script.ids = [33]
    (found,) = engine.choices(prompts[:1], [["yes", "Yes"], ["no"]])
    assert found.masses == pytest.approx((math.exp(-30) + math.exp(-31), math.exp(-32)), rel=1e-12)
    assert found.argmax == engine.encoder.decode([33])
    assert script.requests[0][1].logprob_token_ids == [30, 31, 32]


def test_choices_multiply_by_the_tokens_that_all_forms_begin_with(
    engine: VLLMEngine, script: Script, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {"yes": [7, 30], "no": [7, 32]}
    monkeypatch.setattr(engine.encoder, "continuation_ids", ids.__getitem__)
    (found,) = engine.choices(prompts[:1], [["yes"], ["no"]])
    asked = script.requests[0][0]["prompt_token_ids"]
    assert asked[-1] == 7
    assert found.masses == pytest.approx(tuple(math.exp(-(len(asked) - 1) - form) for form in (30, 32)), rel=1e-12)


# --- settings ---------------------------------------------------------------------------------------------------------


def test_engine_arguments_reach_vllm(checkpoint: Path, script: Script) -> None:
    engine = VLLMEngine(
        checkpoint,
        tensor_parallel_size=2,
        distributed_executor_backend="ray",
        mm_processor_kwargs='{"num_crops": 4}',
        **{"max-model-len": 512},
    )
    assert script.args is not None
    assert (script.args.tensor_parallel_size, script.args.distributed_executor_backend) == (2, "ray")
    assert script.args.mm_processor_kwargs == {"backend": "pil", "num_crops": 4}
    assert (script.args.max_model_len, script.args.dtype) == (512, "float32")  # as stored, not vLLM's half of it
    described = engine.describe()
    assert described["engine_args"] == {"max_model_len": 512, "mm_processor_kwargs": {"num_crops": 4}}
    assert "tensor_parallel_size=2" in str(described["device"])
    json.dumps(described)
    engine.close()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"tensor_paralel_size": 2}, "did you mean tensor_parallel_size"),
        ({"batch_size": 8}, "'batch_size'"),
        ({"mm_processor_kwargs": "{broken"}, "is not JSON"),
    ],
)
def test_unknown_engine_arguments_are_a_usage_error(
    checkpoint: Path, script: Script, given: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        VLLMEngine(checkpoint, **given)


def write_adapter(folder: Path, base: Path, *changed: str) -> Path:
    """A LoRA adapter of rank 12 on the modules named."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 12, "base_model_name_or_path": str(base)}))
    weights = {f"base_model.model.model.{name}.lora_{side}.weight": torch.zeros(1) for name in changed for side in "AB"}
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


LANGUAGE_LAYER = "language_model.layers.0.self_attn.q_proj"


def test_an_adapter_goes_with_every_request(
    checkpoint: Path, script: Script, prompts: list[Prompt], tmp_path: Path
) -> None:
    adapter = write_adapter(tmp_path / "adapter", checkpoint, LANGUAGE_LAYER)
    engine = VLLMEngine(adapter)  # the folder names its base
    list(engine.generate(prompts[:2], GREEDY))
    assert script.args is not None
    assert (script.args.enable_lora, script.args.max_lora_rank) == (True, 16)
    assert script.args.lora_target_modules == ["q_proj"]  # nothing else is prepared, least of all the output layer
    assert {lora for _, _, lora in script.requests} == {("adapter", 1, str(adapter))}
    assert engine.describe()["adapter"] == str(adapter)
    engine.close()


@pytest.mark.parametrize(
    "layer", ["vision_tower.encoder.layers.0.self_attn.q_proj", "multi_modal_projector.linear_1", "visual.merger.mlp.0"]
)
def test_an_adapter_that_vllm_would_apply_in_part_is_refused(
    checkpoint: Path, script: Script, tmp_path: Path, layer: str
) -> None:
    adapter = write_adapter(tmp_path / "adapter", checkpoint, LANGUAGE_LAYER, layer)
    with pytest.raises(EngineError, match=rf"1 layers .* base_model\.model\.model\.{layer}, .*transformers engine"):
        VLLMEngine(checkpoint, adapter=adapter)
    VLLMEngine(checkpoint, adapter=adapter, enable_tower_connector_lora=True).close()


def test_an_adapter_without_readable_weights_is_refused(checkpoint: Path, script: Script, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", checkpoint, LANGUAGE_LAYER)
    for spoil in (lambda path: path.write_bytes(b"torn"), Path.unlink):
        spoil(adapter / "adapter_model.safetensors")
        with pytest.raises(EngineError, match=r"cannot read adapter_model\.safetensors"):
            VLLMEngine(checkpoint, adapter=adapter)


def test_without_vllm_the_remedy_is_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vllm.engine.arg_utils", None)
    with pytest.raises(EngineError, match=r"pip install 'hallu-evalkit\[vllm\]'"):
        VLLMEngine(checkpoint)


def test_a_closed_engine_says_so(checkpoint: Path, script: Script, prompts: list[Prompt]) -> None:
    engine = VLLMEngine(checkpoint)
    engine.close()
    engine.close()
    assert script.shut == 1
    with pytest.raises(EngineError, match="is closed"):
        list(engine.generate(prompts, GREEDY))


def test_the_fingerprint_follows_the_weights(checkpoint: Path, tmp_path: Path) -> None:
    other = save_tiny("llava", tmp_path / "other", seed=1)
    assert files_hash(str(checkpoint)) == files_hash(str(checkpoint)) != files_hash(str(other))
    assert files_hash("org/some-model") is None


# --- original LLaVA folders -------------------------------------------------------------------------------------------


def test_an_original_folder_is_served_as_a_converted_copy(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALKIT_CACHE", str(tmp_path / "cache"))
    tower = make_tower(tmp_path / "clip")
    folder = make_original(tmp_path / "model", tower, tiny_vocabulary(tmp_path / "words" / "tokenizer.model"))
    engine = VLLMEngine(folder)
    described = engine.describe()
    served = Path(str(engine._arguments()["model"]))
    engine.close()
    assert served.parent == tmp_path / "cache" / "converted"
    assert json.loads((served / "config.json").read_text())["image_token_index"] == 3
    assert (described["model"], described["image_padding"]) == (str(folder), "pad")
    padded, other = VLLMEngine(folder), VLLMEngine(folder, image_padding="crop")
    assert padded._arguments()["model"] == str(served)
    assert other._arguments()["model"] != str(served)
    padded.close()
    other.close()


def test_a_linear_projector_is_refused_before_anything_is_loaded(script: Script, tmp_path: Path) -> None:
    tower = make_tower(tmp_path / "clip")
    words = tiny_vocabulary(tmp_path / "words" / "tokenizer.model")
    folder = make_original(tmp_path / "model", tower, words, mm_projector_type=None)
    with pytest.raises(EngineError, match=r"vLLM cannot serve it.*one linear layer.*transformers engine"):
        VLLMEngine(folder)


def test_padding_that_a_checkpoint_does_not_have_is_refused(checkpoint: Path, script: Script) -> None:
    with pytest.raises(EngineError, match=r"evalkit convert .* --image-padding pad"):
        VLLMEngine(checkpoint, image_padding="pad")


def test_later_settings_reach_vllm_only_where_they_are_in_use(
    engine: VLLMEngine, script: Script, prompts: list[Prompt]
) -> None:
    sampling = Sampling(temperature=0.6, top_k=30, repetition_penalty=1.1, max_new_tokens=4)
    list(engine.generate(prompts[:1], sampling))
    asked = script.requests[-1][1]
    assert (asked.top_k, asked.repetition_penalty) == (30, 1.1)
