"""What annotators said: one append-only journal per annotator. A later line supersedes an earlier one, none is deleted.

    {"n": 12, "action": "answer", "item": "...", "hashes": [...], "follows": 0, "answer": {...}, "seconds": 8.2, ...}
    {"n": 13, "action": "skip", "item": "...", "reason": "image is missing", ...}
    {"n": 14, "action": "undo", "item": "...", "undoes": 13, ...}

`n` counts the lines of a journal from 1. `follows` is the line that the annotator saw as the latest of this item (0:
none): a double click sends the same answer after the same line and adds nothing; a second window that knows an older
line is told so instead of overwriting. A line is written under a lock: several windows and servers may share a study.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from filelock import FileLock, Timeout

from evalkit.annotation.answers import checked_answer
from evalkit.annotation.study import ADJUDICATOR, JOURNALS, Study
from evalkit.errors import DataError, RecordError
from evalkit.runs.records import Journal, read_journal
from evalkit.schema import Json

LOCK_S = 10.0
LONGEST_REASON = 500  # characters
LONGEST_PAUSE_S = 600.0  # an item that took longer was left open during a break
PACE = 50  # latest items that the time left is estimated from


class StaleAnswerError(DataError):
    """The item was answered elsewhere since it was shown; raised instead of superseding what nobody has seen."""


@dataclass(frozen=True, slots=True)
class Line:
    """What stands for an item: an answer, or a skip with its reason.

    n        line of the journal
    answer   as `checked_answer` made it; None for a skip
    seconds  how long the item was open, None where nobody measured it
    """

    n: int
    item: str
    answer: Mapping[str, Json] | None
    reason: str = ""
    seconds: float | None = None
    at: str = ""


@dataclass
class State:
    """An annotator's journal as it stands: for each item its lines that were not undone, the latest last."""

    lines: dict[str, list[Line]] = field(default_factory=dict)
    last: int = 0

    def latest(self, item: str) -> Line | None:
        """What stands for an item."""
        lines = self.lines.get(item)
        return lines[-1] if lines else None

    @property
    def answers(self) -> dict[str, Mapping[str, Json]]:
        """Item -> answer that stands; skipped items have none."""
        standing = ((item, lines[-1]) for item, lines in self.lines.items() if lines)
        return {item: line.answer for item, line in standing if line.answer is not None}

    @property
    def skipped(self) -> dict[str, str]:
        """Item -> why it was skipped."""
        standing = ((item, lines[-1]) for item, lines in self.lines.items() if lines)
        return {item: line.reason for item, line in standing if line.answer is None}


@dataclass(frozen=True, slots=True)
class Completion:
    """How far an annotator is; `seconds_left` by the median of the latest items, None before there is one."""

    done: int
    skipped: int
    total: int
    seconds_left: float | None


def journal_path(study: Study, annotator: str) -> Path:
    """The journal of an annotator.

    Raises:
        DataError: for somebody who is not of this study: the name becomes a file name.
    """
    if annotator not in (*study.annotators, ADJUDICATOR):
        raise DataError(f"study {study.name!r} has no annotator {annotator!r:.60}")
    return study.folder / JOURNALS / f"{annotator}.jsonl"


def read_state(study: Study, annotator: str) -> State:
    """What an annotator said so far; a torn last line of a killed process is left out.

    Raises:
        RecordError: if a line cannot be read, or speaks of other texts than the study's.
    """
    path = journal_path(study, annotator)
    state = State()
    for number, row in enumerate(read_journal(path), 1):
        try:
            _take(state, study, row, number)
        except (DataError, KeyError, TypeError, ValueError, IndexError) as error:
            raise RecordError(f"{path}:{number}: not a line of this study ({type(error).__name__}: {error})") from error
    return state


def _take(state: State, study: Study, row: Mapping[str, Json], number: int) -> None:
    item = study.item(str(row["item"]))
    if row["n"] != number:
        raise ValueError(f"n is {row['n']!r}, the line is number {number}")
    lines = state.lines.setdefault(item.key, [])
    state.last = number
    if row["action"] == "undo":
        if not lines or lines[-1].n != row["undoes"]:
            raise ValueError(f"undoes line {row['undoes']!r}, which is not in force")
        lines.pop()
        return
    if list(row["hashes"]) != item.hashes:
        raise ValueError("it is about another response than the study's")
    if row["action"] not in ("answer", "skip"):
        raise ValueError(f"unknown action {row['action']!r:.40}")
    answer = checked_answer(study.task, row["answer"], item.texts, study.types) if row["action"] == "answer" else None
    seconds = row.get("seconds")
    lines.append(
        Line(
            number,
            item.key,
            answer,
            str(row.get("reason", "")),
            float(seconds) if isinstance(seconds, int | float) else None,
            str(row.get("at", "")),
        )
    )


def submit(
    study: Study, annotator: str, item: str, answer: Json, follows: int = 0, seconds: float | None = None
) -> Line:
    """Add an answer; the same answer after the same line is there already and adds nothing.

    Args:
        item: key of the item.
        answer: see `evalkit.annotation.answers`.
        follows: line of the journal that was shown as the latest of this item, 0 for none.
        seconds: how long the item was open.
    Returns:
        The line that now stands.
    Raises:
        DataError: if the answer is malformed or the item is not the study's.
        StaleAnswerError: if something else was said of the item meanwhile.
        RecordError: if it cannot be written: nothing is recorded then.
    """
    study_item = study.item(item)
    checked = checked_answer(study.task, answer, study_item.texts, study.types)
    return _add(study, annotator, item, follows, {"action": "answer", "answer": checked}, seconds)


def skip(study: Study, annotator: str, item: str, reason: str, follows: int = 0, seconds: float | None = None) -> Line:
    """Leave an item out, with the reason.

    Raises:
        DataError: without a reason; and as `submit`.
    """
    words = " ".join(reason.split())
    if not words or len(words) > LONGEST_REASON:
        raise DataError(f"a skipped item needs a reason, of at most {LONGEST_REASON} characters")
    return _add(study, annotator, item, follows, {"action": "skip", "reason": words}, seconds)


def undo(study: Study, annotator: str, item: str, undoes: int) -> Line | None:
    """Take back line `undoes`, if it stands for the item; returns what stands now.

    Raises:
        StaleAnswerError: if another line stands.
    """
    with _locked(study, annotator) as (state, journal):
        latest = state.latest(study.item(item).key)
        if latest is None or latest.n != undoes:
            raise StaleAnswerError(_stale(item, latest))
        row = {"n": state.last + 1, "action": "undo", "item": item, "undoes": undoes, "at": _now()}
        journal.append(row)
        _take(state, study, row, state.last + 1)
        return state.latest(item)


def completion(study: Study, annotator: str, state: State) -> Completion:
    """How far an annotator is with the items assigned to him or her."""
    own = {item.key for item in study.assigned(annotator)}
    standing = [lines[-1] for key, lines in state.lines.items() if lines and key in own]
    done = sum(line.answer is not None for line in standing)
    latest = sorted(standing, key=lambda line: line.n)[-PACE:]
    spent = [min(line.seconds, LONGEST_PAUSE_S) for line in latest if line.seconds is not None]
    left = median(spent) * (len(own) - len(standing)) if spent else None
    return Completion(done, len(standing) - done, len(own), left)


def _add(study: Study, annotator: str, item: str, follows: int, said: Mapping[str, Any], seconds: float | None) -> Line:
    with _locked(study, annotator) as (state, journal):
        study_item = study.item(item)
        latest = state.latest(item)
        if (latest.n if latest else 0) != follows:
            if latest is not None and _same(latest, said):
                return latest  # a double click, or a line that was written before the page heard of it
            raise StaleAnswerError(_stale(item, latest))
        if latest is not None and _same(latest, said):
            return latest
        row: dict[str, Json] = {
            "n": state.last + 1,
            "item": item,
            "hashes": study_item.hashes,
            "follows": follows,
            **said,
        }
        if seconds is not None and 0 <= seconds < 10**7:
            row["seconds"] = round(float(seconds), 1)
        row["at"] = _now()
        journal.append(row)
        _take(state, study, row, state.last + 1)
        line = state.latest(item)
        assert line is not None
        return line


def _same(line: Line, said: Mapping[str, Any]) -> bool:
    if said["action"] == "skip":
        return line.answer is None and line.reason == said["reason"]
    return line.answer is not None and dict(line.answer) == said["answer"]


def _stale(item: str, latest: Line | None) -> str:
    when = f", at {latest.at}" if latest is not None else ""
    return f"item {item!r:.60} was changed in another window{when}; check what is there and submit again"


@contextmanager
def _locked(study: Study, annotator: str) -> Iterator[tuple[State, Journal]]:
    """The journal, open for one line, and its state, held against every other process and thread."""
    path = journal_path(study, annotator)
    try:
        with FileLock(f"{path}.lock", timeout=LOCK_S):
            state = read_state(study, annotator)
            with Journal(path) as journal:
                yield state, journal
    except Timeout as error:
        raise RecordError(f"{path}: another process has held it for {LOCK_S:.0f} s; try again") from error
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error.strerror}") from error


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
