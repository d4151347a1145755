"""A collapsed checkpoint in the miniature world: flagged in metrics, report and comparison, and never ranked first.

The same world shows that `compare` refuses runs that differ in one setting of the command line.
"""

import json

import pytest

from benchmarks.amber.benchmark import AMBER
from benchmarks.chair import CHAIR
from evalkit import compare
from evalkit.engines.replay import ScriptedEngine
from evalkit.errors import UsageError
from evalkit.harness.stages import evaluate
from evalkit.miniature.files import write_world
from evalkit.reports.comparisons import comparison_report
from evalkit.reports.runs import table
from evalkit.sampling import Sampling

CAPTIONS = (
    "There is a dog next to a car.",
    "A person sits on a chair with a cat.",
    "A cup and a banana lie on a table.",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"), 24, seed=3)


def talkative(prompt, sample):
    return f"{CAPTIONS[sum(map(ord, prompt.id)) % 3]} This is picture {prompt.id}."


def run(world, folder, say=talkative, label="talkative", benchmark=CHAIR, limit=None, tokens=512, **options):
    bench = benchmark.miniature(world, **options)
    sampling = Sampling(max_new_tokens=tokens)
    evaluate(bench, ScriptedEngine(say, label), folder, sampling=sampling, limit=limit)
    return folder


def test_a_collapsed_checkpoint_is_flagged_everywhere_and_first_nowhere(world, tmp_path):
    good = run(world, tmp_path / "good")
    silent = run(world, tmp_path / "silent", lambda prompt, sample: ".", "collapsed")
    stored = json.loads((silent / "metrics.json").read_text())
    assert stored["metrics"]["chair_s"]["value"] == 0
    assert stored["metrics"]["recall"]["value"] == 0
    assert {"empty", "silent"} <= {flag["kind"] for flag in stored["checks"]["flags"] if flag["disqualifies"]}
    text = table([silent, good])
    assert text.index("\ntalkative") < text.index("\ncollapsed !")
    assert "! collapsed: hallucinates nothing because it says next to nothing" in text
    comparison = comparison_report(compare(good, silent, resamples=500))
    assert "! collapsed: hallucinates nothing" in comparison


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"limit": 20}, "n"),
        ({"tokens": 64}, "max"),
        ({"variant": "singularize"}, "variant"),
    ],
)
def test_chair_runs_that_differ_in_one_setting_are_refused(world, tmp_path, options, field):
    base, other = run(world, tmp_path / "base"), run(world, tmp_path / "other", **options)
    with pytest.raises(UsageError, match=rf"not measured alike: .*\b{field} ?[(:]"):
        compare(base, other)


def test_amber_runs_with_other_similarity_are_refused(world, tmp_path):
    base = run(world, tmp_path / "base", benchmark=AMBER)
    manifest = json.loads((base / "run.json").read_text())
    assert any("similarity" in name for name in manifest["settings"])
    manifest["settings"] |= {name: "another" for name in manifest["settings"] if name == "similarity"}
    other = tmp_path / "other"
    other.mkdir()
    (other / "run.json").write_text(json.dumps(manifest))
    (other / "records.jsonl").write_bytes((base / "records.jsonl").read_bytes())
    with pytest.raises(UsageError, match="not measured alike: similarity"):
        compare(base, other)
