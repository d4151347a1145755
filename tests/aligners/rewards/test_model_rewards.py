"""Rewards that ask models: claims checked by a labeler, the reward model with facts; and all of them inside TRL."""

import json

import pytest
import torch
from rlhf_world import write_rlhf_world
from tiny_models import build_tiny

from aligners.feedback.claims import Claim
from aligners.feedback.splitting import Divided, RuleSplitter
from aligners.reward_model.model import RatingEncoder, RewardModel
from aligners.rewards import chair_reward, claim_reward, fact_reward, openrlhf_reward, trl_reward, verl_reward
from aligners.rewards.claims import ClaimWeights
from aligners.rewards.facts import FactWeights
from aligners.rewards.reward import Sampled
from benchmarks.objects.mentions import MentionFinder, Vocabulary
from evalkit.engines.base import Choices
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.replay import ScriptedEngine
from evalkit.errors import DataError
from evalkit.files.cache import Cache
from evalkit.images import ImageFile

TRUE = ("dog", "two cups")


def things(text):
    """A claim for every part between commas."""
    return [Claim(f"There is {part}.", f"Is there {part}?") for part in map(str.strip, text.split(",")) if part]


class Labeler(ScriptedEngine):
    """Says yes to what is TRUE."""

    def __init__(self):
        super().__init__(lambda prompt, sample: None)
        self.asked = []

    def choices(self, prompts, groups):
        self.asked += prompts
        yes = [any(f"there {thing}?" in prompt.text for thing in TRUE) for prompt in prompts]
        return [Choices((0.9, 0.1) if one else (0.2, 0.8), "Yes") for one in yes]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_rlhf_world(tmp_path_factory.mktemp("world"))


def image(world, number=0):
    return ImageFile(world / "images", f"{number:012d}.jpg")


def sampled(world, text, number=0, **reference):
    return Sampled("Describe.", text, image(world, number), reference)


SPLITTER = RuleSplitter("things", things)


@pytest.mark.parametrize(
    ("text", "parts", "total"),
    [
        ("dog, two cups", {"hallucinated": 0, "covered": 2, "wrong_counts": 0, "words": 3}, 1.0),
        ("dog, cat, three cups", {"hallucinated": 2, "covered": 1, "wrong_counts": 1, "words": 4}, -1.75),
        ("dog, dog, dog", {"hallucinated": 0, "covered": 1, "wrong_counts": 0, "words": 3}, 0.5),
        ("", {"words": 0}, None),
    ],
)
def test_refuted_claims_cost_and_confirmed_ones_pay(world, text, parts, total):
    reward = claim_reward(SPLITTER, Labeler(), weights=ClaimWeights(wrong_counts=0.25))
    [found] = reward([sampled(world, text)])
    assert found.parts == parts
    assert found.total == (total if total is None else pytest.approx(total))


def test_a_judgement_is_asked_for_once_a_picture_and_labeler(world, tmp_path):
    labeler = Labeler()
    with Cache(tmp_path / "judgements.sqlite") as cache:
        reward = claim_reward(SPLITTER, labeler, cache)
        first = reward([sampled(world, "dog, cat"), sampled(world, "cat, dog"), sampled(world, "dog", 1)])
        assert sorted(prompt.text for prompt in labeler.asked) == sorted(
            f"Is there {thing}? Please answer yes or no." for thing in ("dog", "cat", "dog")
        )
        assert [prompt.images[0].name for prompt in labeler.asked] == [image(world, n).name for n in (0, 0, 1)]
        assert reward([sampled(world, "dog, cat")]) == first[:1]
        assert len(labeler.asked) == 3
    other = Labeler()
    other.name = "other"
    with Cache(tmp_path / "judgements.sqlite") as cache:
        assert claim_reward(SPLITTER, Labeler(), cache)([sampled(world, "dog, cat")]) == first[:1]
        claim_reward(SPLITTER, labeler, cache, wording="Tell me: {question}")([sampled(world, "dog")])
        assert len(labeler.asked) == 4  # asked otherwise, judged anew


def test_a_splitter_that_fails_earns_nothing_and_costs_nothing(world):
    class Failing:
        def split(self, candidates):
            yield from (Divided(candidate.id, (), "no list") for candidate in candidates)

    [found] = claim_reward(Failing(), Labeler())([sampled(world, "a dog")])
    assert found.total is None
    assert found.parts == {"words": 2}


def test_rewards_that_look_at_images_say_so(world):
    model = RewardModel(build_tiny("llava")[0])
    for reward in (claim_reward(SPLITTER, Labeler()), fact_reward(model, None)):
        with pytest.raises(DataError, match="image_of"):
            reward([Sampled("Describe.", "a dog", None, {"facts": ["A dog."]})])


# --- facts ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rater():
    model, processor = build_tiny("llava")
    return RewardModel(model).eval().requires_grad_(False), PromptEncoder(processor)


def test_the_reward_model_reads_facts_in_a_new_order_each_call(world, rater):
    model, encoder = rater
    read = []

    class Spy(RatingEncoder):
        def prompt(self, rating):
            read.append(rating.facts)
            return super().prompt(rating)

    facts = [f"Fact {i}." for i in range(6)]
    runs = []
    for _ in range(2):
        reward = fact_reward(model, Spy(encoder))
        runs.append([reward([sampled(world, "A dog.", facts=facts)])[0].total for _ in range(4)])
    assert {frozenset(order) for order in read} == {frozenset(facts)}
    half = len(read) // 2
    assert len(set(read[:half])) > 1  # of 720 orders, four calls do not draw one and the same
    assert read[:half] == read[half:]
    assert runs[0] == runs[1]


def test_parts_of_the_fact_reward_and_what_is_watched_beside(world, rater):
    model, encoder = rater
    finder = MentionFinder(Vocabulary({"dog": "dog", "cat": "cat"}, {}), "singularize")
    weights = FactWeights(correct=2.0, words=0.1)
    reward = fact_reward(model, RatingEncoder(encoder), weights, watch=chair_reward(finder))
    row = {"facts": ["A dog."], "caption_type": 6, "objects": ["dog"]}
    [found] = reward([sampled(world, "No cat here", **row)])
    assert found.parts["correct"] == 0.5
    assert (found.parts["words"], found.parts["hallucinated"], found.parts["covered"]) == (3, 1, 0)
    assert found.total == pytest.approx(found.parts["model_score"] + 2.0 * 0.5 - 0.1 * 3)


@pytest.mark.parametrize("row", [{}, {"facts": []}, {"facts": "A dog."}])
def test_a_row_without_facts_is_an_error(world, rater, row):
    with pytest.raises(DataError, match="column 'facts'"):
        fact_reward(rater[0], RatingEncoder(rater[1]))([sampled(world, "A dog.", **row)])


# --- in the forms of others -----------------------------------------------------------------------------------------


def test_verl_and_openrlhf_hand_over_no_picture_so_the_reference_names_it(world, rater):
    name = image(world).name
    reference = json.dumps({"facts": ["A dog."], "image_name": name})

    def image_of(row):
        return ImageFile(world / "images", row["image_name"])

    reward = fact_reward(rater[0], RatingEncoder(rater[1]))
    verl = verl_reward(reward, image_of)("coco", "A dog.", reference, {"prompt": "Describe."})
    assert verl["score"] == pytest.approx(verl["model_score"])
    query = "USER: Describe. ASSISTANT:"
    other = openrlhf_reward(claim_reward(SPLITTER, Labeler()), image_of)([query + " dog, cat"], [query], [reference])
    assert other["rewards"].tolist() == [-0.5]
    assert other["extra_logs"]["hallucinated"].tolist() == [1.0]


@pytest.fixture
def trl():
    pytest.importorskip("trl")
    import trl
    import trl.trainer.grpo_trainer
    import trl.trainer.rloo_trainer

    return trl


@pytest.mark.parametrize("kind", ["RLOO", "GRPO"])
def test_trl_trains_on_the_three_rewards_and_logs_their_parts(trl, world, rater, tmp_path, kind):
    from datasets import Dataset

    model, processor = build_tiny("llava")
    model.save_pretrained(tmp_path / "start")
    model.config._name_or_path = str(tmp_path / "start")
    finder = MentionFinder(Vocabulary({"dog": "dog"}, {}), "singularize")

    def image_of(row):
        return ImageFile(world / "images", row["image_name"])

    def letters(text):
        return [Claim(letter, f"Is there {letter}?") for letter in dict.fromkeys(filter(str.isalpha, text))]

    rewards = [
        trl_reward(chair_reward(finder), "chair"),
        trl_reward(claim_reward(RuleSplitter("letters", letters), Labeler()), "claims", image_of),
        trl_reward(fact_reward(rater[0], RatingEncoder(rater[1])), "facts", image_of),
    ]
    names = [image(world, number).name for number in range(2)]
    rows = [{"prompt": [{"role": "user", "content": "Describe."}], "image_name": name} for name in names]
    rows = [row | {"objects": ["dog"], "facts": ["A wall.", "A dog."]} for row in rows]
    pictures = [image(world, number).open() for number in range(2)]
    data = Dataset.from_list([row | {"image": picture} for row, picture in zip(rows, pictures, strict=True)])
    arguments = getattr(trl, f"{kind}Config")(
        output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4, num_generations=2,
        max_completion_length=6, logging_steps=1, report_to="none", bf16=False, use_cpu=True, disable_tqdm=True,
        save_strategy="no",
    )  # fmt: skip
    trainer = getattr(trl, f"{kind}Trainer")(
        model=model, reward_funcs=rewards, args=arguments, train_dataset=data, processing_class=processor
    )
    trainer.train()
    line = trainer.state.log_history[0]
    for name in ("chair/covered", "claims/hallucinated", "claims/words", "facts/model_score", "facts/words"):
        assert name in line, name
    assert line["chair/covered"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    assert line["rewards/facts/mean"] == pytest.approx(line["facts/total"], abs=1e-5)
    assert torch.isfinite(torch.tensor(line["loss"]))
