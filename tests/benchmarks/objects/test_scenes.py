"""Over-generalisation: the scene of an image, rates there and anywhere, the report and the dashboard's table."""

import json
from pathlib import Path

import pytest

from benchmarks.chair import CHAIR
from benchmarks.objects.scenes import scene_of
from dashboard.frames.objects import scenes_table
from evalkit.__main__ import main
from evalkit.analysis.scenes import by_scene
from evalkit.engines.replay import ScriptedEngine
from evalkit.harness.stages import evaluate
from evalkit.miniature.files import write_world
from evalkit.runs.run import Run, load_run


@pytest.mark.parametrize(
    ("captions", "scene"),
    [(["A Kitchen with a stove.", "Food."], "kitchen"), (["A dog.", "A cat."], None), ([], None),
     (["A kitchen.", "A living room."], None), (["A street.", "Two streets.", "A park."], "street")],
)  # fmt: skip
def test_the_scene_is_what_most_captions_name(captions: list[str], scene: str | None) -> None:
    assert scene_of(captions) == scene


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A model that names a cup in every picture: true and false ones, more of the latter outside kitchens."""
    folder = tmp_path_factory.mktemp("scenes")
    benchmark = CHAIR.miniature(write_world(folder / "world", 60, 0), "singularize")
    evaluate(benchmark, ScriptedEngine(lambda p, s: "There is a cup and a person."), folder / "runs" / "m" / "chair")
    return load_run(folder / "runs" / "m" / "chair")


def test_rates_there_and_anywhere_are_means_over_mentioned_objects(run: Run) -> None:
    rows = {row.scene: row for row in by_scene(run, resamples=500)}
    assert "kitchen" in rows
    kitchen = rows["kitchen"]
    shown = [row for row in run.scored if row["reference"].get("scene") == "kitchen"]
    assert kitchen.images == len(shown)

    def rate(records, name):
        wrong = sum(name not in row["reference"]["objects"] for row in records)
        return 100 * wrong / len(records)

    named = [name for name in ("cup", "person") if name in kitchen.objects]
    assert "cup" in named
    assert kitchen.here == pytest.approx(sum(rate(shown, name) for name in named) / len(named))
    assert kitchen.anywhere == pytest.approx(sum(rate(run.scored, name) for name in named) / len(named))
    assert kitchen.delta.value == pytest.approx(kitchen.here - kitchen.anywhere)
    assert kitchen.delta.low is not None
    assert kitchen.delta.low < kitchen.delta.value < kitchen.delta.high


def test_the_objects_of_a_scene_are_those_with_most_instances(run: Run) -> None:
    kitchen = next(row for row in by_scene(run, resamples=50) if row.scene == "kitchen")
    counts: dict[str, int] = {}
    for row in run.scored:
        if row["reference"].get("scene") == "kitchen":
            for box in row["reference"]["boxes"]:
                counts[box["object"]] = counts.get(box["object"], 0) + 1
    assert counts[kitchen.objects[0]] == max(counts.values())
    assert len(kitchen.objects) <= 10


def test_the_report_and_the_dashboard_show_it(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run.path), "--by-scene"]) == 0
    out = capsys.readouterr().out
    assert "by scene" in out
    assert "kitchen" in out
    table = scenes_table(run)
    assert set(table["scene"]) >= {"kitchen"}
    assert main(["report", str(run.path), "--by-scene", "--format", "csv"]) == 1


def test_a_run_without_scenes_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    references, synonyms = tmp_path / "r.json", tmp_path / "s.txt"
    references.write_text(json.dumps({"1": ["dog"]}))
    synonyms.write_text("dog, puppy\n")
    benchmark = CHAIR(synonyms=synonyms, references=references, variant="singularize")
    evaluate(benchmark, ScriptedEngine(lambda p, s: "A dog."), tmp_path / "runs" / "m" / "chair")
    assert main(["report", str(tmp_path / "runs"), "--by-scene"]) == 0
    assert "no run knows the scenes" in capsys.readouterr().out
