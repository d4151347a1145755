"""Preference losses: known answers and the properties the papers state."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from aligners.losses import RewardForm, dpo_loss, implicit_rewards, reward_model_loss, sequence_logps, with_nll


def real(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random_pair(seed: int, rows: int = 4, width: int = 9) -> dict[str, torch.Tensor]:
    """Token log-probabilities, masks and weights of a batch of pairs."""
    g = torch.Generator().manual_seed(seed)
    draw = {
        f"{model}_{side}": -torch.rand(rows, width, generator=g, dtype=torch.float64) * 4
        for model in ("policy", "reference")
        for side in ("chosen", "rejected")
    }
    for side in ("chosen", "rejected"):
        lengths = torch.randint(1, width + 1, (rows, 1), generator=g)
        draw[f"mask_{side}"] = torch.arange(width) < lengths
        draw[f"changed_{side}"] = torch.rand(rows, width, generator=g) < 0.3
    return draw


def loss_of(batch, gamma=1.0, beta=0.3, average=True):
    def logps(model, side):
        weights = torch.where(batch[f"changed_{side}"], gamma, 1.0).double()
        return sequence_logps(batch[f"{model}_{side}"], batch[f"mask_{side}"], weights, average=average)

    return dpo_loss(
        logps("policy", "chosen"),
        logps("policy", "rejected"),
        logps("reference", "chosen"),
        logps("reference", "rejected"),
        beta,
    )


seeds, gammas, forms = st.integers(0, 10_000), st.floats(1.0, 10.0), st.booleans()


def test_changed_tokens_count_gamma_times():
    logps, mask = real([[-1.0, -4.0, -1.0]]), torch.tensor([[True, True, True]])
    weights = real([[1.0, 5.0, 1.0]])
    assert sequence_logps(logps, mask, weights, average=True).item() == pytest.approx(-22 / 7)
    assert sequence_logps(logps, mask, weights, average=False).item() == pytest.approx(-22)
    assert sequence_logps(logps, mask, average=True).item() == pytest.approx(-2)


def test_masked_positions_are_never_read():
    logps = real([[-1.0, math.nan, -math.inf]])
    mask = torch.tensor([[True, False, False]])
    assert sequence_logps(logps, mask, real([[1.0, math.nan, 3.0]]), average=True).item() == -1.0


@pytest.mark.parametrize(
    ("logps", "mask", "weights", "words"),
    [
        (real([[0.0, 0.0]]), torch.tensor([[True]]), None, "shapes differ"),
        (real([[0.0, 0.0]]), torch.tensor([[True, True]]), real([[1.0]]), "shapes differ"),
        (real([[0.0], [0.0]]), torch.tensor([[True], [False]]), None, "no response token"),
    ],
)
def test_wrong_shapes_and_empty_responses_are_refused(logps, mask, weights, words):
    with pytest.raises(ValueError, match=words):
        sequence_logps(logps, mask, weights, average=False)


@given(seeds, forms)
def test_gamma_one_is_plain_dpo(seed, average):
    batch = random_pair(seed)
    plain = dpo_loss(
        *(
            sequence_logps(batch[f"{model}_{side}"], batch[f"mask_{side}"], average=average)
            for model in ("policy", "reference")
            for side in ("chosen", "rejected")
        ),
        beta=0.3,
    )
    torch.testing.assert_close(loss_of(batch, 1.0, 0.3, average).losses, plain.losses, atol=0, rtol=0)


@given(seeds, gammas, forms)
def test_swapping_the_pair_flips_the_margin(seed, gamma, average):
    batch = random_pair(seed)
    swapped = {
        key.replace("chosen", "?").replace("rejected", "chosen").replace("?", "rejected"): value
        for key, value in batch.items()
    }
    torch.testing.assert_close(
        loss_of(swapped, gamma, 0.3, average).margins, -loss_of(batch, gamma, 0.3, average).margins
    )


@given(seeds, gammas, forms)
def test_policy_equal_to_reference_gives_log_two_and_no_reward(seed, gamma, average):
    batch = random_pair(seed)
    same = {**batch, "policy_chosen": batch["reference_chosen"], "policy_rejected": batch["reference_rejected"]}
    result = loss_of(same, gamma, 0.3, average)
    torch.testing.assert_close(result.losses, torch.full_like(result.losses, math.log(2)))
    assert not result.chosen_rewards.any()
    assert not result.rejected_rewards.any()
    assert not result.accuracies.any()  # a tie is not a win


@given(seeds, gammas, forms)
def test_padding_changes_nothing(seed, gamma, average):
    batch = random_pair(seed)
    padded = {
        key: F.pad(value, (0, 3), value=False if value.dtype is torch.bool else -7.0) for key, value in batch.items()
    }
    torch.testing.assert_close(loss_of(padded, gamma, 0.3, average).losses, loss_of(batch, gamma, 0.3, average).losses)


@given(seeds, gammas)
def test_order_of_the_rows_does_not_matter(seed, gamma):
    batch = random_pair(seed)
    turned = {key: value.flip(0) for key, value in batch.items()}
    torch.testing.assert_close(loss_of(turned, gamma).losses.flip(0), loss_of(batch, gamma).losses)


@given(seeds, gammas)
def test_gradient_is_minus_beta_sigmoid_times_the_weight_share(seed, gamma):
    batch = random_pair(seed, rows=1)
    leaf = batch["policy_chosen"].requires_grad_()
    result = loss_of(batch, gamma, beta=0.3)
    result.losses.sum().backward()
    weights = torch.where(batch["changed_chosen"], gamma, 1.0).double() * batch["mask_chosen"]
    expected = -0.3 * torch.sigmoid(-result.margins) * weights / weights.sum()
    torch.testing.assert_close(leaf.grad, expected)


def test_a_likelihood_term_adds_the_weighted_mean():
    losses, chosen = real([1.0, 3.0]), real([-2.0, -4.0])
    assert with_nll(losses, chosen, 0.0).item() == 2.0
    assert with_nll(losses, chosen, 0.5).item() == 2.0 + 0.5 * 3.0


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (RewardForm.SUM, 0.1 * (1 - 3 + 2.5)),
        (RewardForm.MEAN, 0.1 * 0.5 / 3),
        (RewardForm.DATA_ENGINE_MEAN, 0.01 * 0.5 / 3),
        (RewardForm.MIN, -0.3),
        (RewardForm.LAST, 0.25),
    ],
)
def test_implicit_reward_forms(form, expected):
    ratios = real([[1.0, -3.0, 2.5, 99.0]])
    mask = torch.tensor([[True, True, True, False]])
    reward = implicit_rewards(ratios, torch.zeros_like(ratios), mask, 0.1, form)
    assert reward.item() == pytest.approx(expected)


@pytest.mark.parametrize("form", RewardForm)
@pytest.mark.parametrize("mask", [[[True], [False]], [[True]]])
def test_a_response_without_tokens_earns_no_implicit_reward_in_any_form(form, mask):
    ratios = real([[1.0], [2.0]])
    with pytest.raises(ValueError, match=r"no response token|shapes differ"):
        implicit_rewards(ratios, ratios, torch.tensor(mask), 0.1, form)


@given(seeds, st.sampled_from(RewardForm))
def test_a_model_rewards_nothing_against_itself(seed, form):
    batch = random_pair(seed)
    rewards = implicit_rewards(batch["policy_chosen"], batch["policy_chosen"], batch["mask_chosen"], 0.1, form)
    assert not rewards.any()


def test_reward_model_loss_known_answer():
    result = reward_model_loss(real([[0.0, 0.0], [1.0, 3.0]]), torch.tensor([0, 1]))
    pairwise = (math.log(2) + math.log1p(math.exp(-2))) / 2
    assert result.pairwise.item() == pytest.approx(pairwise)
    assert result.loss.item() == pytest.approx(pairwise + 1e-3 * 2)
    assert result.accuracy.item() == 0.5  # a tie counts as "second"


def test_reward_model_loss_prefers_the_chosen_one():
    rewards = real([[0.2, 0.1]]).requires_grad_()
    reward_model_loss(rewards, torch.tensor([1]), centre_weight=0.0).loss.backward()
    assert rewards.grad[0, 0] > 0 > rewards.grad[0, 1]


def test_a_pair_weighs_both_orders_by_the_confidence_of_its_label():
    logps = [torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-2.0, -1.0, -3.5]), torch.zeros(3), torch.zeros(3)]
    plain = dpo_loss(*logps, beta=1.0)
    assert torch.equal(dpo_loss(*logps, beta=1.0, confidence=torch.ones(3)).losses, plain.losses)
    swapped = dpo_loss(logps[1], logps[0], logps[3], logps[2], beta=1.0)
    assert torch.allclose(dpo_loss(*logps, beta=1.0, confidence=torch.zeros(3)).losses, swapped.losses)
    c = torch.tensor([0.9, 0.5, 0.7])
    mixed = dpo_loss(*logps, beta=1.0, confidence=c)
    assert torch.allclose(mixed.losses, c * plain.losses + (1 - c) * swapped.losses)
    assert torch.equal(mixed.margins, plain.margins)


def test_a_label_that_is_as_likely_wrong_pulls_towards_no_preference():
    margin = torch.tensor([0.0, 2.0, -2.0], requires_grad=True)
    zero = torch.zeros(3)
    dpo_loss(margin, zero, zero, zero, beta=1.0, confidence=torch.full((3,), 0.5)).losses.sum().backward()
    assert margin.grad[0] == 0
    assert margin.grad[1] > 0 > margin.grad[2]
