"""Files of public bug reports (golden/public_reports): whole polls in the layouts of lmms-eval and VLMEvalKit."""

import gzip
import json

import pytest

from benchmarks.chair import CHAIR
from benchmarks.pope import POPE
from evalkit.formats.importers import import_responses
from evalkit.metrics import sum_counts

SAMPLES = tuple(f"20260101_samples_pope_{part}.jsonl" for part in ("adv", "pop", "random"))


@pytest.fixture(scope="module")
def poll(assets):
    return POPE(without_images=True)


def unpacked(golden, names, folder):
    paths = [folder / name for name in names]
    for path in paths:
        path.write_bytes(gzip.decompress((golden / "public_reports" / f"{path.name}.gz").read_bytes()))
    return paths


def accuracy(bench, responses):
    items = {item.id: item for item in bench.items()}
    counts = sum_counts(bench.score(items[r.prompt_id], r.text).counts for r in responses)
    return {metric.name: metric.value(counts) for metric in bench.metrics}["accuracy"], counts["questions"]


@pytest.mark.parametrize("names", [SAMPLES, ("vlm_POPE.tsv",)])
def test_polls_of_other_tools_join_as_those_tools_name_them(golden, poll, tmp_path, names):
    responses = import_responses(unpacked(golden, names, tmp_path), poll.items())
    assert accuracy(poll, responses) == (100.0, 9000)


def test_one_file_of_all_three_splits_joins_too(golden, poll, tmp_path):
    texts = [path.read_text() for path in unpacked(golden, SAMPLES, tmp_path)]
    path = tmp_path / "samples_pope.jsonl"
    path.write_text("".join(texts))
    assert accuracy(poll, import_responses(path, poll.items())) == (100.0, 9000)


def test_thoughts_are_taken_off_before_a_poll_is_scored(golden, poll, tmp_path):
    (path,) = unpacked(golden, ("pope_think_full.jsonl",), tmp_path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    responses = {f"random/{row['question_id']}": row["text"] for row in rows}
    bench = POPE(without_images=True, splits=("random",))
    assert len(rows) == len(bench.items())
    assert POPE.evaluate(responses, splits=("random",)).metrics["accuracy"] == 100.0


def test_thoughts_are_taken_off_before_captions_are_scored(golden, assets):
    folder = golden / "public_reports"
    references = {int(image): names for image, names in json.loads((folder / "refs.json").read_text()).items()}

    def metrics(name):
        rows = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        return CHAIR.evaluate({row["image_id"]: row["caption"] for row in rows}, references).metrics

    assert metrics("think.jsonl") == metrics("good.jsonl")
    assert {name: round(value, 1) for name, value in metrics("think.jsonl").items()} == {
        "chair_s": 33.3,
        "chair_i": 16.7,
        "recall": 83.3,
        "length": 7.3,
    }
