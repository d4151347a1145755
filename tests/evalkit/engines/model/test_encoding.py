"""Prompts and continuations become the tokens that template and tokenizer declare, padded on either side."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_models import build_tiny
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import DataError, EngineError
from evalkit.images import ImageFile
from evalkit.schema import Prompt, Turn


@pytest.fixture(scope="module")
def processor() -> Any:
    return build_tiny("llava")[1]


@pytest.fixture(scope="module")
def encoder(processor: Any) -> PromptEncoder:
    return PromptEncoder(processor)


@pytest.fixture
def prompts(tmp_path: Path) -> list[Prompt]:
    Image.new("RGB", (40, 30), (200, 0, 0)).save(tmp_path / "a.png")
    image = (ImageFile(tmp_path, "a.png"),)
    return [Prompt("short", "A dog?", image), Prompt("long", "Describe the image in detail, please.", image)]


def test_render_writes_roles_marker_and_generation_prompt(encoder: PromptEncoder, prompts: list[Prompt]) -> None:
    assert encoder.render(prompts[0]) == "USER: <image>\nA dog? ASSISTANT:"


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("Its colour?", "USER: <image>\nA dog? ASSISTANT: Yes.</s>USER: Its colour? ASSISTANT:"),
        ("", "USER: <image>\nA dog? ASSISTANT: Yes.</s>"),
    ],
    ids=["a question follows", "the conversation is over"],
)
def test_earlier_turns_come_first_and_the_image_belongs_to_the_first(
    encoder: PromptEncoder, prompts: list[Prompt], text: str, rendered: str
) -> None:
    turns = (Turn("user", "A dog?"), Turn("assistant", "Yes."))
    assert encoder.render(Prompt("p", text, prompts[0].images, turns=turns)) == rendered


def test_a_placeholder_in_an_earlier_turn_is_refused(encoder: PromptEncoder) -> None:
    with pytest.raises(DataError, match=r"'p'.*'<image>'"):
        encoder.render(Prompt("p", "Hm?", turns=(Turn("user", "An <image>"), Turn("assistant", "Yes."))))


def test_lead_is_what_the_template_writes_before_an_answer(processor: Any) -> None:
    tight = (
        "{% for m in messages %}[{{ m['role'] }}]"
        "{% for b in m['content'] %}{{ b.get('text', '<image>') }}{% endfor %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    assert PromptEncoder(processor).lead == " "
    assert PromptEncoder(processor, tight).lead == ""


def test_lead_is_dropped_where_the_tokenizer_adds_it_itself() -> None:
    """SentencePiece-like tokenizers (LLaVA-1.5) put a space before the first word of any text."""
    _, processor = build_tiny("llava")
    words = Tokenizer(models.WordLevel({"<unk>": 0, "▁A": 1, "▁dog": 2, "▁a": 3, "</s>": 4, "<image>": 5}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    words.decoder = decoders.Metaspace(prepend_scheme="first")
    processor.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )
    encoder = PromptEncoder(processor)
    assert encoder.lead == ""
    assert encoder.continuation_ids("A dog") == [1, 2]
    assert encoder.decode([1, 2, 4]) == "A dog"


@pytest.mark.parametrize("side", ["left", "right"])
def test_encoded_rows_are_prompt_then_continuation_then_padding(
    encoder: PromptEncoder, prompts: list[Prompt], side: str
) -> None:
    rows = [encoder.continuation_ids("Yes, there is a dog in the park."), encoder.continuation_ids("No.")]
    encoded = encoder.encode(prompts, continuations=rows, padding_side=side)
    ids, mask = encoded.inputs["input_ids"], encoded.inputs["attention_mask"]
    for b, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
        begin, start, end = encoded.begins[b], encoded.starts[b], encoded.ends[b]
        assert ids[b, start:end].tolist() == row
        assert ids[b, begin:start].tolist() == encoder.encode([prompt]).inputs["input_ids"][0].tolist()
        assert mask[b].nonzero()[:, 0].tolist() == list(range(begin, end))
        assert (begin == 0) if side == "right" else (end == ids.shape[1])


def test_image_marker_becomes_one_token_per_patch(encoder: PromptEncoder, prompts: list[Prompt]) -> None:
    ids = encoder.encode(prompts[:1]).inputs["input_ids"]
    assert (ids == encoder.tokenizer.convert_tokens_to_ids("<image>")).sum() == 4


def test_continuation_ids_do_not_depend_on_the_prompt(encoder: PromptEncoder, prompts: list[Prompt]) -> None:
    row = encoder.continuation_ids("A dog.")
    assert row == encoder.tokenizer(" A dog.", add_special_tokens=False).input_ids
    assert encoder.decode(row) == "A dog."
    assert encoder.continuation_ids("") == []


def test_token_shaped_extras_grow_with_the_continuation(tmp_path: Path) -> None:
    gemma = PromptEncoder(build_tiny("gemma3")[1])
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    prompt = Prompt("0", "A dog?", (ImageFile(tmp_path, "a.png"),))
    inputs = gemma.encode([prompt], continuations=[[5, 6, 7]], padding_side="right").inputs
    assert inputs["token_type_ids"].shape == inputs["input_ids"].shape
    assert inputs["token_type_ids"][0, -3:].tolist() == [0, 0, 0]
    assert inputs["token_type_ids"].sum() == 4


def test_begin_token_of_the_template_is_not_doubled() -> None:
    gemma = PromptEncoder(build_tiny("gemma3")[1])
    ids = gemma.encode([Prompt("0", "A dog?")]).inputs["input_ids"][0]
    assert (ids == gemma.tokenizer.bos_token_id).sum() == 1


@pytest.mark.parametrize(
    ("template", "prompt", "message"),
    [
        ("{{ messages[-1]['content'][0]['text'] }}", Prompt("0", "Q?", system="Be brief."), "drops .*Be brief"),
        ("{{ messages[0]['content'][0]['text'].upper() }}", Prompt("0", "Q is this?"), "drops or changes"),
        ("{{ raise_exception('no system') }}", Prompt("0", "Q?"), "no system"),
        ("{{ messages[0]['content'] + 'x' }}", Prompt("0", "Q?"), "cannot render"),
    ],
    ids=["system dropped", "text changed", "template refuses", "text content only"],
)
def test_template_that_loses_part_of_a_prompt_is_refused(
    processor: Any, template: str, prompt: Prompt, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        PromptEncoder(processor, template).render(prompt)


def test_template_that_drops_the_image_is_refused(processor: Any, prompts: list[Prompt]) -> None:
    template = "{% for b in messages[0]['content'] %}{{ b.get('text', '') }}{% endfor %}"
    with pytest.raises(EngineError, match="drops the image"):
        PromptEncoder(processor, template).render(prompts[0])


def test_checkpoint_without_template_names_the_remedy() -> None:
    processor = build_tiny("llava")[1]
    processor.chat_template = None
    with pytest.raises(EngineError, match="chat_template"):
        PromptEncoder(processor)


def test_tokenizer_alone_is_not_a_processor(processor: Any) -> None:
    with pytest.raises(EngineError, match="image processor"):
        PromptEncoder(processor.tokenizer)


def test_batch_with_different_numbers_of_images_is_refused(encoder: PromptEncoder, prompts: list[Prompt]) -> None:
    with pytest.raises(DataError, match="same number of images"):
        encoder.encode([prompts[0], Prompt("text", "Q?")])


def test_processor_with_another_image_size_is_an_engine_error(prompts: list[Prompt]) -> None:
    model, processor = build_tiny("llava")
    processor.patch_size = 7
    from evalkit.engines.transformers import TransformersEngine
    from evalkit.sampling import Sampling

    engine = TransformersEngine.from_live(model, processor, name="mismatch")
    with pytest.raises(EngineError, match="tokens"):
        list(engine.generate(prompts, Sampling(max_new_tokens=2)))


def test_encoding_twice_gives_the_same_tensors(encoder: PromptEncoder, prompts: list[Prompt]) -> None:
    first, second = encoder.encode(prompts), encoder.encode(prompts)
    assert all(torch.equal(first.inputs[name], second.inputs[name]) for name in first.inputs)


def test_threads_encode_at_once_without_disturbing_each_other(encoder: PromptEncoder, prompts: list[Prompt]) -> None:
    expected = [encoder.encode([prompt]).inputs["input_ids"] for prompt in prompts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: encoder.encode([prompts[i % 2]]).inputs["input_ids"], range(64)))
    assert all(torch.equal(ids, expected[i % 2]) for i, ids in enumerate(found))
