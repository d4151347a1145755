"""MHumanEval: marked segments to rates, several annotators, labels of another response, what the page writes."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mhumaneval import MHumanEval, read_segments, sha256_of
from benchmarks.published import published
from evalkit.analysis.front import measure
from evalkit.errors import DataError
from evalkit.schema import Prompt, Response, Sample

TEXTS = {"0": "A dog and two cats.", "1": "A red kite."}


def row(item: str, annotator: str, kind: str | None = None, **more: Any) -> dict[str, Any]:
    span = (0, 5) if kind else (None, None)
    return {
        "item": item, "model": "m", "annotator": annotator, "response_sha256": sha256_of(TEXTS[item]),
        "start": span[0], "end": span[1], "type": kind, **more,
    }  # fmt: skip


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "segments.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_a_response_counts_once_per_type_and_once_in_all(tmp_path: Path) -> None:
    path = write(tmp_path, row("0", "ann", "object"), row("0", "ann", "object", start=6), row("0", "ann", "number"),
                 row("1", "ann"))  # fmt: skip
    with pytest.raises(DataError, match="a span needs 0 <= start < end, found 6 and 5"):
        read_segments(path)
    path = write(tmp_path, row("0", "ann", "object"), row("0", "ann", "object", start=2), row("0", "ann", "number"),
                 row("1", "ann"))  # fmt: skip
    result = MHumanEval(path).result(TEXTS)
    assert {name: result.metrics[name] for name in ("all", "object", "number", "position", "segments")} == {
        "all": 50, "object": 50, "number": 50, "position": 0, "segments": 1.5,
    }  # fmt: skip


def test_the_majority_decides_and_a_divided_response_leaves_the_rate_alone(tmp_path: Path) -> None:
    rows = [row("0", "a", "object"), row("0", "b", "action"), row("1", "a"), row("1", "b", "object")]
    benchmark = MHumanEval(write(tmp_path, *rows))
    result = benchmark.result(TEXTS)
    assert (result.metrics["all"], result.metrics["object"]) == (100, None)
    assert result.official["annotators"] == ["a", "b"]
    assert set(result.official["agreement_alpha"]) >= {"all", "object"}
    assert benchmark.settings()["annotators"] == "2"


def test_a_cut_keeps_the_marks_that_end_in_it(tmp_path: Path) -> None:
    text = TEXTS["0"]
    rows = [
        row("0", "a", "object"),  # "A dog"
        row("0", "a", "number", start=10, end=18),  # "two cats"
        row("0", "b", "object", start=10, end=18),
    ]
    benchmark = MHumanEval(write(tmp_path, *rows))
    (item,) = benchmark.items()
    sample = Sample(item, Prompt("0", ""), Response("0", text), benchmark.score(item, text))
    first, half, whole = benchmark.count_cuts(sample, [5, 15, len(text)])
    assert (first["segments"], first["words"]) == (0.5, 2)
    assert (first["all_decided"], first["number_decided"]) == (0, 1)  # a found one, b none
    assert half["segments"] == 0.5
    assert whole == sample.score.counts
    (front,) = measure(benchmark, [sample])
    assert [metric.name for metric in front.metrics] == ["length", "all", "object", "segments"]
    assert [point["length"].value for point in front.points["sentences"]] == [0, 5]


def test_labels_of_another_response_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"item '1' was labelled with another response than 'A blue kite\.'"):
        MHumanEval(write(tmp_path, row("1", "a"))).result({"1": "A blue kite."})


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("0", "a", "colour")], r"segments.jsonl:1: 'type' must be one of object"),
        ([row("0", "a"), row("0", "a", "object")], r":2: 'a' marked item '0', and called it clean at .*:1"),
        ([row("0", "a") | {"item": None}], r":1: 'item' must be a text"),
        ([row("0", "a", "object", end=500)], r":1: marks up to 500, the response has 19"),
    ],
)
def test_bad_files_are_refused_with_file_and_line(rows: list[dict[str, Any]], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        MHumanEval(write(tmp_path, *rows)).result({"0": TEXTS["0"]})


def test_the_published_counts_are_rows_of_their_own(golden: Path) -> None:
    counts = json.loads((golden / "mhumaneval" / "published_counts.json").read_text("utf-8"))
    rows = {r.model: r.values for r in published("mhumaneval") if r.source.direction == "rate"}
    for model, told in counts["rows"].items():
        for name, cell in told.items():
            assert rows[model][name] == cell["percent"]
            assert round(100 * cell["count_of_146"] / counts["n"], 1) == cell["percent"]
