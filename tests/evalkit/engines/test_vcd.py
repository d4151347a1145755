"""Visual contrastive decoding: the arithmetic, the noise, and the same text at every batch size."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_models import build_tiny

from evalkit.engines.model.prefixes.ready import prepared
from evalkit.engines.transformers import TransformersEngine
from evalkit.engines.vcd import VCD, Contrast, VCDEngine, contrast, noised, signal_share, with_noised_twins
from evalkit.errors import EngineError, UsageError
from evalkit.images import ImageFile
from evalkit.sampling import Sampling
from evalkit.schema import Prompt

GREEDY = Sampling(max_new_tokens=8)
SAMPLED = Sampling(max_new_tokens=8, temperature=1.0, n=2, seed=3)


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return build_tiny("llava")


def engine_of(tiny, batch_size: int, **settings) -> VCDEngine:
    engine = VCDEngine.from_live(*tiny, name="tiny", batch_size=batch_size)
    engine.settings = VCD(**settings)
    return engine


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> list[Prompt]:
    folder = tmp_path_factory.mktemp("images")
    for i in range(5):
        Image.effect_noise((40, 30), 20 + 30 * i).convert("RGB").save(folder / f"{i}.png")
    texts = ["Describe the image.", "Is there a car?", "Describe the image in one long sentence, please."]
    return [Prompt(f"p{i}", texts[i % 3], (ImageFile(folder, f"{i}.png"),)) for i in range(5)]


def answers(engine: TransformersEngine, prompts: list[Prompt], sampling: Sampling) -> dict[tuple[str, int], tuple]:
    found = engine.generate(prompts, sampling)
    return {(r.prompt_id, r.sample): (r.text, r.token_ids, r.finish, r.failure) for r in found}


@pytest.mark.parametrize(
    ("image", "noise", "settings", "expected"),
    [
        ([2.0, 1.0, 0.0], [2.0, 0.0, 1.0], VCD(beta=0.01), [2.0, 2.0, -1.0]),  # by hand, alpha 1
        ([2.0, 1.0, 0.0], [2.0, 0.0, 1.0], VCD(alpha=0.5, beta=0.01), [2.0, 1.5, -0.5]),
        ([2.0, 1.0, 0.0], [0.0, 0.0, -50.0], VCD(beta=0.3), [4.0, 2.0, float("-inf")]),  # e**-2 < 0.3 < e**-1
        ([2.0, 1.0, 0.0], [9.0, 9.0, 9.0], VCD(alpha=0.0, beta=0.01), [2.0, 1.0, 0.0]),
        ([2.0, 1.0, 0.0], [9.0, 0.0, 0.0], VCD(beta=1.0), [-5.0, float("-inf"), float("-inf")]),
    ],
)
def test_contrast_by_hand(image, noise, settings, expected) -> None:
    assert contrast(torch.tensor([image]), torch.tensor([noise]), settings)[0].tolist() == pytest.approx(expected)


def test_a_placeholder_sets_no_standard_of_plausibility() -> None:
    scores = torch.tensor([[9.0, 1.0, 0.5], [9.0, 1.0, 0.0]])
    both = Contrast(VCD(), [0])(torch.zeros(2, 1), scores)
    assert both.tolist() == [[float("-inf"), 1.0, 1.0]] * 2


def test_noise_keeps_the_variance_and_most_of_it_is_noise() -> None:
    assert signal_share(0) > 0.9999
    assert signal_share(999) < 0.1
    prompt = Prompt("p", "?", (ImageFile(Path(), "x"),))
    pixels = torch.ones(1, 3, 64, 64)
    out = noised(pixels, [prompt], GREEDY, 999)
    assert out.mean().item() == pytest.approx(signal_share(999) ** 0.5, abs=0.05)
    assert out.var().item() == pytest.approx(1 - signal_share(999), abs=0.05)
    assert torch.equal(out, noised(pixels, [prompt], GREEDY, 999))
    assert not torch.equal(out, noised(pixels, [prompt], Sampling(seed=1), 999))


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_batched_text_is_batch_1_text(tiny, prompts: list[Prompt], sampling: Sampling) -> None:
    alone = answers(engine_of(tiny, 1), prompts, sampling)
    assert len(alone) == 5 * sampling.n
    assert answers(engine_of(tiny, 4), prompts, sampling) == alone
    assert answers(engine_of(tiny, 10), prompts[::-1], sampling) == alone


def test_without_contrast_it_is_ordinary_decoding(tiny, prompts: list[Prompt]) -> None:
    plain = TransformersEngine.from_live(*tiny, name="tiny", batch_size=4)
    assert answers(engine_of(tiny, 4, alpha=0.0), prompts, GREEDY) == answers(plain, prompts, GREEDY)


def test_the_contrast_changes_what_is_said(tiny, prompts: list[Prompt]) -> None:
    plain = answers(engine_of(tiny, 4, alpha=0.0), prompts, SAMPLED)
    assert answers(engine_of(tiny, 4, alpha=3.0, noise_step=999), prompts, SAMPLED) != plain


def test_every_token_is_contrasted_with_a_cache_of_its_own(tiny, prompts: list[Prompt]) -> None:
    """Step by step without a cache: the twin reads the noised image at every token."""
    engine = engine_of(tiny, 1, alpha=2.0, noise_step=900)
    (response,) = engine.generate(prompts[:1], GREEDY)
    (ready,) = prepared(engine.encoder, engine.model, prompts[:1], None, 1)
    twins = with_noised_twins(ready.encoded, prompts[:1], GREEDY, 900)
    ids, mask = twins.inputs["input_ids"], twins.inputs["attention_mask"]
    chosen: list[int] = []
    model = engine.model.eval()
    for _ in range(len(response.token_ids)):
        with torch.no_grad():
            out = model(input_ids=ids, attention_mask=mask, pixel_values=twins.inputs["pixel_values"], use_cache=False)
        scores = Contrast(engine.settings, engine.encoder.placeholder_ids)(ids, out.logits[:, -1].float())
        scores = scores.index_fill(1, torch.tensor(list(engine.encoder.placeholder_ids)), float("-inf"))
        token = int(scores[0].argmax())
        chosen.append(token)
        ids = torch.cat([ids, torch.full((2, 1), token)], dim=1)
        mask = torch.cat([mask, torch.ones(2, 1, dtype=mask.dtype)], dim=1)
    assert tuple(chosen) == response.token_ids


def test_the_description_holds_the_constants(tiny) -> None:
    assert engine_of(tiny, 1, alpha=0.5).describe()["vcd"] == {"alpha": 0.5, "beta": 0.1, "noise_step": 500}


def test_what_it_cannot_do_is_refused(tiny, prompts: list[Prompt]) -> None:
    with pytest.raises(UsageError, match="does not go with beam search"):
        list(engine_of(tiny, 4).generate(prompts, Sampling(num_beams=2)))
    for wrong in ({"alpha": -1.0}, {"beta": 0.0}, {"noise_step": 1000}):
        with pytest.raises(UsageError, match="vcd: alpha must be"):
            VCD(**wrong)
    with pytest.raises(EngineError, match="as LLaVA-1"):
        noised(torch.ones(1, 2, 3, 8, 8), prompts[:1], GREEDY, 500)
