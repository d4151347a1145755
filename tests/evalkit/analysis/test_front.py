"""A run cut short: what is measured, what is stored, and what a comparison says of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from evalkit.analysis.comparison import compare
from evalkit.analysis.front import WHOLE, Curve, RunFront, measure
from evalkit.analysis.front_file import FRONT, fits, read_fronts, write_fronts
from evalkit.analysis.standing import place
from evalkit.benchmark import Front
from evalkit.errors import RecordError
from evalkit.harness.stages import plan, score
from evalkit.metrics import Metric
from evalkit.runs.records import Journal, write_json
from evalkit.runs.run import Run, load_run
from evalkit.sampling import Sampling
from evalkit.schema import Item, Prompt, Score


class Naming:
    """Two nouns an image are right; every other word in capitals is made up. No response is scored that says "?"."""

    name = "naming"
    metrics = (
        Metric("made_up", "100 * bad / responses", higher_is_better=False, role="rate"),
        Metric("recall", "100 * covered / nouns", higher_is_better=True),
        Metric("length", "words / responses", None, unit="words", role="length"),
    )
    sampling = Sampling()

    def __init__(self, items: int = 40, per_image: int = 1) -> None:
        self.count, self.per_image = items, per_image

    def items(self) -> list[Item]:
        return [
            Item(str(n), "What is there?", None, {"nouns": ["DOG", "CAT"]}, cluster=f"image{n // self.per_image}")
            for n in range(self.count)
        ]

    def prompt(self, item: Item) -> Prompt:
        return Prompt(item.id, item.question)

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        if "?" in response:
            return Score(None, failure="a question")
        said = {word.strip(".") for word in response.split() if word.strip(".").isupper() and len(word) > 2}
        right = said & set(item.reference["nouns"])
        return Score(
            {
                "responses": 1,
                "bad": int(bool(said - right)),
                "covered": len(right),
                "nouns": 2,
                "words": len(response.split()),
            }
        )

    def settings(self) -> Mapping[str, str]:
        return {}

    def fronts(self) -> Sequence[Front]:
        return (Front("recall", ("made_up",)),)


def run_of(folder: Path, texts: Sequence[str | None], benchmark: Naming | None = None, samples: int = 1) -> Run:
    """A scored run with these responses; None is a failed generation."""
    benchmark = benchmark or Naming(len(texts) // samples)
    folder.mkdir(parents=True)
    work = plan(benchmark, Sampling(n=samples))
    manifest = {"schema": 1, "benchmark": benchmark.name, "label": folder.name, "model": {}, "ids": "x"}
    write_json(folder / "run.json", manifest | {"sampling": {"n": samples}, "settings": {}})
    with Journal(folder / "responses.jsonl") as journal:
        for n, text in enumerate(texts):
            row = {"id": str(n // samples), "sample": n % samples}
            journal.append(row | ({"failure": "died"} if text is None else {"text": text, "finish": "stop"}))
    score(work, folder)
    return load_run(folder)


def typical(n: int) -> str:
    """A noun, then another one or one that is made up, then one that is made up in every second response."""
    return f"A DOG runs. A {'CAT' if n % 4 else 'UNICORN'} sits. {'The end' if n % 2 else 'A DRAGON'} is near."


def test_every_cut_is_scored_as_a_file_of_cut_responses_would_be(tmp_path: Path) -> None:
    texts = [typical(n) for n in range(40)]
    (front,) = read_fronts(run_of(tmp_path / "base", texts))
    sentences, words = front.curves
    assert sentences.cuts == (0, 1, 2, WHOLE)
    assert words.cuts == (0, 5, WHOLE)
    cut = {
        0: "",
        1: "A DOG runs.",
        2: lambda text: ". ".join(text.split(". ")[:2]) + ".",
    }
    for index, made in cut.items():
        short = run_of(tmp_path / f"short{index}", [made if isinstance(made, str) else made(text) for text in texts])
        for metric in front.metrics:
            expected = short.intervals()[metric.name].value
            assert front.points["sentences"][index][metric.name].value == pytest.approx(expected)
    whole = load_run(tmp_path / "base").intervals()
    for curve in front.curves:
        assert front.points[curve.name][-1]["made_up"] == whole["made_up"]


def test_what_is_stored_is_what_was_measured(tmp_path: Path) -> None:
    texts = [typical(n) for n in range(12)]
    run = run_of(tmp_path / "base", texts)
    (stored,) = read_fronts(run)
    work = plan(Naming(12))
    from evalkit.harness.stages import stored_samples

    (measured,) = measure(work.benchmark, stored_samples(work, run))
    assert (stored.front, stored.metrics, stored.names) == (measured.front, measured.metrics, measured.names)
    assert (stored.keys, stored.clusters) == (measured.keys, measured.clusters)
    for ours, theirs in zip(stored.curves, measured.curves, strict=True):
        assert (ours.name, ours.cuts) == (theirs.name, theirs.cuts)
        assert np.array_equal(ours.counts, theirs.counts)
    points = json.loads((tmp_path / "base" / FRONT).read_text())["fronts"][0]["curves"][0]["points"]
    assert points[-1]["recall"] == measured.points["sentences"][-1]["recall"].as_dict()


def test_a_front_of_other_records_is_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path / "base", [typical(n) for n in range(8)])
    assert fits(run)
    with (tmp_path / "base" / "records.jsonl").open("a") as file:
        file.write("\n")
    assert not fits(run)
    with pytest.raises(RecordError, match=r"made for other records; run `evalkit front"):
        read_fronts(run)


def test_a_damaged_front_is_named(tmp_path: Path) -> None:
    run = run_of(tmp_path / "base", [typical(n) for n in range(8)])
    path = tmp_path / "base" / FRONT
    content = json.loads(path.read_text())
    content["fronts"][0]["rows"][0]["sentences"] = [[1, 2]]
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match=r"front\.json: cannot be read"):
        read_fronts(run)


def test_failed_responses_stay_out_of_every_cut(tmp_path: Path) -> None:
    texts = [None if n % 5 == 0 else typical(n) for n in range(40)]
    run = run_of(tmp_path / "base", texts)
    (front,) = read_fronts(run)
    assert len(front.keys) == 32
    assert not {"0", "5"} & {item for item, _ in front.keys}
    other = run_of(tmp_path / "other", ["?" if n % 4 == 1 else typical(n) for n in range(40)])
    (placed,) = place(front, "base", {"other": other})
    assert placed.items == sum(n % 5 != 0 and n % 4 != 1 for n in range(40))
    assert placed.headline.verdict == "on"  # the same responses where both have one


def test_a_run_is_a_truncation_of_itself(tmp_path: Path) -> None:
    texts = [typical(n) for n in range(40)]
    base = run_of(tmp_path / "base", texts)
    (front,) = read_fronts(base)
    (placed,) = place(front, "base", {"same": base})
    (first, second) = placed.headline.positions
    assert (first.difference.low, first.difference.high) == (0, 0)
    assert (second.difference.low, second.difference.high) == (0, 0)
    assert placed.headline.verdict == "on"


def test_several_responses_to_an_item_count_as_one_item(tmp_path: Path) -> None:
    once = run_of(tmp_path / "once", [typical(n) for n in range(40)])
    twice = run_of(tmp_path / "twice", [typical(n // 2) for n in range(80)], Naming(40), samples=2)
    better = run_of(tmp_path / "better", ["A DOG runs. A CAT sits." for _ in range(40)])
    found = [place(read_fronts(base)[0], "base", {"better": better})[0] for base in (once, twice)]
    assert found[0].items == found[1].items == 40
    assert found[0].headline.positions[0].difference == found[1].headline.positions[0].difference


def test_a_comparison_says_where_the_run_stands(tmp_path: Path) -> None:
    base = run_of(tmp_path / "base", [typical(n) for n in range(200)])
    honest = run_of(tmp_path / "honest", ["A DOG runs. A CAT sits." if n % 4 else "A DOG runs." for n in range(200)])
    shorter = run_of(tmp_path / "shorter", ["A DOG runs." for _ in range(200)])
    pairs = compare(base, honest, shorter).pairs
    assert [pair.fronts[0].headline.verdict for pair in pairs] == ["beyond", "on"]
    assert "less hallucination than the base that simply stops earlier: -" in pairs[0].fronts[0].sentence()
    assert not [warning for warning in pairs[0].warnings if "quality fell" in warning]
    (warning,) = [warning for warning in pairs[1].warnings if "quality fell" in warning]
    assert "no better than the base that simply stops earlier" in warning


def test_without_a_stored_front_a_comparison_warns_as_before(tmp_path: Path) -> None:
    base = run_of(tmp_path / "base", [typical(n) for n in range(200)])
    shorter = run_of(tmp_path / "shorter", ["A DOG runs." for _ in range(200)])
    (tmp_path / "base" / FRONT).unlink()
    (pair,) = compare(base, shorter).pairs
    assert pair.fronts == ()
    assert any(warning.endswith("it may come from saying less") for warning in pair.warnings)


def test_a_run_that_says_nothing_is_warned_about_on_few_items_too(tmp_path: Path) -> None:
    """Two of 16 responses make something up: a rate of 0 is no significant improvement."""
    base = run_of(tmp_path / "base", ["A DOG runs. A BUS!" if n < 2 else "A DOG runs." for n in range(16)])
    silent = run_of(tmp_path / "silent", ["." for _ in range(16)])
    told = (
        "a hallucination rate is lower, though not significantly, while a quality fell (made_up -12.5, recall -50.0): "
    )
    (pair,) = compare(base, silent).pairs
    assert not pair.effects[0].significant()
    assert any(
        warning.startswith(told + "no better than the base that simply stops earlier: 0.0") for warning in pair.warnings
    )
    (tmp_path / "base" / FRONT).unlink()
    assert told + "it may come from saying less" in compare(base, silent).pairs[0].warnings


def test_a_run_without_fronts_has_no_file(tmp_path: Path) -> None:
    run = run_of(tmp_path / "base", [typical(n) for n in range(8)])
    write_fronts(tmp_path / "base", str(run.signature), [])
    assert not (tmp_path / "base" / FRONT).exists()
    assert read_fronts(run) == []


def test_runs_over_other_images_are_compared_without_pairing(tmp_path: Path) -> None:
    base = run_of(tmp_path / "base", [typical(n) for n in range(200)])
    other = run_of(tmp_path / "other", [None if n < 100 else typical(n) for n in range(200)])
    (front,) = read_fronts(base)
    half = RunFront(
        front.front,
        front.metrics,
        front.names,
        front.keys[:100],
        front.clusters[:100],
        tuple(Curve(curve.name, curve.cuts, curve.counts[:100]) for curve in front.curves),
    )
    assert place(half, "base", {"other": other}) == []  # nothing in common
    (placed,) = place(half, "base", {"other": other}, shared_only=False)
    (first, _) = placed.headline.positions
    assert placed.items == 200
    assert first.difference.low < 0 < first.difference.high
    assert first.level == pytest.approx(87.5)
    (paired,) = place(front, "base", {"other": base})
    (united,) = place(front, "base", {"other": base}, shared_only=False)
    assert united.headline.positions == paired.headline.positions  # all shared: the same
