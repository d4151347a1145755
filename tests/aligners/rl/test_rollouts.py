"""Rollouts: seeded, cut at their end, scored as the policy samples."""

import pytest
import torch
from rlhf_world import write_rlhf_world
from tiny_models import build_tiny

from aligners.fact_rlhf.files import read_rollout_prompts
from aligners.reward_model.model import last_hidden
from aligners.rl.rollouts import (
    RolloutSettings,
    batch_entropies,
    batch_logps,
    cut_rows,
    question_mark_ids,
    rollout_batches,
    sample_rollouts,
    widen,
)
from aligners.training.response_logps import end_token
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import DataError

LIMIT = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_rlhf_world(tmp_path_factory.mktemp("world"), images=3)


@pytest.fixture(scope="module")
def llava():
    return build_tiny("llava")


def sampled(llava, world, seed=0, **changes):
    model, processor = llava
    chosen = {"samples": 2, "temperature": 1.0, "limit": LIMIT, "end_id": end_token(PromptEncoder(processor), model)}
    prompts = read_rollout_prompts(world / "prompts.json", world / "images")
    return sample_rollouts(
        model, processor, prompts, RolloutSettings(**(chosen | changes)), seed
    )  # fmt: skip


def test_the_same_seed_gives_the_same_responses_at_any_batch_size(llava, world):
    first = sampled(llava, world)
    assert sampled(llava, world, batch_size=1).texts == first.texts
    assert sampled(llava, world, seed=1).texts != first.texts


def test_samples_of_a_prompt_stand_together_and_differ(llava, world):
    rollouts = sampled(llava, world)
    assert [prompt.id for prompt in rollouts.prompts] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert rollouts.texts[0] != rollouts.texts[1]
    assert rollouts.failed == 0


def test_full_width_pads_to_the_limit(llava, world):
    assert sampled(llava, world, full_width=True, limit=LIMIT).cut.ids.shape == (6, LIMIT)


def test_padding_equal_to_the_end_token_is_no_response():
    settings = RolloutSettings(samples=1, temperature=1.0, limit=4, end_id=2)
    cut = cut_rows(torch.tensor([[7, 2, 2, 2], [7, 8, 2, 2], [7, 8, 9, 2]]), [2, 2, 4], settings, pad_id=2)
    assert cut.has_end.tolist() == [True, False, True]
    assert cut.mask.int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]


def test_log_probabilities_are_those_of_the_models_own_logits(llava, world):
    model, processor = llava
    encoder = PromptEncoder(processor)
    rollouts = sampled(llava, world)
    (batch,) = rollout_batches(rollouts, encoder, size=8)
    for temperature in (1.0, 0.7):
        with torch.no_grad():
            logps = batch_logps(model, batch, temperature)
            logits = model(**batch.inputs).logits
        for row, length in enumerate(rollouts.lengths):
            places = (batch.labels[row] != -100).nonzero()[:, 0]
            wanted = (logits[row, places - 1] / temperature).log_softmax(-1).gather(1, batch.labels[row, places, None])
            assert logps[row, :length].tolist() == pytest.approx(wanted[:, 0].tolist(), abs=1e-5)
            assert not logps[row, length:].any()


def test_batches_of_any_size_give_the_same_log_probabilities(llava, world):
    model, processor = llava
    rollouts = sampled(llava, world)
    width = rollouts.cut.ids.shape[1]

    def scored(size):
        batches = rollout_batches(rollouts, PromptEncoder(processor), size)
        with torch.no_grad():
            return torch.cat([widen(batch_logps(model, batch, 1.0), width) for batch in batches])

    assert torch.allclose(scored(1), scored(4), atol=1e-5)


def test_entropy_is_between_zero_and_that_of_the_uniform_distribution(llava, world):
    model, processor = llava
    rollouts = sampled(llava, world)
    (batch,) = rollout_batches(rollouts, PromptEncoder(processor), size=8)
    with torch.no_grad():
        found = batch_entropies(model, batch, 1.0, last_hidden(model, batch.inputs))
    inside = found[torch.arange(found.shape[1]) < torch.tensor(rollouts.lengths)[:, None]]
    assert (inside > 0).all()
    assert (inside <= torch.tensor(float(model.config.get_text_config().vocab_size)).log() + 1e-4).all()


def test_question_marks_are_found_with_and_without_a_space(llava):
    tokenizer = llava[1].tokenizer
    assert tokenizer("?", add_special_tokens=False).input_ids[-1] in question_mark_ids(tokenizer)


def test_a_missing_image_is_named(llava, world):
    model, processor = llava
    prompts = read_rollout_prompts(world / "prompts.json", world / "nowhere")
    settings = RolloutSettings(samples=1, temperature=1.0, limit=4, end_id=2)
    with pytest.raises(DataError, match="missing"):
        sample_rollouts(model, processor, prompts, settings, 0)
