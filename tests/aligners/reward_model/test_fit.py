"""The reward model: what it reads, what it trains on, what is stored."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rlhf_world import write_rlhf_world
from safetensors.torch import load_file
from tiny_models import build_tiny, save_tiny

from aligners.fact_rlhf.files import read_comparisons, read_rollout_prompts
from aligners.fact_rlhf.inputs import usable_prompts
from aligners.reward_model import fit
from aligners.reward_model.comparisons import (
    Comparison,
    group_comparisons,
    rating_batch,
    ratings_of,
    split_held_out,
    usable_comparisons,
)
from aligners.reward_model.facts import load_facts
from aligners.reward_model.fit import RewardModelSettings, load_reward_model, measure, rewards_of, train_reward_model
from aligners.reward_model.model import Rating, RatingEncoder, RewardModel
from aligners.training.run_folder import LOG, last_complete_step, read_log
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.errors import DataError, TrainingError, UsageError
from evalkit.images import ImageFile
from evalkit.schema import Turn

QUESTION = (Turn("user", "Describe the image."),)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_rlhf_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny("llava", tmp_path_factory.mktemp("tiny"))


def settings(**changes):
    training = {"learning_rate": 1e-3, "batch_size": 2, "lora_rank": 4} | changes.pop("training", {})
    return RewardModelSettings(**training, **changes)


def rating(world, response, facts=None):
    return Rating("r", ImageFile(world / "images", "000000000000.jpg"), QUESTION, response, facts)


def row(i, image, responses=("a dog", "a cat"), folder=Path()):
    return Comparison(f"c{i}", ImageFile(folder, image), QUESTION, responses, 0)


# --- what it reads --------------------------------------------------------------------------------------------------


def test_facts_stand_in_the_prompt_of_the_reward_model(world):
    _, processor = build_tiny("llava")
    encoder = RatingEncoder(PromptEncoder(processor))
    with_facts, without = (
        encoder.encoder.tokenizer.decode(encoder.encode([rating(world, "A dog.", facts)])["input_ids"][0])
        for facts in (("A red wall.",), None)
    )
    assert "A red wall." in with_facts
    assert "A red wall." not in without
    assert "A dog." in without


def test_padding_does_not_change_rewards(world):
    model, processor = build_tiny("llava")
    encoder = RatingEncoder(PromptEncoder(processor))
    reward_model = RewardModel(model).eval()
    ratings = [rating(world, "A dog."), rating(world, "A dog and a very long list of other things.")]
    together = rewards_of(reward_model, encoder, ratings)
    alone = [rewards_of(reward_model, encoder, [one]).item() for one in ratings]
    assert together.tolist() == pytest.approx(alone, abs=1e-5)


@pytest.fixture
def many(world):
    """Responses to rate: three images, with and without facts, the same words about several of them."""
    images = [ImageFile(world / "images", file.name) for file in sorted((world / "images").iterdir())[:3]]
    words = ("A dog.", "A dog and a very long list of other things.", "No.", "A cat on a mat.")
    facts = (None, ("A red wall.", "Two chairs."), ("A red wall.",))
    return [Rating(f"r{i}", images[i % 3], QUESTION, words[i % 4], facts[i // 4]) for i in range(12)]


@pytest.fixture
def rater():
    model, processor = build_tiny("llava")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return RewardModel(model).eval(), RatingEncoder(PromptEncoder(processor))


@pytest.mark.parametrize("batch_size", [3, 5, 32])
def test_sharing_images_does_not_change_rewards(rater, many, batch_size):
    model, encoder = rater
    rewards_of(model, encoder, many, batch_size)
    assert model.shares_images is True
    shared = rewards_of(model, encoder, many, batch_size)
    model.shares_images = False
    alone = rewards_of(model, encoder, many, 1)
    assert shared.tolist() == pytest.approx(alone.tolist(), abs=1e-5)
    assert len({round(reward, 4) for reward in alone.tolist()}) > 8  # images, words and facts all count


def test_an_image_is_read_once_for_all_its_ratings(rater, many):
    _, encoder = rater
    shared = encoder.encode_by_image(many)
    assert len(shared.inputs["pixel_values"]) == len(shared.inputs["input_ids"]) == 3
    assert encoder.encode_by_image(many[:3]) is None  # three images, nothing to share


def test_a_model_that_reads_shared_rows_otherwise_rates_one_by_one(rater, many, monkeypatch):
    model, encoder = rater
    whole = encoder.encode_by_image
    broken = lambda some: replace(shared, places=shared.places.flip(0)) if (shared := whole(some)) else None  # noqa: E731
    monkeypatch.setattr(encoder, "encode_by_image", broken)
    first = rewards_of(model, encoder, many)
    assert model.shares_images is False
    assert first.tolist() == pytest.approx(rewards_of(model, encoder, many, 1).tolist(), abs=1e-5)


def test_a_placeholder_in_a_response_is_refused(world):
    _, processor = build_tiny("llava")
    with pytest.raises(DataError, match="placeholder"):
        RatingEncoder(PromptEncoder(processor)).encode([rating(world, "An <image> of a dog.")])


# --- data -----------------------------------------------------------------------------------------------------------


def test_rows_that_cannot_be_used_are_counted(world):
    name = "000000000000.jpg"
    rows = [
        row(0, name, folder=world / "images"),
        row(1, name, ("", "a cat")),
        row(2, name, ("a cat", "a cat ")),
        row(3, "absent.jpg", folder=world / "images"),
        row(4, "000000000001.jpg", folder=world / "images"),
    ]
    kept, skipped = usable_comparisons(
        rows, {name: ["A wall."], "absent.jpg": ["x"]}, missing_facts="skip", bad_images="skip"
    )
    assert [comparison.id for comparison in kept] == ["c0"]
    assert skipped == {
        "an empty response": 1,
        "both responses are the same text": 1,
        "image does not open": 1,
        "no facts for its image": 1,
    }


def test_a_process_that_is_not_the_first_opens_no_image(world, monkeypatch, second_of_two):
    opened = []
    monkeypatch.setattr(ImageFile, "open", lambda self: opened.append(self.name))
    rows = read_comparisons(world / "comparisons.json", world / "images")
    second_of_two((rows[:2], {"image does not open": 4}))
    assert usable_comparisons(rows, None) == (rows[:2], {"image does not open": 4})
    prompts = read_rollout_prompts(world / "prompts.json", world / "images")
    second_of_two((prompts[:1], {}))
    assert usable_prompts(prompts, None, PromptEncoder(build_tiny("llava")[1]), 128) == (prompts[:1], {})
    assert opened == []


@pytest.mark.parametrize(("facts", "image"), [({}, "000000000000.jpg"), ({"absent.jpg": ["x"]}, "absent.jpg")])
def test_missing_facts_and_images_are_errors_that_name_the_row(world, facts, image):
    with pytest.raises(DataError, match="c7"):
        usable_comparisons([row(7, image, folder=world / "images")], facts)


def test_nothing_left_is_an_error(world):
    with pytest.raises(TrainingError, match="no comparison is left"):
        usable_comparisons([row(0, "000000000000.jpg", ("a", "a"))], None)


def test_unknown_policies_for_bad_rows_are_refused():
    with pytest.raises(UsageError, match="missing_facts"):
        settings(missing_facts="ignore")


def test_held_out_images_are_not_trained_on():
    rows = [row(i, f"{i // 3}.jpg") for i in range(60)]
    training, held = split_held_out(rows, 9, seed=0)
    assert not {one.image for one in training} & {one.image for one in held}
    assert 6 <= len(held) <= 9
    assert len(training) + len(held) == len(rows)
    assert split_held_out(rows, 9, seed=0) == (training, held)


def test_a_fifth_is_held_out_at_most():
    assert len(split_held_out([row(i, f"{i}.jpg") for i in range(10)], 500, seed=0)[1]) == 2


def test_facts_come_in_another_order_at_another_use(world):
    facts = {"000000000000.jpg": [f"fact {i}" for i in range(8)]}
    first, second = (ratings_of(row(0, "000000000000.jpg"), facts, seed=0, use=use)[0].facts for use in ("0", "1"))
    assert first != second
    assert sorted(first) == sorted(second)


def test_comparisons_of_one_conversation_rate_each_response_once(world):
    name = "000000000000.jpg"
    rows = [
        row(0, name, ("a", "b"), world / "images"),
        replace(row(1, name, ("c ", "a"), world / "images"), preference=1),
        row(2, "000000000001.jpg", ("a", "b"), world / "images"),
    ]
    first, second = group_comparisons(rows, None, seed=0, use="0")
    assert [one.response for one in first.ratings] == ["a", "b", "c"]
    assert first.pairs == ((0, 1, 0), (2, 0, 1))
    assert second.pairs == ((0, 1, 0),)
    _, processor = build_tiny("llava")
    batch = rating_batch([first, second], RatingEncoder(PromptEncoder(processor)))
    assert batch.inputs["input_ids"].shape[0] == 5
    assert batch.pairs.tolist() == [[0, 1], [2, 0], [3, 4]]
    assert batch.choice.tolist() == [0, 1, 0]


# --- training ---------------------------------------------------------------------------------------------------------


def trained(tiny, world, out, **changes):
    return train_reward_model(
        tiny,
        read_comparisons(world / "comparisons.json", world / "images"),
        out,
        settings(**changes),
        facts=load_facts(world / "facts.json"),
    )


@pytest.mark.parametrize("lora", [False, True])
def test_a_trained_reward_model_loads_with_the_rewards_it_had(tiny, world, tmp_path, lora):
    result = trained(tiny, world, tmp_path / "rm", training={"lora": lora, "max_steps": 2}, held_out=1)
    assert (result.pairs, result.held_out) == (5, 1)
    assert result.accuracy.value in (0.0, 100.0)
    assert result.accuracy_no_facts is not None
    assert len(read_log(tmp_path / "rm" / LOG)) == 2
    card = json.loads((tmp_path / "rm" / "card.json").read_text())
    assert card["adapter"] is lora
    model, processor = load_reward_model(tmp_path / "rm")
    assert not any(parameter.requires_grad for parameter in model.parameters())
    encoder = RatingEncoder(PromptEncoder(processor))
    rows = read_comparisons(world / "comparisons.json", world / "images")
    _, held = split_held_out(rows, 1, seed=0)
    again = measure(model, encoder, held, load_facts(world / "facts.json"))
    assert again.value == result.accuracy.value
    fresh, _ = build_tiny("llava")
    moved = [
        not torch.equal(a, b)
        for (name, a), b in zip(model.head.named_parameters(), RewardModel(fresh).head.parameters(), strict=True)
        if name == "weight"
    ]
    assert moved == [True]


def test_a_finished_reward_model_is_not_trained_again_and_another_is_refused(tiny, world, tmp_path):
    first = trained(tiny, world, tmp_path / "rm", training={"max_steps": 1}, held_out=1)
    assert trained(tiny, world, tmp_path / "rm", training={"max_steps": 1}, held_out=1) == first
    with pytest.raises(TrainingError, match="another training run"):
        trained(tiny, world, tmp_path / "rm", training={"max_steps": 2}, held_out=1)


@pytest.mark.parametrize("content", [None, "", '{"accuracy": {"value": 5', "[]", "{}", '{"accuracy": {"other": 1}}'])
def test_an_accuracy_that_was_cut_is_named_with_the_remedy(tmp_path, monkeypatch, content):
    monkeypatch.setattr(fit, "finished_card", lambda *_: SimpleNamespace(cost={}, skipped={}))
    if content is not None:
        (tmp_path / "accuracy.json").write_text(content)
    with pytest.raises(DataError, match=r"accuracy\.json.*to train it again"):
        fit._finished(tmp_path, {})


def test_training_learns_a_preference(tiny, world, tmp_path):
    """Shorter responses preferred throughout: the reward model finds out."""
    rows = [replace(one, preference=0) for one in read_comparisons(world / "comparisons.json", world / "images")] * 4
    rows = [
        replace(one, id=f"{one.id}-{i}", turns=(Turn("user", f"Describe the image, {i}."),))
        for i, one in enumerate(rows)
    ]
    out = tmp_path / "rm"
    chosen = settings(training={"epochs": 3, "batch_size": 4, "learning_rate": 3e-3}, held_out=4)
    result = train_reward_model(tiny, rows, out, chosen, facts=None)
    assert result.accuracy.value == 100.0
    assert result.accuracy_no_facts is None
    log = read_log(out / LOG)
    assert log[-1]["loss"] < 0.9 * log[0]["loss"]


ROOT = Path(__file__).parents[3]


def rate_here(processes, tiny, world, out, die_at=0, *changes):
    """A training on several processes, see rate_here.py; returns what torchrun left."""
    script = [str(ROOT / "tests/aligners/reward_model/rate_here.py"), str(tiny), str(world), str(out), str(die_at)]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, *script, *changes]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def rated_by(processes, tiny, world, out, *changes):
    """(log, weights, accuracies) of a training on several processes."""
    done = rate_here(processes, tiny, world, out, 0, *changes)
    assert done.returncode == 0, done.stderr[-3000:]
    weights = load_file(out / "reward_head.safetensors") | load_file(out / "model.safetensors")
    return read_log(out / LOG), weights, json.loads((out / "accuracy.json").read_text())


@pytest.mark.parametrize("changes", [("lora=false",), ("lora=true", "merge_adapter=true")], ids=["full", "adapter"])
def test_two_processes_train_the_reward_model_of_one(tiny, world, tmp_path, changes):
    one, two = (rated_by(n, tiny, world, tmp_path / str(n), *changes) for n in (1, 2))
    for ours, theirs in zip(two[0], one[0], strict=True):
        for name in ("loss", "accuracy", "margin", "rows"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-5), name
    assert len(one[0]) == 2
    assert two[2] == one[2]
    assert all(torch.allclose(two[1][name], one[1][name], atol=1e-5) for name in one[1])


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [(1, 2, ("lora=false",)), (2, 1, ("lora=true", "merge_adapter=true"))],
    ids=["one, then two", "two, then one"],
)
def test_a_killed_training_continues_on_another_number_of_processes(tiny, world, tmp_path, before, after, changes):
    changes = (*changes, "epochs=3", "save_steps=1")
    whole = rated_by(1, tiny, world, tmp_path / "whole", *changes)
    assert rate_here(before, tiny, world, tmp_path / "killed", 3, *changes).returncode != 0
    assert last_complete_step(tmp_path / "killed")[0] == 2
    killed = rated_by(after, tiny, world, tmp_path / "killed", *changes)
    assert [line["step"] for line in killed[0]] == [1, 2, 3]
    for ours, theirs in zip(killed[0], whole[0], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
    assert killed[2] == whole[2]
    assert all(torch.allclose(killed[1][name], whole[1][name], atol=1e-5) for name in whole[1])


def test_sharded_weights_are_refused(tiny, world, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UsageError, match="trains on whole weights"):
        trained(tiny, world, tmp_path / "rm", training={"max_steps": 1}, held_out=1)


def test_a_folder_without_a_head_is_no_reward_model(tiny):
    with pytest.raises(DataError, match="not a reward model"):
        load_reward_model(tiny)
