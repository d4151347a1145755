"""A model that says nothing and a judge that never answers, through every judged benchmark: flagged, first nowhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cli.registry import build
from benchmarks.judges.rules import RulesJudge
from evalkit.analysis.leaderboard import boards
from evalkit.engines.replay import ScriptedEngine
from evalkit.harness.judge import Judge
from evalkit.harness.stages import evaluate
from evalkit.miniature.files import write_world
from evalkit.reports.runs import table
from evalkit.runs.run import load_run
from evalkit.sampling import Sampling
from evalkit.schema import Prompt

PAIRWISE = ("llava_bench", "llava_bench_wild", "refomb")
JUDGED = ("mmhal", "object_halbench", *PAIRWISE, "hallusionbench")
Says = Callable[[Prompt, int], str | None]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"), 4, 0)


def talks(prompt: Prompt, sample: int) -> str:
    """Nothing that is flagged by itself: not always Yes, not the same to every question, some objects are there."""
    answer = ("Yes", "No")[len(prompt.text) % 2]
    return f"{answer}, picture {prompt.id} shows a person with a dog and a car on a beach, and a bear."


def judges(prompt: Prompt, sample: int) -> str:
    return next(iter(RulesJudge().generate([prompt], Sampling()))).text or ""


def run(name: str, world: Path, folder: Path, say: Says, judge: Says) -> dict[str, Any]:
    """metrics.json of a run; all judges have one name, so that their runs share a board."""
    evaluate(
        build(name, {}, world), ScriptedEngine(say, folder.name), folder, Judge(ScriptedEngine(judge, "j"), retries=0)
    )
    return dict(json.loads((folder / "metrics.json").read_text()))


def disqualifying(found: dict[str, Any]) -> set[str]:
    return {flag["kind"] for flag in found["checks"]["flags"] if flag["disqualifies"]}


@pytest.mark.parametrize("said", ["", "."])
@pytest.mark.parametrize("name", JUDGED[:-1])
def test_a_model_that_says_nothing_is_flagged_and_ranked_last(
    name: str, said: str, world: Path, tmp_path: Path
) -> None:
    silent = run(name, world, tmp_path / "silent", lambda prompt, sample: said, judges)
    run(name, world, tmp_path / "talkative", talks, judges)
    assert "empty" in disqualifying(silent)
    assert silent["metrics"][next(iter(silent["metrics"]))]["value"] != 100
    (board,) = boards([load_run(tmp_path / "silent"), load_run(tmp_path / "talkative")])
    assert [entry.label for entry in board.entries] == ["talkative", "silent"]
    assert not board.entries[1].best
    text = table([tmp_path / "silent", tmp_path / "talkative"])
    assert text.index("\ntalkative") < text.index("\nsilent !")


def test_silence_is_no_better_than_a_constant_in_hallusionbench(world: Path, tmp_path: Path) -> None:
    silent = run("hallusionbench", world, tmp_path / "silent", lambda prompt, sample: "", judges)
    assert {"empty", "baseline"} <= disqualifying(silent)
    assert silent["metrics"]["pair_accuracy"]["value"] == 0


@pytest.mark.parametrize("name", PAIRWISE)
def test_a_judge_that_likes_silence_does_not_put_it_first(name: str, world: Path, tmp_path: Path) -> None:
    """The worst judge there is: a tie for everything, which is 100 of 100 in LLaVA-Bench."""
    flattery = "[[B]]" if name == "refomb" else "8 8"
    silent = run(name, world, tmp_path / "silent", lambda prompt, sample: "", lambda prompt, sample: flattery)
    run(name, world, tmp_path / "talkative", talks, judges)
    assert "empty" in disqualifying(silent)
    (board,) = boards([load_run(tmp_path / "silent"), load_run(tmp_path / "talkative")], mark_best=False)
    assert board.entries[-1].label == "silent"


@pytest.mark.parametrize("reply", [None, "I would rather not say."])
@pytest.mark.parametrize("name", JUDGED)
def test_a_judge_that_never_answers_gives_no_score_and_a_flag(
    name: str, reply: str | None, world: Path, tmp_path: Path
) -> None:
    if name == "hallusionbench" and reply is not None:
        pytest.skip("its authors read every reply without a verdict as unclear, which is a score")
    found = run(name, world, tmp_path / "unjudged", talks, lambda prompt, sample: reply)
    assert found["n_scored"] == 0
    assert sum(found["failures"].values()) == found["n_total"]
    assert all(metric["value"] is None for metric in found["metrics"].values())
    assert disqualifying(found) == {"coverage"}
    run(name, world, tmp_path / "judged", talks, judges)
    text = table([tmp_path / "unjudged", tmp_path / "judged"])
    assert text.index("\njudged") < text.index("\nunjudged !")
