"""Published figures of a benchmark, read for the pages."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evalkit.errors import RecordError
from evalkit.reports.markup import clean


@dataclass(frozen=True)
class PublishedRow:
    """Figures that a paper prints: never mixed with one's own, shown with their source."""

    benchmark: str
    model: str
    values: Mapping[str, float]
    source: str


def read_published(path: Path) -> list[PublishedRow]:
    """Published rows of a report: `evalkit report RUNS --published --format json`.

    Raises:
        RecordError: if the file is not such a report.
    """
    try:
        return [
            PublishedRow(
                clean(board["benchmark"]),
                clean(f"{row['model']}, {row['subset']}" if row.get("subset") else row["model"]),
                {str(name): float(value) for name, value in row["values"].items()},
                clean(row["source"]),
            )
            for board in json.loads(path.read_text("utf-8"))
            for row in board["published"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(
            f"{path}: expected the output of `evalkit report --published --format json`: {error}"
        ) from error
