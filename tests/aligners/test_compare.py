"""Checkpoints side by side: recall and length beside every rate, differences paired with the base, collapse flagged."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from aligners.compare import comparison_tables, fluent_share, render_all, training_cost
from benchmarks import CHAIR
from evalkit.engines.replay import ScriptedEngine
from evalkit.errors import UsageError
from evalkit.harness.stages import evaluate
from evalkit.miniature.captions import correct, noisy_caption
from evalkit.miniature.files import read_scenes, write_world
from evalkit.runs.run import load_run
from evalkit.schema import Prompt

SCENES = 60


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that hallucinates, its corrected descendant, and one that says "." whatever it sees."""
    folder = tmp_path_factory.mktemp("compare")
    world = write_world(folder / "world", SCENES, 0)
    benchmark = CHAIR.miniature(world)
    scenes = {str(image_id): scene for image_id, scene in read_scenes(world).items()}
    noisy = {item.id: noisy_caption(scenes[item.id], Random(int(item.id))) for item in benchmark.items()}
    speakers: dict[str, Callable[[Prompt, int], str]] = {
        "base": lambda prompt, sample: noisy[prompt.id],
        "corrected": lambda prompt, sample: correct(noisy[prompt.id], scenes[prompt.id]),
        "collapsed": lambda prompt, sample: ".",
    }
    for label, say in speakers.items():
        evaluate(benchmark, ScriptedEngine(say, label), folder / "runs" / label / "chair", label=label)
    return folder / "runs"


def test_a_collapsed_checkpoint_is_flagged_and_listed_last_although_it_hallucinates_nothing(runs: Path) -> None:
    (table,) = comparison_tables(runs / "base", [runs / "collapsed", runs / "corrected"])
    shown = [row[0].text for row in table.rows if not row[0].text.startswith(" ")]
    assert shown == ["base", "corrected", "collapsed !"]
    collapsed = table.rows[-2]
    assert collapsed[table.columns.index("chair_s ↓")].text.startswith("0.0")
    assert any("collapsed" in note for note in table.notes if note.startswith("!"))


def test_recall_length_and_fluency_stand_beside_the_rate_and_differences_are_paired(runs: Path) -> None:
    (table,) = comparison_tables(runs / "base", [runs / "corrected"])
    assert {"chair_s ↓", "chair_i ↓", "recall ↑", "length", "fluent ↑", "pairs", "steps", "seconds"} <= set(
        table.columns
    )
    base, corrected, difference = table.rows
    column = table.columns.index("chair_s ↓")
    expected = float(corrected[column].text.split()[0]) - float(base[column].text.split()[0])
    assert float(difference[column].text.split()[0]) == pytest.approx(expected, abs=0.11)
    assert difference[column].text.endswith("*")  # 60 paired scenes show the whole removal of hallucinations
    assert "* p < 0.05 after Holm's correction" in render_all([table])


def test_training_costs_come_from_the_card(tmp_path: Path, runs: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps({"cost": {"pairs": 918, "steps": 29, "seconds": 13.4}}))
    (table,) = comparison_tables(runs / "base", [runs / "corrected"], {"corrected": tmp_path})
    assert [cell.text for cell in table.rows[1][-3:]] == ["918", "29", "13"]
    assert [cell.text for cell in table.rows[0][-3:]] == ["-", "-", "-"]
    assert training_cost(tmp_path / "absent") == {}


def test_fluency_is_the_share_of_texts_that_are_not_degenerate(runs: Path) -> None:
    assert fluent_share(load_run(runs / "base" / "chair")) == 100
    assert (fluent_share(load_run(runs / "collapsed" / "chair")) or 0) < 50


def test_a_checkpoint_without_the_base_s_benchmarks_is_a_usage_error(tmp_path: Path, runs: Path) -> None:
    with pytest.raises(UsageError, match="not scored on chair"):
        comparison_tables(runs / "base", [tmp_path])
    with pytest.raises(UsageError, match="no scored runs"):
        comparison_tables(tmp_path, [])
