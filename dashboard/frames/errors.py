"""Errors of a run by kind: object, number, colour, relation, whatever its findings tell apart."""

from collections import Counter
from collections.abc import Mapping

import pandas as pd

from evalkit.annotation.study import TYPES
from evalkit.metrics import Metric
from evalkit.reports.markup import clean
from evalkit.runs.run import Run
from evalkit.schema import Json
from evalkit.statistics.intervals import intervals

HALLUCINATED, WRONG = "hallucinated", "wrong "
_NAMED = frozenset(kind for kinds in TYPES.values() for kind in kinds)


def error_kind(finding: Mapping[str, Json]) -> str | None:
    """What is wrong with a span; None where nothing is.

    >>> error_kind({"label": "hallucinated", "note": "dog"}), error_kind({"label": "wrong colour", "note": "dog: red"})
    ('object', 'colour')
    >>> error_kind({"label": "hallucinated", "note": "position"}), error_kind({"label": "correct", "note": "dog"})
    ('position', None)
    """
    label, note = str(finding["label"]), str(finding.get("note") or "")
    if label == HALLUCINATED:
        return note if note in _NAMED else "object"  # people's marks note the kind, scorers the object
    return clean(label.removeprefix(WRONG)) if label.startswith(WRONG) else None


def error_kinds(row: Mapping[str, Json]) -> Counter[str]:
    """How many errors of which kind a record's findings show."""
    kinds = map(error_kind, row["score"].get("findings") or [])
    return Counter(kind for kind in kinds if kind is not None)


def errors_table(run: Run) -> pd.DataFrame:
    """One line per kind, the most frequent first.

    Columns: kind, errors, responses (that have one), share (of scored responses, %, with its interval by image).
    """
    rows = run.scored
    kinds = [error_kinds(row) for row in rows]
    errors = sum(kinds, Counter[str]())
    names = [name for name, _ in errors.most_common()]
    counts = [
        {"responses": 1.0} | {f"kind_{place}": float(name in own) for place, name in enumerate(names)} for own in kinds
    ]
    metrics = [Metric(str(place), f"100 * kind_{place} / responses", False) for place in range(len(names))]
    shares = intervals(metrics, counts, [str(row.get("cluster") or row["id"]) for row in rows]) if names else {}
    return pd.DataFrame(
        [
            {
                "kind": name,
                "errors": errors[name],
                "responses": sum(name in own for own in kinds),
                "share": shares[str(place)].text(),
            }
            for place, name in enumerate(names)
        ],
        columns=["kind", "errors", "responses", "share"],
    )
