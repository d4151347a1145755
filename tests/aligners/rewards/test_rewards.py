"""Reward functions: what earns and what costs, and the forms other trainers call them in."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from aligners.presets import FACT_RLHF_MASKED
from aligners.rewards import chair_reward, openrlhf_reward, rollout_reward, trl_reward, verl_reward
from aligners.rewards.chair import ChairWeights
from aligners.rewards.reward import Reward, Sampled, means
from aligners.rl.advantages import ADVANTAGES
from aligners.rl.rollouts import RolloutPrompt, Rollouts
from aligners.settings import FactRlhfSettings
from benchmarks.objects.mentions import MentionFinder, Vocabulary
from evalkit.errors import DataError
from evalkit.images import ImageFile

FINDER = MentionFinder(
    Vocabulary({"dog": "dog", "puppy": "dog", "cat": "cat", "cup": "cup", "dining table": "dining table"}, {}),
    "singularize",
)
ROW = {"objects": ["dog", "cup"], "counts": {"dog": 2, "cup": 1}}


def rewarded(text, row=ROW, weights=None):
    (found,) = chair_reward(FINDER, weights)([Sampled("Describe.", text, None, row)])
    return found


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Two dogs and a cup.", {"hallucinated": 0, "covered": 1.0, "wrong_counts": 0, "words": 5}),
        ("Three dogs next to a cat.", {"hallucinated": 1, "covered": 0.5, "wrong_counts": 1, "words": 6}),
        ("A small brown dog. Dogs. 2 dogs", {"hallucinated": 0, "covered": 0.5, "wrong_counts": 1, "words": 7}),
        ("Two cups with a dog", {"hallucinated": 0, "covered": 1.0, "wrong_counts": 2, "words": 5}),
        ("", {"hallucinated": 0, "covered": 0.0, "wrong_counts": 0, "words": 0}),
    ],
)
def test_parts_of_the_chair_reward(text, parts):
    found = rewarded(text)
    assert found.parts == pytest.approx(parts)
    assert found.total == pytest.approx(parts["covered"] - 0.5 * parts["hallucinated"] - 0.25 * parts["wrong_counts"])


def test_an_image_without_objects_is_covered_by_silence():
    assert rewarded("Nothing.", {"objects": []}).total == 1.0
    assert rewarded("A dog.", {"objects": []}).total == 0.5


def test_saying_nothing_never_beats_saying_what_is_there_and_inventing_never_pays():
    assert rewarded("Two dogs and a cup.").total > rewarded("Two dogs.").total > rewarded("").total
    assert rewarded("Two dogs and a cat.").total < rewarded("Two dogs.").total


def test_words_cost_where_they_are_weighed():
    weights = ChairWeights(words=0.01)
    short, long = rewarded("Two dogs", weights=weights), rewarded("Two dogs " + "very " * 10, weights=weights)
    assert short.total - long.total == pytest.approx(0.1)


def test_a_row_without_objects_is_an_error_and_no_reward():
    with pytest.raises(DataError, match=r"column 'objects'.*image_id"):
        rewarded("A dog.", {"image_id": 3})


def test_the_form_of_trl_reads_messages_and_columns_and_logs_the_parts():
    logged = {}
    reward = trl_reward(chair_reward(FINDER), "chair")
    prompt = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe."}]}]
    found = reward(
        prompts=[prompt, prompt],
        completions=[[{"role": "assistant", "content": "Two dogs."}], "A cat."],
        completion_ids=[[1], [2]],
        objects=[["dog"], ["dog"]],
        counts=[{"dog": 2}, None],
        image=[object(), object()],
        trainer_state=object(),
        log_metric=logged.__setitem__,
    )
    assert found == [1.0, -0.5]
    assert reward.__name__ == "chair"
    assert logged["chair/hallucinated"] == 0.5
    assert logged["chair/total"] == 0.25


def test_the_form_of_trl_hands_none_on():
    assert trl_reward(lambda rows: [Reward(None) for _ in rows])(["p"], ["c"]) == [None]


def test_the_form_of_verl_has_a_score_and_the_parts():
    found = verl_reward(chair_reward(FINDER))("coco", "Two dogs and a cat.", json.dumps(ROW), {"index": 1})
    assert found["score"] == pytest.approx(0.0)
    assert found["hallucinated"] == 1
    assert found["scored"] == 1.0
    assert verl_reward(lambda rows: [Reward(None)])("coco", "x", ROW)["scored"] == 0.0


def test_the_form_of_openrlhf_cuts_the_prompt_off():
    prompt = "USER: is there a cat? ASSISTANT:"
    found = openrlhf_reward(chair_reward(FINDER))([prompt + " Two dogs."], [prompt], [json.dumps(ROW)])
    assert found["rewards"].tolist() == [0.5]
    assert found["extra_logs"]["hallucinated"].tolist() == [0.0]  # the cat of the prompt is not the policy's
    with pytest.raises(DataError, match="does not begin with its prompt"):
        openrlhf_reward(chair_reward(FINDER))(["other"], [prompt], [ROW])


@pytest.mark.parametrize("reference", ["{", "[1]", 3])
def test_a_reference_that_is_no_object_is_refused(reference):
    with pytest.raises(DataError, match="reference"):
        verl_reward(chair_reward(FINDER))("coco", "A dog.", reference)


def test_means_leave_absent_values_out():
    assert means([Reward(1.0, {"a": 2.0}), Reward(None, {"a": 4.0}), Reward(3.0)]) == {"total": 2.0, "a": 3.0}


def rolled_out(*texts):
    prompts = tuple(RolloutPrompt(str(i // 2), ImageFile(Path(), "i.png"), "Describe.") for i in range(len(texts)))
    return Rollouts(prompts, texts, None)


def test_a_rollout_earns_its_total_and_the_parts_beside_it():
    reward = rollout_reward(chair_reward(FINDER), {"0": ROW, "1": {"objects": ["cat"]}})
    found = reward(rolled_out("Two dogs.", "A cat.", "A cat.", "Two dogs."))
    assert found["total"].tolist() == [0.5, -0.5, 1.0, -0.5]
    assert found["hallucinated"].tolist() == [0.0, 1.0, 0.0, 1.0]


def test_a_rollout_without_a_reference_or_a_total_is_an_error():
    with pytest.raises(DataError, match=r"1 prompts have no reference, e\.g\. '1'"):
        rollout_reward(chair_reward(FINDER), {"0": ROW})(rolled_out("A", "B", "C"))
    with pytest.raises(DataError, match="2 of 2 responses"):
        rollout_reward(lambda rows: [Reward(None) for _ in rows], {"0": ROW})(rolled_out("A", "B"))


def test_grpo_compares_the_responses_to_one_prompt_in_units_of_their_spread():
    settings = replace(FACT_RLHF_MASKED, advantage="grpo", samples_per_prompt=2, kl_coefficient=0.5, reward_scale=1.0)
    mask = torch.ones(4, 3, dtype=torch.bool)
    kl = torch.zeros(4, 3)
    kl[0] = 1.0  # costs 0.5 * 3 of the reward of 5.5
    rewards = torch.tensor([5.5, 2.0, 1.0, 1.0])
    advantages, returns = ADVANTAGES["grpo"](rewards, kl, torch.zeros(4, 3), mask, settings)
    assert advantages[:, 0].tolist() == pytest.approx([2**-0.5, -(2**-0.5), 0.0, 0.0], abs=1e-5)
    assert torch.equal(advantages[:, 0], advantages[:, 2])
    assert not returns.any()


def test_every_advantage_that_can_be_asked_for_is_there():
    kinds = get_args(get_type_hints(FactRlhfSettings)["advantage"])
    assert set(ADVANTAGES) == set(kinds)
