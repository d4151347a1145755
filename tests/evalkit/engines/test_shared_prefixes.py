"""Prompts about the same images, read together or one by one: the same responses, probabilities, failures and order."""

import gc
import logging
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import FAMILIES, TORCHVISION_FAMILIES, build_tiny, torchvision_problem

from evalkit.engines.model.prefixes import prefill, sharing
from evalkit.engines.model.prefixes.check import sharing_problem
from evalkit.engines.model.prefixes.sharing import Sharing
from evalkit.engines.model.running import inference
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import DataError
from evalkit.images import ImageFile
from evalkit.runs.checksums import NOT_IDENTITY
from evalkit.sampling import Sampling
from evalkit.schema import Prompt, Response

GREEDY = Sampling(max_new_tokens=8)
SAMPLED = Sampling(max_new_tokens=8, temperature=1.0, top_p=0.9, n=3, seed=4)
QUESTIONS = (
    "Is there a dog?",
    "Is there a chair or a dining table to the left of the traffic light in the image?",
    "What?",
    "Describe the image.",
    "Is there a cup?",
)
Key = tuple[str, int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images a, b (of one size) and c (of another)."""
    folder, random = tmp_path_factory.mktemp("images"), np.random.default_rng(3)
    for name, (height, width) in {"a": (60, 80), "b": (60, 80), "c": (90, 40)}.items():
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def prompts(folder: Path) -> list[Prompt]:
    """Groups of five, five and one; one system text; two prompts without images and one pair with two."""
    a, b, c = (ImageFile(folder, f"{name}.png") for name in "abc")
    asked = [Prompt(f"{file.name}{i}", text, (file,)) for file in (a, b) for i, text in enumerate(QUESTIONS)]
    alone = [Prompt("c", QUESTIONS[0], (c,))]
    brief = [Prompt(f"brief{i}", text, (a,), system="Be brief.") for i, text in enumerate(QUESTIONS[:2])]
    text_only = [Prompt(f"text{i}", text) for i, text in enumerate(QUESTIONS[:2])]
    rules = "Read the description of the image and say whether it is true; answer yes or no. "
    text_only += [Prompt(f"claim{i}", rules + text) for i, text in enumerate(QUESTIONS)]
    pairs = [Prompt(f"{which}{i}", text, files) for which, files in (("ab", (a, b)), ("ba", (b, a))) for i, text in
             enumerate(QUESTIONS[:2])]  # fmt: skip
    return [*asked, *alone, *brief, *text_only, *pairs][::-1]


def build(family: str) -> TransformersEngine:
    problem = torchvision_problem() if family in TORCHVISION_FAMILIES else None
    if problem is not None:
        pytest.skip(problem)
    if family == "smolvlm":
        pytest.importorskip("num2words")
    model, processor = build_tiny(family)
    return TransformersEngine.from_live(model, processor, name=family)


@pytest.fixture(scope="module", params=[*FAMILIES, *TORCHVISION_FAMILIES])
def engine(request: pytest.FixtureRequest) -> TransformersEngine:
    return build(request.param)


@pytest.fixture
def llava() -> TransformersEngine:
    return build("llava")


@pytest.fixture(autouse=True)
def shared(request: pytest.FixtureRequest) -> None:
    for name in {"engine", "llava"} & set(request.fixturenames):
        request.getfixturevalue(name).share_prefixes = True


def answers(engine: TransformersEngine, prompts: list[Prompt], sampling: Sampling, share: bool, size: int) -> Any:
    engine.share_prefixes, engine.batch_size = share, size
    found: dict[Key, Response] = {}
    for response in engine.generate(prompts, sampling):
        assert (response.prompt_id, response.sample) not in found
        found[response.prompt_id, response.sample] = response
    return found


def count_prefixes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many prefixes are read at a time, from now on."""
    counts: list[int] = []
    whole = prefill.read_prefixes

    def counted(model: Any, fronts: Any) -> Any:
        counts.append(len(fronts))
        return whole(model, fronts)

    monkeypatch.setattr(sharing, "read_prefixes", counted)
    return counts


def test_every_family_shares(engine: TransformersEngine) -> None:
    assert engine.describe()["shared_prefixes"] == "on"


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_sharing_does_not_change_a_response(
    engine: TransformersEngine, prompts: list[Prompt], sampling: Sampling
) -> None:
    expected = answers(engine, prompts, sampling, share=False, size=4)
    assert len(expected) == len(prompts) * sampling.n
    for size in (1, 4, 64):
        assert answers(engine, prompts, sampling, share=True, size=size) == expected


def test_sharing_does_not_change_probabilities(engine: TransformersEngine, prompts: list[Prompt]) -> None:
    continuations = [("yes", "There is a dog in the park.", "")[i % 3] for i in range(len(prompts))]
    groups = [["yes", "Yes"], ["no", "No"]]
    engine.share_prefixes, engine.batch_size = False, 4
    logprobs, choices = engine.logprobs(prompts, continuations), engine.choices(prompts, groups)
    engine.share_prefixes = True
    for size in (1, 4, 64):
        engine.batch_size = size
        for found, expected in zip(engine.logprobs(prompts, continuations), logprobs, strict=True):
            assert found.token_ids == expected.token_ids
            assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
        for choice, wanted in zip(engine.choices(prompts, groups), choices, strict=True):
            assert choice.masses == pytest.approx(wanted.masses, abs=1e-5)
            assert choice.argmax == wanted.argmax


def test_image_of_a_group_is_read_once_however_small_the_batch(
    llava: TransformersEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [Prompt(f"{name}{i}", text, (ImageFile(folder, f"{name}.png"),)) for name in "ab" for i, text in
               enumerate(QUESTIONS)]  # fmt: skip
    assert llava.describe()["shared_prefixes"] == "on"
    counts = count_prefixes(monkeypatch)
    for size, calls in ((1, 2), (2, 1), (16, 1)):
        counts.clear()
        answers(llava, prompts, GREEDY, share=True, size=size)
        assert sum(counts) == 2
        assert sum(n > 0 for n in counts) == calls


def test_tokens_that_were_not_read_again_are_counted_and_stand_in_the_manifest(
    llava: TransformersEngine, folder: Path, tmp_path: Path
) -> None:
    prompts = [Prompt(text, text, (ImageFile(folder, "a.png"),)) for text in QUESTIONS]
    lengths = llava.encoder.encode(prompts).lengths
    common = llava.encoder.encode([Prompt("", "", prompts[0].images)]).lengths[0]  # about: the template up to the text
    llava.batch_size = 2
    list(llava.generate(prompts, GREEDY))
    assert llava.prompt_tokens.given == sum(lengths)
    assert 0.5 * 4 * common < llava.prompt_tokens.spared <= sum(lengths) - max(lengths)
    list(llava.generate(prompts[:1], GREEDY))
    assert llava.prompt_tokens.given == sum(lengths) + lengths[0]


def test_two_images_with_the_same_questions_are_not_mixed_up(llava: TransformersEngine, folder: Path) -> None:
    questions = list(QUESTIONS[:2])
    both = [Prompt(f"{name}{i}", text, (ImageFile(folder, f"{name}.png"),)) for i, text in enumerate(questions) for name
            in "ab"]  # fmt: skip
    found = dict(zip([prompt.id for prompt in both], llava.logprobs(both, ["yes"] * len(both)), strict=True))
    assert abs(found["a0"].total - found["b0"].total) > 0.1
    for prompt in both:
        assert found[prompt.id].total == pytest.approx(llava.logprobs([prompt], ["yes"])[0].total, abs=1e-4)


def test_prompt_is_read_as_its_own_although_another_stands_for_its_group(
    engine: TransformersEngine, folder: Path
) -> None:
    """After a shortage of memory, a prompt may be read without the one that the processor was given."""
    first, second = (Prompt(text, text, (ImageFile(folder, "a.png"),)) for text in QUESTIONS[:2])
    reader = Sharing(engine.encoder, 1)
    reader.fronts.of([first])
    rows = reader.rows([second])
    assert rows is not None
    with inference(engine.model) as model:
        ((_, started),) = reader.read(model, rows, 1)
        logits = started.logits[0, -1]
        whole = prefill.read_whole(model, engine.encoder.encode([second])).logits[0, -1]
    assert torch.allclose(logits, whole, atol=1e-4)


def test_unreadable_image_fails_its_prompts_alone(llava: TransformersEngine, folder: Path, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes((folder / f"{name}.png").read_bytes())
    torn = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(torn[: len(torn) // 2])
    prompts = [Prompt(f"{name}{i}", text, (ImageFile(tmp_path, f"{name}.png"),)) for i, text in enumerate(QUESTIONS)
               for name in "ab"]  # fmt: skip
    prompts.append(Prompt("marked", "What is <image> here?", (ImageFile(tmp_path, "a.png"),)))
    found = {share: answers(llava, prompts, GREEDY, share, size=4) for share in (True, False)}
    assert found[True] == found[False]
    assert {prompt_id for (prompt_id, _), response in found[True].items() if response.failure} == {
        "marked",
        *(f"b{i}" for i in range(len(QUESTIONS))),
    }
    with pytest.raises(DataError, match=r"b\.png"):
        llava.choices(prompts[:-1], [["yes"], ["no"]])


def test_prompt_beyond_the_context_fails_alone(llava: TransformersEngine, folder: Path) -> None:
    long = Prompt("long", "Is there a dog? " * 400, (ImageFile(folder, "a.png"),))
    prompts = [replace(long, id=f"a{i}", text=text) for i, text in enumerate(QUESTIONS)] + [long]
    found = {share: answers(llava, prompts, GREEDY, share, size=3) for share in (True, False)}
    assert found[True] == found[False]
    assert "longer than the model's context" in (found[True]["long", 0].failure or "")


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_shortage_of_memory_halves_the_batch_and_changes_nothing(
    llava: TransformersEngine,
    prompts: list[Prompt],
    sampling: Sampling,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = answers(llava, prompts, sampling, share=False, size=4)
    whole = prefill.read_tails

    def scarce(model: Any, prefixes: Any, pool: Any, rows: Any, keep: int) -> Any:
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(model, prefixes, pool, rows, keep)

    monkeypatch.setattr(sharing, "read_tails", scarce)
    with caplog.at_level(logging.WARNING):
        assert answers(llava, prompts, sampling, share=True, size=16) == expected
    assert "out of memory" in caplog.text


def test_model_whose_prompts_cannot_be_cut_is_read_whole_and_says_so(
    folder: Path, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build("llava")
    expected = answers(engine, prompts, GREEDY, share=False, size=4)
    plain = prefill.read_tails

    def shifted(model: Any, prefixes: Any, pool: Any, rows: Any, keep: int) -> Any:
        return plain(model, [replace(prefix, next=prefix.next + 1) for prefix in prefixes], pool, rows, keep)

    monkeypatch.setattr("evalkit.engines.model.prefixes.check.read_tails", shifted)
    counts = count_prefixes(monkeypatch)
    assert answers(engine, prompts, GREEDY, share=True, size=4) == expected
    assert counts == []
    told = str(engine.describe()["shared_prefixes"])
    assert told.startswith("off: logits of a prompt read in parts differ")
    assert "shared_prefixes" in NOT_IDENTITY  # a run may go on with or without


def test_check_sees_an_image_that_belongs_to_another_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = build_tiny("llava")
    encoder = TransformersEngine.from_live(model, processor, name="swapped").encoder
    assert sharing_problem(model, encoder) is None
    plain = prefill.read_prefixes
    monkeypatch.setattr(
        "evalkit.engines.model.prefixes.check.read_prefixes", lambda model, fronts: plain(model, fronts)[::-1]
    )
    assert "differ" in (sharing_problem(model, encoder) or "")


def test_check_leaves_a_model_in_training_as_it_was() -> None:
    model, processor = build_tiny("llava")
    model.train()
    engine = TransformersEngine.from_live(model, processor, name="policy")
    assert engine.describe()["shared_prefixes"] == "on"
    assert model.training


def forwards_of(model: Any) -> list[int]:
    """Tokens of a row in each call of the whole model, as calls are made."""
    widths: list[int] = []
    model.register_forward_hook(
        lambda module, args, keywords, output: widths.append(keywords["input_ids"].shape[1]), with_kwargs=True
    )
    return widths


def test_tokens_after_the_prompt_go_through_the_text_model_alone(llava: TransformersEngine, folder: Path) -> None:
    prompt = Prompt("a", QUESTIONS[0], (ImageFile(folder, "a.png"),))
    expected = next(iter(llava.generate([prompt], GREEDY)))
    widths = forwards_of(llava.model)
    assert next(iter(llava.generate([prompt], GREEDY))) == expected
    assert len(widths) == 1, "the prompt alone"
    assert widths[0] > 1


@pytest.mark.parametrize("changed", ["logits", "padding"])
def test_model_that_does_more_than_its_text_model_decodes_by_itself(
    changed: str, folder: Path, prompts: list[Prompt]
) -> None:
    engine, model = build("llava"), build("llava").model
    model.load_state_dict(engine.model.state_dict())
    original = type(model).forward

    def forward(self: Any, *args: Any, **keywords: Any) -> Any:
        out = original(self, *args, **keywords)
        mask = keywords.get("attention_mask")
        if changed == "logits" or (mask is not None and not mask.all()):
            out.logits = out.logits.roll(1, -1)
        return out

    class Louder(type(model)):  # type: ignore[misc]
        pass

    Louder.forward = forward
    model.__class__ = Louder
    engine._checkpoint = replace(engine._checkpoint, model=model)
    widths = forwards_of(model)
    list(engine.generate([prompts[-1]], GREEDY))
    widths.clear()
    (response,) = engine.generate([prompts[-1]], GREEDY)
    assert widths[1:] == [1] * (response.tokens - (response.finish == "length"))


def test_closed_engine_holds_no_model(folder: Path) -> None:
    engine = build("llava")
    list(engine.generate([Prompt("a", QUESTIONS[0], (ImageFile(folder, "a.png"),))], GREEDY))
    held = [weakref.ref(part) for part in (engine.model, engine.model.get_decoder())]
    engine.close()
    gc.collect()
    assert [part() for part in held] == [None, None]
