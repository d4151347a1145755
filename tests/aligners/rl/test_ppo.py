"""PPO's numbers: known answers, and with a mask padding changes nothing."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from aligners.rl.ppo import (
    gae,
    gae_advantages,
    mean_over,
    policy_loss,
    rloo_advantages,
    shape_rewards,
    token_kl,
    value_loss,
    whiten,
)
from aligners.training.response_logps import last_positions


def real(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random_rollout(seed: int, rows: int = 5, width: int = 7) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    names = ("logps", "old_logps", "reference", "values", "old_values", "advantages", "returns")
    numbers = {name: torch.randn(rows, width, generator=g, dtype=torch.float64) for name in names}
    mask = torch.arange(width) < torch.randint(1, width + 1, (rows, 1), generator=g)
    return numbers, mask


def pad(tensor: torch.Tensor, by: int = 4) -> torch.Tensor:
    return F.pad(tensor, (0, by), value=False if tensor.dtype is torch.bool else 17.0)


seeds = st.integers(0, 10_000)


@given(seeds, st.booleans())
def test_whitened_values_have_mean_zero_and_deviation_one(seed, per_row):
    numbers, _ = random_rollout(seed)
    values = whiten(numbers["values"], per_row=per_row)
    for part in values if per_row else [values]:
        assert part.mean().item() == pytest.approx(0, abs=1e-9)
        assert part.std(correction=0).item() == pytest.approx(1, abs=1e-6)


@given(seeds)
def test_whitening_without_shift_keeps_the_mean(seed):
    values = random_rollout(seed)[0]["values"]
    torch.testing.assert_close(whiten(values, shift_mean=False).mean(), values.mean())


@given(seeds, st.booleans(), st.booleans())
def test_masked_whitening_is_whitening_of_the_masked_values(seed, shift_mean, per_row):
    numbers, mask = random_rollout(seed)
    values = numbers["values"].masked_fill(~mask, math.nan)
    result = whiten(values, mask, shift_mean=shift_mean, per_row=per_row)
    assert not result[~mask].any()
    if per_row:
        for row, kept, own in zip(values, mask, result, strict=True):
            torch.testing.assert_close(own[kept], whiten(row[kept][None], shift_mean=shift_mean)[0])
    else:
        torch.testing.assert_close(result[mask], whiten(values[mask][None], shift_mean=shift_mean)[0])


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [("k1", [0.5, -0.5]), ("k1-clamped", [0.5, 0.0]), ("k3", [math.exp(-0.5) - 0.5, math.exp(0.5) - 1.5])],
)
def test_kl_estimators(estimator, expected):
    kl = token_kl(real([[-1.0, -1.5]]), real([[-1.5, -1.0]]), estimator)
    torch.testing.assert_close(kl, real([expected]))


def test_k3_and_k1_have_the_true_kl_as_their_mean():
    policy, reference = real([0.7, 0.2, 0.1]), real([0.2, 0.3, 0.5])
    true_kl = (policy * (policy / reference).log()).sum()
    for estimator, unbiased in (("k1", True), ("k3", True), ("k1-clamped", False)):
        estimate = (policy * token_kl(policy.log(), reference.log(), estimator)).sum()
        assert bool(torch.isclose(estimate, true_kl)) is unbiased, estimator


def test_the_reward_stands_at_the_end_token_with_a_mask_and_in_the_last_column_without():
    kl = real([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    rewards = real([5.0, 7.0])
    masked = [[-0.1, 4.9, 0.0], [-0.1, -0.1, 6.9]]
    plain = [[-0.1, -0.1, 4.9], [-0.1, -0.1, 6.9]]
    torch.testing.assert_close(shape_rewards(rewards, kl, 0.1, mask), real(masked))
    torch.testing.assert_close(shape_rewards(rewards, kl, 0.1), real(plain))
    with pytest.raises(ValueError, match="no response token"):
        shape_rewards(rewards, kl, 0.1, mask & torch.tensor([[True], [False]]))


def test_last_positions():
    mask = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
    assert last_positions(mask).tolist() == [1, 2, -1]


@given(seeds)
def test_with_gamma_and_lambda_one_the_return_is_the_sum_of_what_follows(seed):
    numbers, _ = random_rollout(seed)
    rewards, values = numbers["returns"], numbers["values"]
    to_go = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(gae(rewards, values, 1.0, 1.0), to_go - values)


@given(seeds)
def test_with_lambda_zero_the_advantage_is_the_one_step_error(seed):
    numbers, _ = random_rollout(seed)
    rewards, values = numbers["returns"], numbers["values"]
    following = F.pad(values[:, 1:], (0, 1))
    torch.testing.assert_close(gae(rewards, values, 0.9, 0.0), rewards + 0.9 * following - values)


@given(seeds)
def test_with_a_mask_padding_changes_no_reward_advantage_or_loss(seed):
    numbers, mask = random_rollout(seed)
    padded = {name: pad(values) for name, values in numbers.items()}
    results = []
    for n, m in ((numbers, mask), (padded, pad(mask))):
        kl = token_kl(n["logps"], n["reference"], "k3")
        rewards = shape_rewards(torch.arange(len(m)).double(), kl, 0.1, m)
        found = gae_advantages(rewards, n["values"], lam=0.9, mask=m)
        policy = policy_loss(n["logps"], n["old_logps"], found.advantages, 0.2, m)
        value = value_loss(n["values"], n["old_values"], found.returns, 0.2, m)
        width = mask.shape[1]
        results.append(
            [
                rewards[:, :width],
                found.advantages[:, :width],
                found.returns[:, :width],
                policy.loss,
                policy.clip_fraction,
                policy.approximate_kl,
                value.loss,
                value.clip_fraction,
            ]
        )
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected)


def test_without_a_mask_padding_dilutes_the_loss_as_in_the_released_code():
    numbers, _ = random_rollout(0)
    full = policy_loss(numbers["logps"], numbers["old_logps"], numbers["advantages"], 0.2).loss
    zeros = {name: F.pad(numbers[name], (0, 7)) for name in ("logps", "old_logps", "advantages")}
    diluted = policy_loss(zeros["logps"], zeros["old_logps"], zeros["advantages"], 0.2).loss
    torch.testing.assert_close(diluted, full / 2)


@given(seeds)
def test_padding_gets_no_gradient_under_a_mask(seed):
    numbers, mask = random_rollout(seed)
    logps = numbers["logps"].masked_fill(~mask, 900.0).requires_grad_()  # would overflow in exp
    policy_loss(logps, numbers["old_logps"], numbers["advantages"], 0.2, mask).loss.backward()
    assert torch.isfinite(logps.grad).all()
    assert not logps.grad[~mask].any()


def test_before_the_first_step_the_policy_loss_is_minus_the_mean_advantage():
    numbers, mask = random_rollout(1)
    result = policy_loss(numbers["logps"], numbers["logps"], numbers["advantages"], 0.2, mask)
    torch.testing.assert_close(result.loss, -mean_over(numbers["advantages"], mask))
    assert result.clip_fraction == result.approximate_kl == 0


@pytest.mark.parametrize(
    ("advantage", "ratio", "expected", "moves"),
    [
        (1.0, 1.5, -1.2, False),  # already likelier than the clip allows
        (1.0, 0.5, -0.5, True),
        (-1.0, 0.5, 0.8, False),
        (-1.0, 1.5, 1.5, True),
    ],
)
def test_the_clip_stops_gains_only(advantage, ratio, expected, moves):
    logps = real([[math.log(ratio)]]).requires_grad_()
    result = policy_loss(logps, real([[0.0]]), real([[advantage]]), 0.2)
    result.loss.backward()
    assert result.loss.item() == pytest.approx(expected)
    assert bool(logps.grad.any()) is moves
    assert bool(result.clip_fraction) is not moves


def test_an_infinite_clip_leaves_half_the_squared_error():
    numbers, _ = random_rollout(2)
    result = value_loss(numbers["values"], numbers["old_values"], numbers["returns"], math.inf)
    torch.testing.assert_close(result.loss, 0.5 * F.mse_loss(numbers["values"], numbers["returns"]))


def test_leave_one_out_known_answer_and_zero_sum():
    advantages = rloo_advantages(real([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]]))
    torch.testing.assert_close(advantages, real([[-3.0, -1.5, 4.5], [0.0, 0.0, 0.0]]))
    with pytest.raises(ValueError, match="at least 2"):
        rloo_advantages(real([[1.0]]))


def test_whitened_rewards_ignore_the_scale():
    numbers, mask = random_rollout(3)
    small = gae_advantages(numbers["returns"], numbers["values"], whiten_rewards=True, mask=mask)
    large = gae_advantages(numbers["returns"], numbers["values"], whiten_rewards=True, reward_scale=10.0, mask=mask)
    torch.testing.assert_close(small.advantages, large.advantages)
