"""Reward functions in the forms that other trainers call.

    here        train_ppo(..., reward=f);  f(rollouts) -> {"total", parts}, see `aligners.rl.experience`
    TRL         reward_funcs=[f];  f(prompts, completions, **columns) -> numbers or None      (GRPO and RLOO, 1.16)
    verl        custom_reward_function;  f(data_source, solution_str, ground_truth, extra_info) -> {"score": ..., parts}
    OpenRLHF    --remote_rm_url reward.py;  reward_func(queries, prompts, labels) -> {"rewards", "scores", "extra_logs"}

The forms were read in those projects' documentation; TRL's is tested with TRL itself, the other two by their signature.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from aligners.rewards.reward import Reward, RewardFunction, Sampled, means
from aligners.rl.experience import TOTAL, RolloutReward
from aligners.rl.rollouts import Rollouts
from evalkit.errors import DataError
from evalkit.files.json_values import json_value
from evalkit.images import ImageFile
from evalkit.schema import Json

ImageOf = Callable[[Mapping[str, Any]], ImageFile | None]  # columns of a row -> its image file
_NOT_COLUMNS = ("completion_ids", "trainer_state", "log_extra", "log_metric", "image", "images")


def trl_reward(
    reward: RewardFunction,
    name: str = "reward",
    image_of: ImageOf | None = None,
) -> Callable[..., list[float | None]]:
    """The function as TRL's `reward_funcs` take it; its parts are logged as `name/part`.

    Args:
        reward: the reward function.
        name: of the metrics.
        image_of: for rewards that look at the image; TRL itself passes it decoded.
    """

    def call(prompts: Sequence[Any], completions: Sequence[Any], **fields: Any) -> list[float | None]:
        columns = {key: values for key, values in fields.items() if key not in _NOT_COLUMNS}
        rows = [{key: values[i] for key, values in columns.items()} for i in range(len(completions))]
        sampled = [
            Sampled(_text_of(prompt), _text_of(completion), image_of(row) if image_of else None, row)
            for prompt, completion, row in zip(prompts, completions, rows, strict=True)
        ]
        rewards = reward(sampled)
        log = fields.get("log_metric")
        if log is not None:
            for part, value in means(rewards).items():
                log(f"{name}/{part}", value)
        return [one.total for one in rewards]

    call.__name__ = name
    return call


def rollout_reward(reward: RewardFunction, references: Mapping[str, Mapping[str, Json]]) -> RolloutReward:
    """The function as this project's RL loop takes it.

    Args:
        reward: the reward function.
        references: id of each prompt -> columns of its row.
    Raises:
        DataError: when called, if a prompt has no reference or a response no total.
    """

    def call(rollouts: Rollouts) -> dict[str, Tensor]:
        absent = sorted({prompt.id for prompt in rollouts.prompts} - references.keys())
        if absent:
            raise DataError(f"{len(absent)} prompts have no reference, e.g. {absent[0]!r}")
        sampled = [
            Sampled(prompt.text, text, None, references[prompt.id])
            for prompt, text in zip(rollouts.prompts, rollouts.texts, strict=True)
        ]
        rewards = reward(sampled)
        totals = [one.total for one in rewards if one.total is not None]
        if len(totals) < len(rewards):
            raise DataError(
                f"{len(rewards) - len(totals)} of {len(rewards)} responses earn nothing that could be counted"
            )
        names = sorted({name for one in rewards for name in one.parts})
        parts = {name: torch.tensor([one.parts.get(name, float("nan")) for one in rewards]) for name in names}
        return {TOTAL: torch.tensor(totals), **parts}

    return call


def verl_reward(reward: RewardFunction, image_of: ImageOf | None = None) -> Callable[..., dict[str, float]]:
    """The function as verl's `custom_reward_function` takes it.

    `ground_truth` is the row's reference, an object or its JSON, of which `image_of` makes the image. A response
    without a total earns 0 there, and the part `scored` says so, since verl knows no absent reward.
    """

    def compute_score(
        data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None
    ) -> dict[str, float]:
        prompt = str((extra_info or {}).get("prompt", ""))
        row = _reference(ground_truth)
        (earned,) = reward([Sampled(prompt, solution_str, image_of(row) if image_of else None, row)])
        return {"score": earned.total or 0.0, "scored": float(earned.total is not None), **earned.parts}

    return compute_score


def openrlhf_reward(reward: RewardFunction, image_of: ImageOf | None = None) -> Callable[..., dict[str, Any]]:
    """The function as OpenRLHF's reward file exports it under the name `reward_func`; labels hold references as JSON.

    `queries` are prompt and response together, so the prompt's length is cut off.
    """

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]) -> dict[str, Any]:
        sampled = []
        for query, prompt, label in zip(queries, prompts, labels, strict=True):
            if not query.startswith(prompt):
                raise DataError(f"a query does not begin with its prompt: {query[:60]!r}")
            row = _reference(label)
            image = image_of(row) if image_of else None
            sampled.append(Sampled(prompt, query[len(prompt) :].strip(), image, row))
        rewards = reward(sampled)
        totals = torch.tensor([one.total if one.total is not None else 0.0 for one in rewards])
        return {"rewards": totals, "scores": totals, "extra_logs": _columns(rewards)}

    return reward_func


def _columns(rewards: Sequence[Reward]) -> dict[str, Any]:
    names = sorted({name for one in rewards for name in one.parts})
    logs = {name: torch.tensor([one.parts.get(name, float("nan")) for one in rewards]) for name in names}
    return logs | {"scored": torch.tensor([float(one.total is not None) for one in rewards])}


def _reference(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json_value(value)
        except ValueError as error:
            raise DataError(f"a reference is not JSON ({error}): {value[:60]!r}") from error
    if not isinstance(value, Mapping):
        raise DataError(f"a reference must be an object of columns, got {type(value).__name__}")
    return value


def _text_of(messages: Any) -> str:
    """The text of a prompt or completion: as it is, or of the last message, image blocks left out."""
    if isinstance(messages, str):
        return messages
    content = messages[-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(block.get("text") or "" for block in content)
