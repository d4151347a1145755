"""Rewards as plain functions of responses, for this project's RL and for TRL, verl and OpenRLHF.

    from aligners.rewards import chair_reward, trl_reward
    GRPOTrainer(model=..., reward_funcs=[trl_reward(chair_reward(finder))], train_dataset=..., ...)

A reward function takes `Sampled` responses and gives each a `Reward`: its total and the named parts the total is made
of, so that what a policy exploits can be seen (saying less, counting, repeating).
"""

from importlib import import_module
from typing import Any

_PLACES = {
    "Reward": "reward",
    "RewardFunction": "reward",
    "Sampled": "reward",
    "chair_reward": "chair",
    "claim_reward": "claims",
    "fact_reward": "facts",
    "rollout_reward": "forms",
    "trl_reward": "forms",
    "verl_reward": "forms",
    "openrlhf_reward": "forms",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"aligners.rewards.{_PLACES[name]}"), name)
