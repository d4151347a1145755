"""Every file of public bug reports (golden/public_reports): polls, captions, ids, pictures, pairs, comparisons."""

import gzip
import json

import numpy as np
import pytest

from aligners.fact_rlhf.files import read_comparisons, read_rollout_prompts
from aligners.fact_rlhf.supervised import read_answered
from aligners.preference.datasets import read_preferences
from benchmarks.chair import CHAIR
from benchmarks.pope import POPE
from evalkit.formats.importers import import_responses
from evalkit.harness.stages import score
from evalkit.harness.stored import import_run
from evalkit.images import ImageFile
from evalkit.metrics import sum_counts
from evalkit.runs.records import read_json

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


CAPTIONS = {  # file -> chair_s, chair_i, recall, length, samples scored of all
    **dict.fromkeys(
        (
            "good.jsonl",
            "think.jsonl",
            "array.jsonl",
            "filename.jsonl",
            "metainfo.jsonl",
            "predcap.jsonl",
            "mapping.json",
        ),
        (33.3, 16.7, 83.3, 7.3, 3, 3),
    ),
    "idx.csv": (33.3, 16.7, 83.3, 7.0, 3, 3),
    "semi.csv": (0.0, 0.0, 83.3, 5.0, 3, 3),
    "trailing.csv": (0.0, 0.0, 50.0, 2.0, 3, 3),
    "nan.jsonl": (0.0, 0.0, 75.0, 4.5, 2, 3),
    "null.jsonl": (0.0, 0.0, 100.0, 6.5, 2, 3),
    "blank10.csv": (99.8, 49.9, 31.7, 9.0, 490, 500),
}


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions_in_any_layout_are_scored_and_what_is_missing_has_failed(golden, assets, tmp_path, name):
    own = golden / "public_reports" / "refs.json"
    bench = CHAIR(references=assets / "chair" / "coco_gt_objects.json" if name == "blank10.csv" else own)
    run = tmp_path / "run"
    score(import_run(bench, [golden / "public_reports" / name], run, "given", partial=True), run)
    results = read_json(run / "metrics.json")
    figures = [round(results["metrics"][metric]["value"], 1) for metric in ("chair_s", "chair_i", "recall", "length")]
    assert (*figures, results["n_scored"], results["n_total"]) == CAPTIONS[name]


@pytest.mark.parametrize(("name", "ids"), [("ids_floats.json", ["25", "30", "36"]), ("ids_npfloat.txt", ["25", "30"])])
def test_ids_that_went_through_floats_are_ids(golden, assets, name, ids):
    folder = golden / "public_reports"
    bench = CHAIR(references=folder / "refs.json", image_ids=folder / name)
    assert [item.id for item in bench.items()] == ids


PICTURES = {  # file -> mean of the upright RGB picture
    **dict.fromkeys(("exif6.jpg", "mpo.jpg", "multi.tif", "bmp.bmp", "plain.png"), 85.0),
    **dict.fromkeys(("grey8.png", "grey16.png", "grey16.tif", "int32.tif", "float.tif"), 127.5),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_upright_and_keep_their_range(golden, tmp_path, name):
    file = ImageFile(golden / "public_reports", name)
    assert file.size() == (96, 48)
    pixels = np.asarray(file.open()).astype(float)
    assert pixels.mean() == pytest.approx(PICTURES[name], abs=0.6)
    kind, data = file.for_server()
    suffix = {"image/png": ".png", "image/jpeg": ".jpg"}[kind]
    (tmp_path / f"sent{suffix}").write_bytes(data)
    sent = np.asarray(ImageFile(tmp_path, f"sent{suffix}").open()).astype(float)
    assert np.abs(sent - pixels).max() <= 1


PAIRS = (
    "bom",
    "dataurl",
    "eos",
    "imagelist1",
    "imageslist",
    "imgtok",
    "mixed",
    "missing",
    "noid",
    "own",
    "rlaifv",
    "trl",
)
WITHOUT = {"mixed", "missing"}  # one of their pairs names no image, or one that is not there


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_in_any_dress_keep_their_texts_and_images(golden, tmp_path, name):
    folder = golden / "public_reports" / "pairs"
    own = read_preferences(folder / "own.jsonl", tmp_path / "own")
    pairs = read_preferences(folder / f"{name}.jsonl", tmp_path / name)
    assert len(pairs) == len(own) == 8
    there = [any(image.is_there() for image in pair.images) for pair in pairs]
    assert there.count(False) == (1 if name in WITHOUT else 0)
    for pair, plain in zip(pairs, own, strict=True):
        assert pair.prompt == plain.prompt
        if name not in ("eos", "imgtok"):  # these hold a mark inside one response, which stays text
            assert (pair.chosen, pair.rejected) == (plain.chosen, plain.rejected)
        for image, same in zip(pair.images, plain.images, strict=False):  # one file lacks an image
            assert not image.is_there() or np.array_equal(np.asarray(image.open()), np.asarray(same.open()))
    marks = {"eos": "</s>", "imgtok": "<image>"}
    if name in marks:
        assert any(marks[name] in pair.chosen + pair.rejected for pair in pairs)


@pytest.mark.parametrize(
    ("name", "read", "count"),
    [
        ("c.json", read_comparisons, 16),
        ("c_imgtok.json", read_comparisons, 16),
        ("c_imgtok9.json", read_comparisons, 16),
        ("p.json", read_rollout_prompts, 8),
        ("sup_imgtok.json", read_answered, 16),
    ],
)
def test_a_mark_of_an_image_inside_a_response_is_text(golden, tmp_path, name, read, count):
    path = golden / "public_reports" / "rlhf" / name
    assert len(read(path, tmp_path)) == count


COVERED = {
    *(f"{name}.gz" for name in (*SAMPLES, "vlm_POPE.tsv", "pope_think_full.jsonl")),
    *(*CAPTIONS, *PICTURES, "ids_floats.json", "ids_npfloat.txt", "refs.json"),
}


def test_no_file_of_the_reports_is_left_out(golden):
    folder = golden / "public_reports"
    assert {path.name for path in folder.iterdir() if path.is_file()} == COVERED
    assert {path.stem for path in (folder / "pairs").glob("*.jsonl")} == set(PAIRS)
