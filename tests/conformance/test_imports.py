"""Responses made elsewhere, imported and scored by the program's own path, give the figures of the authors' scripts.

The same captions and answers also come as other tools would have stored them; the figures must not change.
"""

import json
from pathlib import Path

import pytest

from benchmarks.amber.benchmark import AMBER
from benchmarks.chair import CHAIR
from evalkit.formats.exporters import export_run
from evalkit.harness.stages import score
from evalkit.harness.stored import import_run
from evalkit.runs.records import read_json

pytest.importorskip("nltk")
COMMON_CAPTIONS = "llava-1.5.greedy.jsonl"


def read_lines(path: Path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def as_lmms_eval(rows):
    return [
        {
            "doc_id": n,
            "target": "",
            "filtered_resps": [row["caption"]],
            "doc_hash": "74234e98",
            "chair": {"image_id": row["image_id"]},
        }
        for n, row in enumerate(rows)
    ]


def as_llava(rows):
    return [{"question_id": row["image_id"], "prompt": "Describe.", "text": row["caption"]} for row in rows]


def imported(benchmark, path: Path, run_dir: Path):
    work = import_run(benchmark, [path], run_dir, "imported", partial=True)
    score(work, run_dir)
    return read_json(run_dir / "metrics.json")


@pytest.mark.parametrize("layout", [list, as_lmms_eval, as_llava])
def test_captions_of_a_published_model_score_as_published_in_every_layout(golden, assets, tmp_path, layout):
    folder = golden / "chair" / "opera_captions"
    source = folder / COMMON_CAPTIONS
    if not source.exists():
        source = sorted(folder.glob("*.greedy.jsonl"))[0]
    expected = read_json(folder / "expected_metrics.json")[source.stem]["pos_lemma"]
    rows = read_lines(source)
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in layout(reversed(rows))), "utf-8")
    benchmark = CHAIR(assets / "chair" / "synonyms.txt", references=assets / "chair" / "coco_gt_objects.json")
    metrics = imported(benchmark, path, tmp_path / "run")
    assert metrics["n_scored"] == metrics["n_total"] == len(rows)
    for name, theirs in (("chair_s", "CHAIRs"), ("chair_i", "CHAIRi"), ("recall", "Recall")):
        assert metrics["metrics"][name]["value"] == pytest.approx(100 * expected[theirs])
    (written,) = export_run(tmp_path / "run", "chair", tmp_path / "back.jsonl")
    assert sorted(read_lines(written), key=str) == sorted(rows, key=str)


@pytest.mark.parametrize(
    ("file", "run", "dimensions", "block"),
    [
        ("gen_responses.json", "gen_identity", ("generative",), "g"),
        ("disc_responses.json", "disc_d", ("discriminative",), "d"),
    ],
)
def test_the_authors_response_files_score_as_their_script_prints_and_go_back_unchanged(
    golden, assets, tmp_path, file, run, dimensions, block
):
    benchmark = AMBER(assets / "amber", similarity="identity", dimensions=dimensions, without_images=True, partial=True)
    source = golden / "amber" / file
    metrics = imported(benchmark, source, tmp_path / "run")
    expected = read_json(golden / "amber" / "overall.json")[run]["expected"][block]
    found = metrics["official"]["official"][block]
    assert {name: found[name] for name in expected} == expected
    (written,) = export_run(tmp_path / "run", "amber", tmp_path / "back.json")
    rows = [json.loads(path.read_text("utf-8")) for path in (written, source)]
    assert sorted(rows[0], key=lambda row: row["id"]) == sorted(rows[1], key=lambda row: row["id"])
