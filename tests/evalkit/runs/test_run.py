"""Reading run directories: what is torn is left out, what is foreign is refused, stages of failure are told apart."""

import json

import pytest

from evalkit.errors import RecordError
from evalkit.metrics import Metric
from evalkit.runs.checksums import digest, sealed
from evalkit.runs.run import failed_stage, find_runs, load_run, load_scores

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


SEALED = [
    {
        **record(str(number), counts, f"image{number // 2}", "A dog ☃." if counts else None),
        "groups": {"kind": "ab"[number % 2]},
        "reference": {"truth": ["dog"]},
        "image": {"name": "1.jpg", "folder": "images"},
    }
    for number, counts in enumerate([{"correct": 1, "items": 1}, {"correct": 0.5, "items": 2.0}, None, {}])
]


def write_sealed(folder, change=lambda lines: lines, named=False):
    """Records as scoring writes them, then changed; the manifest says how many, and may name their checksum."""
    manifest = json.loads((folder / "run.json").read_text()) | {"items": len(SEALED)}
    lines = [sealed(row) for row in SEALED]
    if named:
        manifest |= {"made_from": {"records.jsonl": digest(b"".join(lines))}}
    (folder / "run.json").write_text(json.dumps(manifest))
    (folder / "metrics.json").unlink(missing_ok=True)
    (folder / "records.jsonl").write_bytes(b"".join(change(lines)))


@pytest.mark.parametrize("named", [False, True])
def test_scores_alone_are_those_of_the_whole_run(folder, named):
    write_sealed(folder, named=named)
    run, scores = load_run(folder), load_scores(folder)
    assert run.rows[0]["reference"] == {"truth": ["dog"]} != scores.rows[0]["reference"], "not read at once"
    for name in ("id", "sample", "question", "prompt", "cluster", "groups"):
        assert [row.get(name) for row in scores.rows] == [row.get(name) for row in run.rows], name
    for name in ("text", "failure", "finish"):
        assert [row["response"][name] for row in scores.rows] == [row["response"][name] for row in run.rows], name
    assert (scores.counts(), scores.clusters(), scores.checks) == (run.counts(), run.clusters(), run.checks)
    assert (scores.counted, scores.failures, scores.intervals()) == (run.counted, run.failures, run.intervals())


def test_scores_of_lines_without_checksum_are_read(folder):
    write_sealed(folder, lambda lines: [json.dumps(row).encode() + b"\n" for row in SEALED])
    assert load_scores(folder).counts() == load_run(folder).counts()
    write_sealed(folder, lambda lines: [*lines[:-1], lines[-1].rstrip(b"\n")])
    assert load_scores(folder).counts() == load_run(folder).counts()


def resealed(number, **fields):
    return lambda lines: [*lines[:number], sealed({**SEALED[number], **fields}), *lines[number + 1 :]]


def test_a_file_with_the_checksum_that_the_manifest_names_needs_none_of_its_lines(folder, monkeypatch):
    monkeypatch.setattr("evalkit.runs.run.fits_seal", lambda line: pytest.fail("a line's checksum was computed"))
    write_sealed(folder, named=True)
    assert load_scores(folder).counts() == load_run(folder).counts()


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [lines[0], lines[1].replace(b"dog", b"cat"), *lines[2:]],
        lambda lines: [lines[0], lines[1].replace(b'"sum": "', b'"sun": "'), *lines[2:]],
        lambda lines: [lines[0], lines[1][:-3] + b'"\n', *lines[2:]],
        lambda lines: [*lines[:2], b"\n", *lines[2:]],
        lambda lines: [*lines, b"\n"],
        lambda lines: lines[:-1],
        lambda lines: [*lines[:-1], lines[-1][:40]],
        resealed(1, id=7),
        resealed(1, reference=["dog"]),
        resealed(1, image={"name": "1.jpg"}),
        resealed(1, score={"counts": {"correct": -1}}),
        resealed(1, score={"counts": {"correct": True}}),
        resealed(1, score={"counts": {}, "findings": [{"start": "0", "end": 1, "label": "x"}]}),
        resealed(1, score={"counts": {}, "details": []}),
        resealed(1, response={"failure": None}),
    ],
)
def test_what_is_damaged_is_refused_with_the_same_words_where_scores_alone_are_read(folder, change, named):
    write_sealed(folder, change, named)
    with pytest.raises(RecordError) as whole:
        load_run(folder)
    with pytest.raises(RecordError) as scores:
        load_scores(folder)
    assert str(scores.value) == str(whole.value)
