"""The rules judge: right on the miniature world, and nowhere else."""

import json
from pathlib import Path
from random import Random

import pytest

from benchmarks.judges.rules import RulesJudge, named_nouns, rate
from benchmarks.mmhal.benchmark import MMHalBench
from benchmarks.mmhal.ratings import robust_rating
from benchmarks.object_halbench.benchmark import ObjectHalBench
from evalkit.errors import EngineError
from evalkit.harness.judge import Judge
from evalkit.harness.stages import evaluate
from evalkit.metrics import sum_counts
from evalkit.miniature.captions import noisy_caption, true_caption
from evalkit.miniature.files import read_scenes, write_world
from evalkit.sampling import Sampling
from evalkit.schema import Item, Prompt, Response


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), 20, 3)


def reply(prompt: Prompt | None) -> str:
    assert prompt is not None
    (response,) = RulesJudge().generate([prompt], Sampling())
    assert response.text is not None
    return response.text


@pytest.mark.parametrize(
    ("text", "nouns"),
    [
        ("There are two dogs and a bike.", ["dog", "bicycle"]),
        ("A dog. Another dog.", ["dog"]),
        ("There is no cat, but a dog.", []),
        ("A dog without a ball. There isn't a cat. A car.", ["dog", "car"]),
        ("Nothing here.", []),
        ("", []),
    ],
)
def test_named_nouns_are_those_a_text_asserts(text, nouns):
    assert named_nouns(text) == nouns


@pytest.mark.parametrize(
    ("question", "human", "response", "rating"),
    [
        ("Is there a cat in the image?", "No", "No, there is no cat.", 5),
        ("Is there a cat in the image?", "No", "Yes, there is a cat.", 0),
        ("Is there a dog in the image?", "Yes", "No.", 0),
        ("What colour is the cup?", "The cup is red.", "It is red.", 5),
        ("What colour is the cup?", "The cup is red.", "The cup is blue.", 0),
        ("What colour is the cup?", "The cup is red.", "I can't tell.", 3),
        ("How many dogs are there?", "There are two dogs.", "2 dogs", 5),
        ("How many dogs are there?", "There are two dogs.", "One dog", 0),
        ("What is next to the cup?", "There is a dog and a cup.", "A dog.", 4),
        ("What is next to the cup?", "There is a dog and a cup.", "A dog and a kite.", 1),
        ("Where was this picture taken?", "This is a park.", "In a kitchen.", 0),
        ("Describe the image in detail.", "A park with a dog and a cup.", "A park with a dog and a cup.", 5),
        ("Describe the image in detail.", "A park with a dog and a cup.", "A park: a dog, a cup, a kite.", 2),
        ("Describe the image in detail.", "A park with a dog and a cup.", "", 3),
    ],
)
def test_ratings_follow_labels_and_human_answer(question, human, response, rating):
    assert robust_rating(rate({"dog", "cup"}, question, human, response)) == rating


def test_true_captions_are_clean_and_noisy_ones_are_not(world):
    scenes, rng = read_scenes(world), Random(0)
    benchmark = ObjectHalBench.miniature(world)

    def rates(caption) -> dict[str, float | None]:
        counts = []
        for item in benchmark.items():
            text = caption(scenes[int(item.id)], rng)
            score = benchmark.score(item, text, reply(benchmark.judge_prompt(item, text)))
            assert score.counts is not None
            counts.append(score.counts)
        return {metric.name: metric.value(sum_counts(counts)) for metric in benchmark.metrics}

    assert rates(true_caption)["chair_s_refine"] == 0.0
    assert rates(true_caption)["recall"] == 100.0
    noisy = rates(noisy_caption)["chair_s_refine"]
    assert noisy is not None
    assert 20 < noisy < 90


def test_human_answers_are_rated_without_hallucination(world):
    benchmark = MMHalBench.miniature(world)
    for item in benchmark.items():
        answer = item.reference["human_answer"]
        assert robust_rating(reply(benchmark.judge_prompt(item, answer))) == 5, (item.question, answer)


def test_worse_answers_never_score_better(world):
    benchmark = MMHalBench.miniature(world)
    for item in benchmark.items():
        answer = item.reference["human_answer"]
        absent = "a surfboard, a truck, a kite and a banana"
        good = robust_rating(reply(benchmark.judge_prompt(item, answer)))
        bad = robust_rating(reply(benchmark.judge_prompt(item, f"{answer.rstrip('.')}. There is {absent}.")))
        assert bad < 3 <= good


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt("1", "Is there a dog in the image?"),
        Prompt("1", "", system="List the objects."),
        Prompt("1", ""),
    ],
)
def test_prompts_of_others_are_refused(prompt):
    with pytest.raises(EngineError, match="miniature world only"):
        list(RulesJudge().generate([prompt], Sampling()))


def test_official_data_is_refused(assets: Path):
    benchmark = MMHalBench(
        data=assets / "mmhal" / "mmhal-bench_answer_template.json", without_images=True, prompt="own"
    )
    for item in benchmark.items():
        with pytest.raises(EngineError, match="miniature world only"):
            reply(benchmark.judge_prompt(item, "A dog."))
    questions = json.loads((assets / "object_halbench" / "prompts_8.json").read_text(encoding="utf-8"))
    halbench = ObjectHalBench(prompt="own")
    for row in questions:
        with pytest.raises(EngineError, match="miniature world only"):
            reply(halbench.judge_prompt(Item("1", row["question"], None), "There is a dog on a bench."))


def test_it_says_that_rules_judged_and_has_no_probabilities():
    judge = RulesJudge()
    assert judge.describe()["model"] == "rules"
    for call in (judge.logprobs, judge.choices):
        with pytest.raises(EngineError):
            call([], [])


class Parrot:
    """An engine that answers every prompt alike."""

    name = "parrot"

    def __init__(self, text: str) -> None:
        self.text = text

    def describe(self) -> dict[str, str]:
        return {"engine": "parrot", "model": "parrot"}

    def generate(self, prompts, sampling):
        for prompt in prompts:
            yield Response(prompt.id, self.text, finish="stop")

    def stop(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("kind", [ObjectHalBench, MMHalBench])
def test_a_run_through_the_harness_is_scored_in_full(tmp_path, world, kind):
    engine = Parrot("There is a dog and a surfboard in this picture.")
    benchmark = kind.miniature(world)
    summary = evaluate(benchmark, engine, tmp_path / "run", Judge(RulesJudge()))
    assert summary.n_scored == summary.n_total == len(benchmark.items())
    manifest = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert "rules" in manifest["signature"]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["official"]
