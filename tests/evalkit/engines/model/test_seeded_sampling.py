"""The drawn token is the inverse of the cumulative distribution, restricted to the nucleus."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evalkit.engines.model.seeded_sampling import TokenChooser, draw, uniforms
from evalkit.sampling import Sampling

LOGITS = torch.tensor([0.5, 0.1, 0.4]).log()  # probabilities 0.5, 0.1, 0.4


@pytest.mark.parametrize(
    ("uniform", "temperature", "top_p", "token"),
    [
        (0.0, 1.0, 1.0, 0),
        (0.499, 1.0, 1.0, 0),
        (0.501, 1.0, 1.0, 1),
        (0.601, 1.0, 1.0, 2),
        (1.0 - 2**-53, 1.0, 1.0, 2),
        (0.54, 1.0, 0.9, 0),  # nucleus {0, 2}: 5/9 and 4/9
        (0.56, 1.0, 0.9, 2),
        (0.999, 1.0, 0.4999, 0),  # the first token alone reaches it
        (0.999, 1.0, 1e-9, 0),
        (0.58, 0.5, 1.0, 0),  # squares: 25/42, 1/42, 16/42
        (0.60, 0.5, 1.0, 1),
    ],
)
def test_draw(uniform: float, temperature: float, top_p: float, token: int) -> None:
    chosen = draw(LOGITS[None], torch.tensor([uniform], dtype=torch.float64), temperature, top_p)
    assert chosen.tolist() == [token]


def test_evenly_spread_numbers_hit_each_token_as_often_as_its_probability() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))
    grid = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    counts = torch.bincount(draw(logits.expand(20_000, -1), grid, 0.8, 1.0), minlength=50)
    assert torch.allclose(counts / 20_000, (logits / 0.8).softmax(-1), atol=1e-4)


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 6))
def test_suppressed_tokens_are_never_drawn(uniform: float, allowed: int) -> None:
    logits = torch.full((1, 7), float("-inf"))
    logits[0, allowed] = -3.0
    assert draw(logits, torch.tensor([uniform], dtype=torch.float64), 1.0, 1.0).tolist() == [allowed]


def test_rows_depend_on_their_own_seed_alone() -> None:
    assert torch.equal(uniforms([3, 4], 5)[1], uniforms([4], 5)[0])
    assert not torch.equal(uniforms([3], 5), uniforms([4], 5))
    assert torch.equal(uniforms([3], 9)[:, :5], uniforms([3], 5))  # the limit of a response does not matter


def test_chooser_leaves_the_drawn_token_and_greedy_scores() -> None:
    ids, scores = torch.zeros(2, 4, dtype=torch.long), torch.randn(2, 6)
    sampled = TokenChooser([0], Sampling(temperature=1.0, max_new_tokens=3), [1, 2], prompt_width=4)(ids, scores)
    assert ((sampled == 0).sum(1) == 1).all()
    assert (sampled[:, 0] == float("-inf")).all()
    greedy = TokenChooser([0], Sampling(), [], prompt_width=4)(ids, scores)
    assert torch.equal(greedy[:, 1:], scores[:, 1:])
    assert (greedy[:, 0] == float("-inf")).all()


def test_every_step_uses_a_number_of_its_own() -> None:
    steps, seeds = 5, [7, 8]
    sampling = Sampling(temperature=1.0, max_new_tokens=steps)
    chooser, scores = TokenChooser([], sampling, seeds, prompt_width=3), torch.zeros(2, 1000)
    for step in range(steps):
        chosen = chooser(torch.zeros(2, 3 + step, dtype=torch.long), scores).argmax(1)
        assert chosen.tolist() == (uniforms(seeds, steps)[:, step] * 1000).long().tolist()


def test_chooser_moves_its_numbers_to_the_device_of_the_scores_once() -> None:
    chooser = TokenChooser([0], Sampling(temperature=1.0, max_new_tokens=3), [1, 2], prompt_width=4)
    chooser(torch.zeros(2, 4, dtype=torch.long), torch.zeros(2, 6, device="meta"))
    assert chooser.uniforms is not None
    assert (chooser.uniforms.device.type, chooser.suppressed.device.type) == ("meta", "meta")


@pytest.mark.parametrize(
    ("uniform", "top_p", "top_k", "token"),
    [
        (0.999, 1.0, 1, 0),
        (0.54, 1.0, 2, 0),  # the two likeliest: 5/9 and 4/9
        (0.56, 1.0, 2, 2),
        (0.999, 0.5, 2, 0),  # the nucleus is taken of what top_k leaves: 5/9 reaches a half alone
        (0.601, 1.0, 3, 2),
    ],
)
def test_top_k_comes_before_the_nucleus(uniform: float, top_p: float, top_k: int, token: int) -> None:
    chosen = draw(LOGITS[None], torch.tensor([uniform], dtype=torch.float64), 1.0, top_p, top_k)
    assert chosen.tolist() == [token]


def test_repetition_penalty_is_the_one_of_transformers_and_blind_to_padding() -> None:
    from transformers import RepetitionPenaltyLogitsProcessor

    ids = torch.tensor([[0, 0, 5, 6], [5, 2, 2, 7]])  # the first row is padded with token 0 on the left
    scores = torch.tensor([[1.0, -1.0, 2.0, 0.5, -2.0, 3.0, -0.5, 1.5]]).repeat(2, 1)
    chooser = TokenChooser([], Sampling(repetition_penalty=1.3), [], prompt_width=4, begins=[2, 0])
    expected = torch.cat([
        RepetitionPenaltyLogitsProcessor(1.3)(ids[:1, 2:], scores[:1]),
        RepetitionPenaltyLogitsProcessor(1.3)(ids[1:], scores[1:]),
    ])  # fmt: skip
    assert torch.equal(chooser(ids, scores), expected)
    beams = TokenChooser([], Sampling(repetition_penalty=1.3, num_beams=2), [], prompt_width=4, begins=[2, 0])
    assert torch.equal(beams(ids.repeat_interleave(2, 0), scores.repeat(2, 1)), expected.repeat_interleave(2, 0))
