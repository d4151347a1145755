"""Samples that the viewer flagged: a journal beside the runs, never in them."""

from pathlib import Path

from evalkit.errors import RecordError
from evalkit.runs.records import Journal, read_journal

FLAGS = "flags.jsonl"
Key = tuple[str, str, int]  # run name, item id, index of the sample


def read_flags(folder: Path) -> set[Key]:
    """What is flagged: the last line of each sample counts. A journal that cannot be read flags nothing."""
    try:
        rows = read_journal(folder / FLAGS)
        latest = {(str(row["run"]), str(row["id"]), int(row["sample"])): row["flagged"] for row in rows}
    except (RecordError, KeyError, TypeError, ValueError):
        return set()
    return {key for key, flagged in latest.items() if flagged}


def write_flag(folder: Path, key: Key, flagged: bool) -> None:
    """Flag a sample or take the flag away.

    Raises:
        RecordError: if the folder cannot be written.
    """
    run, name, sample = key
    with Journal(folder / FLAGS) as journal:
        journal.append({"run": run, "id": name, "sample": sample, "flagged": flagged})
