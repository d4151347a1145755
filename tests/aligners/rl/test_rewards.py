"""The parts of a response's reward."""

import pytest
import torch

from aligners.presets import RewardSettings
from aligners.reward_model.facts import AnswerKind
from aligners.reward_model.model import read_rewards, reward_head
from aligners.rl.models import value_head
from aligners.rl.rewards import end_penalised, length_share, response_rewards, symbolic_bonus


@pytest.mark.parametrize(
    ("kind", "response", "score_yes", "bonus"),
    [
        (AnswerKind.GENERAL, "No, nothing.", True, 0.0),
        (AnswerKind.B, "B. A bus.", False, 1.0),
        (AnswerKind.B, "So the correct option is B.", False, 1.0),
        (AnswerKind.B, "B", False, 0.0),
        (AnswerKind.B, "A. Not a bus but B.", False, 0.0),
        (AnswerKind.NO, "No dog.", False, 0.5),
        (AnswerKind.NO, "Yes, a dog.", False, -0.5),
        (AnswerKind.NO, "no", False, 0.0),
        (AnswerKind.YES, "Yes.", False, 0.0),  # as released
        (AnswerKind.YES, "Yes.", True, 0.5),
        (AnswerKind.YES, "No.", True, -0.5),
        (AnswerKind.YES, "", True, 0.0),
    ],
)
def test_symbolic_bonus(kind, response, score_yes, bonus):
    assert symbolic_bonus(kind, response, score_yes=score_yes) == bonus


def test_parts_add_up():
    settings = RewardSettings(end_penalty=-8.0, length_weight=-10.0, correct_weight=2.0, bias=0.25)
    rewards = response_rewards(
        torch.tensor([1.0, 1.0]),
        torch.tensor([True, False]),
        length_share(torch.tensor([3, 6]), 6, torch.tensor([1.0, 0.5])),
        torch.tensor([0.5, -0.5]),
        settings,
    )
    assert rewards.model.tolist() == [1.0, -7.0]
    assert rewards.length.tolist() == [-5.0, -5.0]
    assert rewards.correct.tolist() == [1.0, -1.0]
    assert rewards.total.tolist() == [-2.75, -12.75]


def test_an_absolute_penalty_replaces_the_score():
    scores, ended = torch.tensor([3.0, 3.0]), torch.tensor([1, 0])
    assert end_penalised(scores, ended, RewardSettings(relative=False)).tolist() == [3.0, -8.0]


def test_the_reward_is_read_off_the_last_real_token_on_either_side_of_padding():
    torch.manual_seed(0)
    hidden, head = torch.randn(1, 3, 4), reward_head(4)
    alone = read_rewards(hidden, torch.ones(1, 3), head)
    noise = torch.randn(1, 2, 4)
    right = read_rewards(torch.cat([hidden, noise], 1), torch.tensor([[1, 1, 1, 0, 0]]), head)
    left = read_rewards(torch.cat([noise, hidden], 1), torch.tensor([[0, 0, 1, 1, 1]]), head)
    assert alone.shape == (1,)
    assert alone.item() == right.item() == left.item() == head(hidden[:, -1]).item()


def test_half_precision_rewards_are_returned_in_float32():
    head = reward_head(4).bfloat16()
    assert read_rewards(torch.ones(2, 3, 4).bfloat16(), torch.ones(2, 3), head).dtype is torch.float32


def test_a_new_value_head_predicts_zero_and_a_new_reward_head_has_no_bias():
    states = torch.randn(5, 4)
    assert not value_head(4)(states).any()
    assert reward_head(4).bias.item() == 0
    assert reward_head(4)(states).any()
