"""Stages continue where they were killed and never repeat what is finished."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aligners.training.stages import MANIFEST, Stages, claim_settings, content_hash, note_stage, settings_hash
from evalkit.errors import RecordError
from evalkit.runs.records import read_json


class Work:
    """Doubles numbers; remembers what it was asked; breaks after some rows."""

    def __init__(self, breaks_after: int | None = None) -> None:
        self.asked: list[set[str]] = []
        self._left = breaks_after

    def __call__(self, missing: set[str]) -> Iterator[dict[str, object]]:
        self.asked.append(set(missing))
        for key in sorted(missing, reverse=True):  # not the order of the keys
            if self._left == 0:
                raise KeyboardInterrupt
            self._left = None if self._left is None else self._left - 1
            yield {"id": key, "double": 2 * int(key)}


KEYS = ["1", "2", "3"]


def test_rows_come_in_the_order_of_the_keys(tmp_path: Path) -> None:
    rows = Stages(tmp_path, {}).rows("numbers", KEYS, Work())
    assert [row["double"] for row in rows] == [2, 4, 6]


def test_a_broken_stage_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path, {}).rows("numbers", KEYS, Work(breaks_after=2))
    again = Work()
    rows = Stages(tmp_path, {}).rows("numbers", KEYS, again)
    assert again.asked == [{"1"}]
    assert [row["double"] for row in rows] == [2, 4, 6]


def test_a_torn_last_line_is_worked_out_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path, {}).rows("numbers", KEYS, Work(breaks_after=2))
    journal = tmp_path / "numbers.jsonl"
    journal.write_bytes(journal.read_bytes()[:-4])
    again = Work()
    assert len(Stages(tmp_path, {}).rows("numbers", KEYS, again)) == 3
    assert again.asked == [{"1", "2"}]


def test_a_finished_stage_is_read_and_not_worked_out(tmp_path: Path) -> None:
    first = Stages(tmp_path, {}).rows("numbers", KEYS, Work())
    again = Work()
    assert Stages(tmp_path, {}).rows("numbers", KEYS, again) == first
    assert again.asked == []


def test_failures_are_tried_again_until_the_stage_is_finished(tmp_path: Path) -> None:
    def failing(missing: set[str]) -> Iterator[dict[str, object]]:
        yield {"id": "1", "failure": "no luck"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path, {}).rows("numbers", KEYS, failing)
    again = Work()
    assert "failure" not in Stages(tmp_path, {}).rows("numbers", KEYS, again)[0]
    assert again.asked == [set(KEYS)]


def test_failures_are_counted(tmp_path: Path) -> None:
    stages = Stages(tmp_path, {})
    stages.rows("numbers", KEYS, lambda missing: [{"id": key, "failure": "no luck"} for key in missing])
    assert stages.finished["numbers"]["failures"] == 3


def test_work_that_ends_early_is_an_error_that_counts(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="without 3 of 3 rows"):
        Stages(tmp_path, {}).rows("numbers", KEYS, lambda missing: [])


def test_rows_nobody_asked_for_are_ignored(tmp_path: Path) -> None:
    stages = Stages(tmp_path, {})
    rows = stages.rows("numbers", ["1"], lambda missing: [{"id": "9"}, {"id": "1"}, {"id": "1"}])
    assert rows == [{"id": "1"}]
    assert len((tmp_path / "numbers.jsonl").read_text().splitlines()) == 1


def test_a_changed_file_of_a_finished_stage_is_refused(tmp_path: Path) -> None:
    Stages(tmp_path, {}).rows("numbers", KEYS, Work())
    journal = tmp_path / "numbers.jsonl"
    whole = journal.read_text()
    journal.write_text(whole.replace('"double": 4', '"double": 5'))
    with pytest.raises(RecordError, match="does not fit its checksum"):
        Stages(tmp_path, {}).rows("numbers", KEYS, Work())
    journal.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    with pytest.raises(RecordError, match="not what this stage wrote"):
        Stages(tmp_path, {}).rows("numbers", KEYS, Work())


def test_other_settings_in_the_same_folder_are_refused_by_name(tmp_path: Path) -> None:
    Stages(tmp_path, {"seed": 0, "preset": "a"})
    with pytest.raises(RecordError, match="with other seed;"):
        Stages(tmp_path, {"seed": 1, "preset": "a"})


def test_the_manifest_tells_settings_and_stages(tmp_path: Path) -> None:
    stages = Stages(tmp_path, {"seed": 0})
    rows = stages.rows("numbers", KEYS, Work())
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["settings"] == {"seed": 0}
    assert manifest["settings_hash"] == settings_hash({"seed": 0})
    assert manifest["stages"]["numbers"] | {"seconds": 0} == {
        "rows": 3,
        "failures": 0,
        "content": content_hash(rows),
        "seconds": 0,
    }


def test_progress_counts_what_was_there_before(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path, {}).rows("numbers", KEYS, Work(breaks_after=2))
    seen: list[tuple[str, int, int]] = []
    Stages(tmp_path, {}).rows("numbers", KEYS, Work(), lambda *step: seen.append(step))
    assert seen == [("numbers", 2, 3), ("numbers", 3, 3)]


def test_settings_survive_json(tmp_path: Path) -> None:
    claim_settings(tmp_path / "run.json", {"path": Path("a"), "pair": (1, 2)})
    assert claim_settings(tmp_path / "run.json", {"path": Path("a"), "pair": (1, 2)})["settings"]["pair"] == [1, 2]


def test_a_stage_is_noted_once_and_the_older_flat_form_is_taken_over(tmp_path):
    path = tmp_path / MANIFEST
    path.write_text('{"reward": {"seconds": 1}}')
    note_stage(path, "reward", {"seconds": 2})
    note_stage(path, "ppo", {"seconds": 3})
    assert read_json(path) == {"stages": {"reward": {"seconds": 1}, "ppo": {"seconds": 3}}}
    note_stage(tmp_path / "new.json", "reward", {"seconds": 4})
    assert read_json(tmp_path / "new.json") == {"stages": {"reward": {"seconds": 4}}}
