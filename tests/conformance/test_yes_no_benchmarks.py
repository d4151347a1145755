"""RePOPE and DASH-B against the authors' scripts, see golden/repope/README.md and golden/dash_b/README.md."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.dash_b import DashB
from benchmarks.repope import RePOPE
from benchmarks.yes_no import read_substring
from evalkit.schema import Prompt, Response, Sample


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def sample(benchmark: RePOPE | DashB, item: Any, text: str) -> Sample:
    return Sample(item, Prompt(item.id, ""), Response(item.id, text), benchmark.score(item, text))


def test_every_answer_is_read_as_both_scripts_read_it(golden: Path) -> None:
    cases = lines(golden / "repope" / "answer_cases.jsonl")
    assert cases
    for case in cases:
        assert read_substring(case["text"]) == case["repope"] == case["dash_b"], case


def given(folder: Path, truths: dict[str, list[str]]) -> dict[str, dict[str, list[str]]]:
    """Run -> subset -> responses; the constant runs follow from their names."""
    runs: dict[str, dict[str, list[str]]] = {}
    for row in lines(folder / "responses.jsonl"):
        runs.setdefault(row["run"], {})[row["subset"]] = row["responses"]
    for name in read(folder / "runs_expected.json"):
        if name == "always_yes":
            runs[name] = {split: ["Yes"] * len(labels) for split, labels in truths.items()}
        elif name == "original_labels":
            runs[name] = truths
    return runs


def test_every_figure_of_repope_is_the_authors(golden: Path, assets: Path) -> None:
    benchmark = RePOPE(without_images=True)
    by_split = {
        split: sorted(
            (item for item in benchmark.items() if item.groups["split"] == split),
            key=lambda item: int(item.id.rpartition("/")[2]),
        )
        for split in ("random", "popular", "adversarial")
    }
    truths = {split: [item.reference["pope_truth"] for item in items] for split, items in by_split.items()}
    expected = read(golden / "repope" / "runs_expected.json")
    runs = given(golden / "repope", truths)
    assert runs.keys() <= expected.keys()
    for name, subsets in runs.items():
        samples = [
            sample(benchmark, item, text)
            for split, texts in subsets.items()
            for item, text in zip(by_split[split], texts, strict=True)
        ]
        figures = benchmark.official(samples)
        for labels in ("POPE", "RePOPE"):
            for split, told in expected[name].get(labels, {}).items():
                assert {key: figures[split][labels][key] for key in told} == pytest.approx(told), (name, split)
        unread = expected[name].get("unread")
        if unread:
            counted = {split: sum(s.score.counts["unread"] for s in samples if s.item.groups["split"] == split)
                       for split in subsets}  # fmt: skip
            assert counted == unread["POPE"]


def test_labels_are_moved_as_the_paper_counts(assets: Path) -> None:
    items = RePOPE(without_images=True).items()
    counts = {split: [0, 0, 0] for split in ("random", "popular", "adversarial")}
    for item in items:
        if item.reference["pope_truth"] == "no":
            place = {"kept": 0, "changed": 1, "left out": 2}[item.groups["label"]]
            counts[item.groups["split"]][place] += 1
    assert counts == {"random": [1476, 5, 19], "popular": [1395, 39, 66], "adversarial": [1358, 33, 109]}


def test_every_figure_of_dash_b_is_the_authors(golden: Path, assets: Path) -> None:
    benchmark = DashB(without_images=True)
    items = benchmark.items()
    assert [len(items), len({item.reference["object"] for item in items})] == [2682, 70]
    expected = read(golden / "dash_b" / "runs_expected.json")
    runs = lines(golden / "dash_b" / "responses.jsonl")
    assert runs
    for run in runs:
        samples = [sample(benchmark, item, text) for item, text in zip(items, run["responses"], strict=True)]
        assert benchmark.official(samples) == pytest.approx(expected[run["run"]])
