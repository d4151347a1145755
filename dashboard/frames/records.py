"""What one record says: its objects, hallucinated or present."""

from evalkit.reports.markup import clean
from evalkit.runs.run import objects_present
from evalkit.schema import Record

SHOWN_TEXT = 240  # characters of a response in a list


def noted_objects(row: Record, *labels: str) -> list[str]:
    """Objects that a record's findings with these labels stand for, one per mention: notes up to the reason, if any."""
    findings = row["score"].get("findings") or []
    notes = [str(finding["note"]) for finding in findings if finding["label"] in labels and finding.get("note")]
    return [clean(note.partition(": ")[0]) for note in notes]


def hallucinated_objects(row: Record) -> frozenset[str]:
    """Objects that are named and not there."""
    return frozenset(noted_objects(row, "hallucinated"))


def present_objects(row: Record) -> list[str]:
    """Objects truly in the image, by the benchmark's annotation; empty where a record lists none."""
    return [clean(name) for name in objects_present(row)]
