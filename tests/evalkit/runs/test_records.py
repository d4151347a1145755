"""Journals survive kills and say what is wrong with them; run directories are held by one process."""

import json
import math
import multiprocessing
import re
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import RecordError
from evalkit.runs.checksums import digest, sealed
from evalkit.runs.lock import locked
from evalkit.runs.records import (
    MANIFEST,
    SCHEMA,
    Journal,
    read_journal,
    read_json,
    read_manifest,
    write_json,
    write_jsonl,
)


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append({"id": "1", "text": "naïve — 犬\n"})
        assert read_journal(tmp_path / "j.jsonl") == [{"id": "1", "text": "naïve — 犬\n"}]  # before it is closed
        journal.append({"id": "2"})
    assert [row["id"] for row in Journal(tmp_path / "j.jsonl").rows] == ["1", "2"]


@pytest.mark.parametrize("torn", [b'{"id": "2", "te', b'{"id": "2"}', b"\xff\xfe", b"{"])
def test_a_torn_last_line_is_dropped_and_overwritten(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"id": "1"}\n' + torn)
    assert [row["id"] for row in read_journal(path)] == ["1"]
    with Journal(path) as journal:
        journal.append({"id": "3"})
    assert path.read_bytes() == b'{"id": "1"}\n' + sealed({"id": "3"})


@pytest.mark.parametrize("broken", [b"{torn\n", b"[1]\n", b'"text"\n', b"\n", b"[" * 200_000 + b"\n", b"\xff\n"])
def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"id": "1"}\n' + broken + b'{"id": "3"}\n')
    before = path.read_bytes()
    with pytest.raises(RecordError, match=r"j\.jsonl:2"):
        Journal(path)
    assert path.read_bytes() == before


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(-1e15, 1e15).map(lambda value: round(value, 3)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_a_line_is_the_one_that_json_writes(row: dict[str, Any]) -> None:
    row.pop("sum", None)
    body = json.dumps(row, ensure_ascii=False).encode("utf-8", errors="surrogatepass")
    seal = b", " * bool(row) + b'"sum": "' + digest(body).encode() + b'"}\n'
    assert sealed(row) == body[:-1] + seal
    assert sealed({"sum": "0", **row}) == sealed(row)


def test_numbers_that_json_does_not_have_are_null_and_other_things_an_error() -> None:
    assert sealed({"id": math.nan}).startswith(b'{"id": null, ')
    with pytest.raises(TypeError, match="JSON serializable"):
        sealed({"id": object()})  # type: ignore[dict-item]


def test_a_lone_surrogate_is_kept(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append({"text": "\ud83d"})
    assert (tmp_path / "j.jsonl").read_bytes().endswith(b"\n")


def test_a_disk_that_fills_up_leaves_complete_lines_only(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Journal(tmp_path / "j.jsonl") as journal:
        journal.append({"id": "1"})
        resource.setrlimit(resource.RLIMIT_FSIZE, (70, hard))
        try:
            with pytest.raises(RecordError, match="finished lines are kept"):
                journal.append({"id": "2", "text": "x" * 100})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        assert (tmp_path / "j.jsonl").read_bytes() == sealed({"id": "1"})
        journal.append({"id": "3"})
    assert [row["id"] for row in read_journal(tmp_path / "j.jsonl")] == ["1", "3"]


def test_a_failed_replacement_keeps_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_jsonl(path, iter([{"id": 1}]))
    with pytest.raises(TypeError):
        write_jsonl(path, iter([{"id": 2}, {"id": object()}]))
    assert path.read_text() == '{"id": 1}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["records.jsonl"]


def test_writing_into_a_missing_folder_is_a_record_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be written"):
        write_json(tmp_path / "absent" / "run.json", {})


@pytest.mark.parametrize(
    ("content", "message"),
    [("[]", "expected a JSON object"), ("{", "cannot be read"), ("", "cannot be read"), (None, "not a finished run")],
)
def test_a_manifest_that_cannot_be_read_is_explained(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(RecordError, match=message):
        read_json(tmp_path / MANIFEST)


@pytest.mark.parametrize(("name", "value"), [("benchmark", None), ("settings", []), ("judge", "m"), ("versions", [1])])
def test_a_manifest_field_of_another_type_is_refused(tmp_path: Path, name: str, value: object) -> None:
    write_json(tmp_path / "run.json", {"schema": SCHEMA, "judge": None, "versions": None} | {name: value})
    with pytest.raises(RecordError, match=f"'{name}' must be a"):
        read_manifest(tmp_path)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(json.dumps({"schema": SCHEMA + 1}))
    with pytest.raises(RecordError, match="schema version"):
        read_manifest(tmp_path)


def _try_lock(folder: Path, queue: "multiprocessing.Queue[str]") -> None:
    try:
        with locked(folder):
            queue.put("locked")
    except RecordError as error:
        queue.put(str(error))


def test_a_second_process_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[str] = context.Queue()
    with locked(tmp_path / "run"):
        other = context.Process(target=_try_lock, args=(tmp_path / "run", queue))
        other.start()
        assert "in use by another process" in queue.get(timeout=60)
        other.join(60)
    with locked(tmp_path / "run"):
        pass  # free again


def test_a_file_in_the_place_of_the_directory_is_a_record_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RecordError, match="cannot be written"), locked(tmp_path / "run"):
        pass


def test_a_letter_that_flipped_in_a_line_is_found_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    with Journal(path) as journal:
        for name in "123":
            journal.append({"id": name, "text": "A dog."})
    whole = path.read_bytes()
    for place in range(len(whole)):
        if whole[place] == 10:  # a line end: two lines become one, which is not JSON
            continue
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(bytes(damaged))
        with pytest.raises(RecordError, match=rf"responses\.jsonl:{whole[:place].count(10) + 1}"):
            read_journal(path)


def test_lines_without_checksums_are_read_but_not_after_lines_with_one(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    path.write_bytes(b'{"id": "1"}\n' + sealed({"id": "2"}))
    assert [row["id"] for row in read_journal(path)] == ["1", "2"]
    path.write_bytes(sealed({"id": "1"}) + b'{"id": "2"}\n')
    with pytest.raises(RecordError, match="no checksum, though earlier ones have"):
        read_journal(path)


def test_a_journal_is_neither_read_nor_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target.jsonl"
    target.write_text('{"id": "1"}\n')
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "responses.jsonl").symlink_to(target)
    for use in (read_journal, Journal):
        with pytest.raises(RecordError, match="link"):
            use(tmp_path / "run" / "responses.jsonl")
    assert target.read_text() == '{"id": "1"}\n'


def test_a_line_that_is_not_json_names_what_mends_it(tmp_path: Path) -> None:
    for name, remedy in (("records.jsonl", f"`evalkit score {tmp_path}`"), ("responses.jsonl", "remove the line")):
        (tmp_path / name).write_bytes(b"{not json\n")
        with pytest.raises(RecordError, match=rf"{name}:1: the line is not JSON .*; {re.escape(remedy)}"):
            read_journal(tmp_path / name)
