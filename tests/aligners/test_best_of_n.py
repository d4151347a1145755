"""The best of N candidates by the implicit reward of the aligned model."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from preference_data import write_images
from tiny_models import save_tiny

from aligners.best_of_n import BestOfN, BestOfNEngine, best_of_n, implicit_reward
from aligners.losses import RewardForm, implicit_rewards
from evalkit.engines.base import TokenLogprobs
from evalkit.engines.replay import ScriptedEngine
from evalkit.errors import EngineError, UsageError
from evalkit.images import ImageFile
from evalkit.sampling import Sampling
from evalkit.schema import Prompt


class Model(ScriptedEngine):
    """Says given texts; every word of a text has the same given log-probability."""

    def __init__(self, texts: Sequence[str | None], logps: dict[str, float]) -> None:
        super().__init__(lambda prompt, sample: texts[sample % len(texts)])
        self.logps = logps

    def logprobs(self, prompts: Sequence[Prompt], continuations: Sequence[str]) -> list[TokenLogprobs]:
        words = [text.split() for text in continuations]
        return [TokenLogprobs(tuple(range(len(row))), tuple(self.logps.get(w, -1.0) for w in row)) for row in words]


PROMPTS = [Prompt("p", "Describe.")]
REFERENCE = Model(["a"], {})


def choose(texts: Sequence[str | None], logps: dict[str, float], **settings: object) -> str | None:
    engine = BestOfNEngine(Model(texts, logps), REFERENCE, BestOfN(n=len(texts), **settings))  # type: ignore[arg-type]
    (response,) = engine.generate(PROMPTS, Sampling())
    return response.text


def test_the_response_with_the_highest_reward_is_returned() -> None:
    assert choose(["cup", "dog", "car"], {"cup": -2.0, "dog": -0.5, "car": -3.0}) == "dog"


@pytest.mark.parametrize(("form", "best"), [("sum", "bad"), ("mean", "poor poor poor fine")])
def test_the_sum_favours_short_responses(form: str, best: str) -> None:
    logps = {"bad": -1.5, "poor": -1.5, "fine": -1.1}  # reference: -1 a word
    assert choose(["bad", "poor poor poor fine"], logps, form=form) == best


def test_rewards_equal_those_of_the_losses() -> None:
    policy, reference = TokenLogprobs((1, 2, 3), (-1.0, -0.5, -2.0)), TokenLogprobs((1, 2, 3), (-1.5, -0.25, -2.5))
    rows = [torch.tensor([row.logprobs], dtype=torch.float64) for row in (policy, reference)]
    mask = torch.ones(1, 3, dtype=torch.bool)
    for form, name in (("sum", RewardForm.SUM), ("mean", RewardForm.MEAN)):
        expected = implicit_rewards(*rows, mask, beta=0.1, form=name).item()
        assert implicit_reward(policy, reference, 0.1, form) == pytest.approx(expected, abs=1e-12)  # type: ignore[arg-type]


def test_failed_and_empty_candidates_lose() -> None:
    assert choose([None, "", "dog"], {"dog": -9.0}) == "dog"
    assert choose([None, ""], {}) == ""


def test_a_prompt_whose_candidates_all_failed_fails() -> None:
    engine = BestOfNEngine(Model([None, None], {}), REFERENCE, BestOfN(n=2))
    (response,) = engine.generate(PROMPTS, Sampling())
    assert response.text is None
    assert response.failure == "scripted failure"


def test_every_response_has_candidates_of_its_own() -> None:
    engine = BestOfNEngine(Model(["a", "b", "c", "d"], {"b": 0.0, "d": 0.0}), REFERENCE, BestOfN(n=2))
    found = list(engine.generate(PROMPTS, Sampling(n=2)))
    assert [(response.sample, response.text) for response in found] == [(0, "b"), (1, "d")]


def test_many_prompts_are_all_answered() -> None:
    prompts = [Prompt(str(i), "Describe.") for i in range(40)]
    engine = BestOfNEngine(Model(["a", "b"], {"b": 0.0}), REFERENCE, BestOfN(n=2))
    assert [r.prompt_id for r in engine.generate(prompts, Sampling())] == [p.id for p in prompts]


@pytest.mark.parametrize("wrong", [{"n": 1}, {"temperature": 0.0}])
def test_settings_that_rank_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="at least 2 candidates and a temperature above 0"):
        BestOfNEngine(REFERENCE, REFERENCE, BestOfN(**wrong))  # type: ignore[arg-type]


def test_the_description_tells_the_ranking() -> None:
    told = BestOfNEngine(Model(["a"], {}), REFERENCE, BestOfN(n=4, form="sum")).describe()["best_of"]
    assert (told["n"], told["form"], told["reference"]["engine"]) == (4, "sum", "scripted")


def test_checkpoints_rank_each_other_and_themselves_never(tmp_path: Path) -> None:
    write_images(tmp_path, 1)
    aligned, start = save_tiny("llava", tmp_path / "a", seed=1), save_tiny("llava", tmp_path / "b", seed=0)
    engine = best_of_n(aligned, start, n=3, temperature=1.0, batch_size=4)
    prompts = [Prompt("p", "What is it?", (ImageFile(tmp_path, "0.png"),))]
    sampling = Sampling(max_new_tokens=6)
    (best,) = engine.generate(prompts, sampling)
    drawn = list(engine._engine.generate(prompts, Sampling(temperature=1.0, max_new_tokens=6, n=3)))
    rewards = engine.rewards(prompts, drawn)
    assert best.text == drawn[rewards.index(max(rewards))].text
    with pytest.raises(EngineError, match="same weights"):
        best_of_n(start, start)
