"""Journals: nothing lost, nothing doubled, nothing deleted."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from annotation_world import make_study

from evalkit.annotation.journal import StaleAnswerError, completion, journal_path, read_state, skip, submit, undo
from evalkit.annotation.study import read_study
from evalkit.errors import DataError, RecordError

CLEAN = {"spans": []}
MARKED = {"spans": [[0, 1, "object"]]}


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path, annotators=("anna", "ben"))


def lines_of(study, name="anna"):
    return [json.loads(line) for line in journal_path(study, name).read_text().splitlines()]


def test_an_answer_is_a_line_with_the_hash_of_its_response(study):
    item = study.items[0]
    line = submit(study, "anna", item.key, MARKED, seconds=3.21)
    assert (line.n, line.answer) == (1, MARKED)
    (row,) = lines_of(study)
    assert row["hashes"] == item.hashes
    assert row["seconds"] == 3.2
    assert read_state(study, "anna").answers == {item.key: MARKED}
    assert read_state(study, "ben").answers == {}


def test_a_double_click_adds_one_line(study):
    key = study.items[0].key
    assert submit(study, "anna", key, MARKED) == submit(study, "anna", key, MARKED)
    assert len(lines_of(study)) == 1


def test_a_later_answer_supersedes_and_undo_brings_the_earlier_one_back(study):
    key = study.items[0].key
    first = submit(study, "anna", key, MARKED)
    second = submit(study, "anna", key, CLEAN, follows=first.n)
    assert read_state(study, "anna").answers[key] == CLEAN
    assert undo(study, "anna", key, second.n).answer == MARKED
    assert undo(study, "anna", key, first.n) is None
    assert read_state(study, "anna").answers == {}
    assert [row["action"] for row in lines_of(study)] == ["answer", "answer", "undo", "undo"]


def test_a_second_window_that_knows_an_older_line_is_told_so(study):
    key = study.items[0].key
    submit(study, "anna", key, MARKED)
    with pytest.raises(StaleAnswerError, match="another window"):
        submit(study, "anna", key, CLEAN, follows=0)
    with pytest.raises(StaleAnswerError):
        undo(study, "anna", key, 7)
    assert read_state(study, "anna").answers[key] == MARKED


def test_a_skip_needs_a_reason_and_can_be_answered_later(study):
    key = study.items[0].key
    with pytest.raises(DataError, match="reason"):
        skip(study, "anna", key, " \n")
    line = skip(study, "anna", key, "image  is\nmissing")
    assert read_state(study, "anna").skipped == {key: "image is missing"}
    submit(study, "anna", key, CLEAN, follows=line.n)
    assert read_state(study, "anna").skipped == {}


def test_a_name_cannot_lead_out_of_the_folder(study):
    with pytest.raises(DataError, match="no annotator"):
        submit(study, "../../x", study.items[0].key, CLEAN)


def test_a_malformed_answer_leaves_no_line(study):
    with pytest.raises(DataError):
        submit(study, "anna", study.items[0].key, {"spans": [[0, 10_000, "object"]]})
    assert not journal_path(study, "anna").exists()


def test_a_torn_line_is_dropped_and_the_next_one_stands(study):
    first, second = study.items[0].key, study.items[1].key
    submit(study, "anna", first, MARKED)
    with journal_path(study, "anna").open("a") as file:
        file.write('{"n": 2, "action": "ans')
    assert list(read_state(study, "anna").answers) == [first]
    assert submit(study, "anna", second, CLEAN).n == 2
    assert list(read_state(study, "anna").answers) == [first, second]


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row | {"hashes": ["0" * 16]},
        lambda row: row | {"n": 5},
        lambda row: row | {"item": "nobody"},
        lambda row: row | {"action": "delete"},
        lambda row: row | {"answer": {"spans": [[0, 10**6, "object"]]}},
        lambda row: {"n": 1, "action": "undo", "item": row["item"], "undoes": 3},
    ],
)
def test_a_line_that_is_not_of_this_study_is_named(study, change):
    submit(study, "anna", study.items[0].key, MARKED)
    path = journal_path(study, "anna")
    path.write_text(json.dumps(change(json.loads(path.read_text()))) + "\n")
    with pytest.raises(RecordError, match=r"anna.jsonl:1"):
        read_state(study, "anna")


def test_threads_that_write_at_once_lose_and_double_nothing(study):
    keys = [item.key for item in study.items]

    def work() -> None:
        for key in keys:
            submit(study, "anna", key, MARKED)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row["n"] for row in lines_of(study)] == [1, 2, 3, 4]
    assert set(read_state(study, "anna").answers) == set(keys)


WRITER = """
import sys
from pathlib import Path
from evalkit.annotation.journal import read_state, submit
from evalkit.annotation.study import read_study
study = read_study(Path(sys.argv[1]))
key = study.items[0].key
for number in range(100_000):
    latest = read_state(study, "anna").latest(key)
    line = submit(study, "anna", key, {"spans": [[0, 1 + number % 2, "object"]]}, latest.n if latest else 0)
    print(line.n, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(study):
    root = str(Path(__file__).resolve().parents[3])
    told = {"PYTHONPATH": root, "PATH": "/usr/bin:/bin"}
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(study.folder)], env=told, stdout=subprocess.PIPE, text=True
        )
        acknowledged = [int(writer.stdout.readline()) for _ in range(25)][-1]
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        state = read_state(read_study(study.folder), "anna")
        assert state.last >= acknowledged
        assert len(state.lines[study.items[0].key]) == state.last


def test_progress_counts_what_is_assigned_and_estimates_the_rest(study):
    first, second = study.assigned("anna")
    before = completion(study, "anna", read_state(study, "anna"))
    assert (before.done, before.skipped, before.total, before.seconds_left) == (0, 0, 2, None)
    submit(study, "anna", first.key, CLEAN, seconds=20)
    half = completion(study, "anna", read_state(study, "anna"))
    assert (half.done, half.total, half.seconds_left) == (1, 2, 20)
    skip(study, "anna", second.key, "dark", seconds=10_000)
    whole = completion(study, "anna", read_state(study, "anna"))
    assert (whole.done, whole.skipped, whole.seconds_left) == (1, 1, 0)
