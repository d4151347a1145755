"""Selected samples as files."""

import json
from collections.abc import Sequence

from dashboard.frames.records import hallucinated_objects, present_objects
from evalkit.files.spreadsheet import csv_text
from evalkit.schema import Record

CSV_COLUMNS = (
    "run", "id", "sample", "image", "prompt", "response", "failure", "hallucinated", "reference_objects", "verdict",
    "counts",
)  # fmt: skip


def samples_jsonl(rows: Sequence[Record]) -> str:
    """The records as they are; lone surrogates are escaped."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def samples_csv(rows: Sequence[Record], run: str) -> str:
    """One line per sample; texts that a spreadsheet would run as formulas are quoted."""
    text = csv_text((_line(row, run) for row in rows), CSV_COLUMNS)
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _line(row: Record, run: str) -> dict[str, object]:
    response, score = row["response"], row["score"]
    return {
        "run": run,
        "id": row["id"],
        "sample": row["sample"],
        "image": (row.get("image") or {}).get("name"),
        "prompt": row.get("prompt"),
        "response": response["text"],
        "failure": response.get("failure") or score.get("failure"),
        "hallucinated": ", ".join(sorted(hallucinated_objects(row))),
        "reference_objects": ", ".join(present_objects(row)),
        "verdict": (row.get("verdict") or {}).get("reply"),
        "counts": json.dumps(score.get("counts")),
    }
