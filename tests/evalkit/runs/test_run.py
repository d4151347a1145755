"""Reading run directories: what is torn is left out, what is foreign is refused, stages of failure are told apart."""

import json

import pytest

from evalkit.errors import RecordError
from evalkit.metrics import Metric
from evalkit.runs.run import failed_stage, find_runs, load_run

ACCURACY = Metric("accuracy", "100 * correct / items", higher_is_better=True)


def record(name, counts, cluster="", text="A dog.", verdict=None):
    return {
        "id": name,
        "sample": 0,
        "question": "Describe this image.",
        "prompt": "Describe this image.",
        "groups": {},
        "cluster": cluster,
        "response": {"text": text, "failure": None if text is not None else "timeout", "finish": "stop", "tokens": 3},
        "verdict": verdict,
        "score": {"counts": counts, "failure": None if counts is not None else "why", "findings": [], "details": {}},
    }


RIGHT, WRONG = {"correct": 1, "items": 1}, {"correct": 0, "items": 1}
RECORDS = [record("a", RIGHT, "img"), record("b", WRONG, "img"), record("c", RIGHT), record("d", None)]


@pytest.fixture
def folder(tmp_path):
    manifest = {"schema": 1, "benchmark": "toy", "label": "model", "metrics": [ACCURACY.as_dict()]}
    (tmp_path / "run.json").write_text(json.dumps(manifest))
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in RECORDS))
    return tmp_path


def test_a_run_is_read(folder):
    run = load_run(folder)
    assert (run.benchmark, run.label, len(run.rows), len(run.scored)) == ("toy", "model", 4, 3)
    assert run.clusters() == ["img", "img", "c"]
    assert run.failures == {"score": 1}
    assert run.intervals(resamples=200)["accuracy"].value == pytest.approx(200 / 3)
    assert str(run.signature) == "toy"


def test_a_torn_last_line_is_left_out(folder):
    path = folder / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert [row["id"] for row in load_run(folder).rows] == ["a", "b", "c"]


def test_a_last_line_without_newline_counts(folder):
    path = folder / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    assert len(load_run(folder).rows) == 4


def test_a_broken_line_elsewhere_is_an_error_that_names_it(folder):
    path = folder / "records.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = '{"id": "b"}'
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RecordError, match=r"records\.jsonl:2: not a record"):
        load_run(folder)


@pytest.mark.parametrize("schema", [0, 2, None])
def test_another_schema_version_is_refused(folder, schema):
    manifest = json.loads((folder / "run.json").read_text()) | {"schema": schema}
    (folder / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(RecordError, match="schema version"):
        load_run(folder)


def test_an_unscored_run_says_what_to_do(folder):
    (folder / "records.jsonl").unlink()
    with pytest.raises(RecordError, match="evalkit score"):
        load_run(folder)
    assert find_runs(folder) == []


def test_runs_are_found_below_folders_once(folder):
    assert find_runs(folder, folder) == [folder]
    with pytest.raises(RecordError, match="no such folder"):
        find_runs(folder / "nowhere")


@pytest.mark.parametrize(
    ("row", "stage"),
    [
        (record("a", RIGHT), None),
        (record("a", None, text=None), "generation"),
        (record("a", None, verdict={"failure": "gave up"}), "judge"),
        (record("a", None, verdict={"failure": None, "reply": "?"}), "score"),
        (record("a", None), "score"),
    ],
)
def test_failed_stage(row, stage):
    assert failed_stage(row) == stage
