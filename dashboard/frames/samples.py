"""Tables of the samples page: one row per sample, filtered and counted."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboard.frames.compare import own_values
from dashboard.frames.errors import error_kinds
from dashboard.frames.records import SHOWN_TEXT, hallucinated_objects, present_objects
from evalkit.reports.markup import clean
from evalkit.runs.run import Run, failed_stage
from evalkit.schema import Json, Record

# --- samples ------------------------------------------------------------------------------------------------------


def samples_frame(run: Run) -> pd.DataFrame:
    """One line per sample, in the run's order; texts are cleaned and cut.

    Columns: place (index of the row), id, sample, question, response, search (lower case), hallucinated (mentions; 1
    for a wrong answer without any), correct, failed (stage or ""), words, objects (hallucinated ones), kinds (of
    errors), and one "group:<name>" per group.
    """
    columns: dict[str, list[Json]] = {
        name: []
        for name in (
            "place", "id", "sample", "question", "response", "search", "hallucinated", "correct", "failed", "words",
            "objects", "kinds",
        )
    }  # fmt: skip
    names = group_names(run)
    groups: dict[str, list[str]] = {name: [] for name in names}
    wrong = wrong_rows(run)
    for place, row in enumerate(run.rows):
        labels = Counter(finding["label"] for finding in row["score"].get("findings") or [])
        text = row["response"]["text"] or ""
        columns["place"].append(place)
        columns["id"].append(clean(row["id"]))
        columns["sample"].append(int(row.get("sample") or 0))
        columns["question"].append(clean(row.get("question", ""), SHOWN_TEXT))
        columns["response"].append(clean(text, SHOWN_TEXT))
        columns["search"].append(clean(f"{row['id']}\n{row.get('question', '')}\n{text}").lower())
        columns["hallucinated"].append(max(labels["hallucinated"], int(wrong[place])))
        columns["correct"].append(labels["correct"] + labels["covered"])
        columns["failed"].append(failed_stage(row) or "")
        columns["words"].append(len(text.split()))
        columns["objects"].append(hallucinated_objects(row))
        columns["kinds"].append(frozenset(error_kinds(row)))
        own = row.get("groups") or {}
        for name in names:
            groups[name].append(clean(own.get(name, "")))
    return pd.DataFrame({**columns, **{f"group:{clean(name)}": values for name, values in groups.items()}})


def group_names(run: Run) -> list[str]:
    """Names of the items' groups."""
    return list(dict.fromkeys(str(name) for row in run.rows for name in (row.get("groups") or {})))


def wrong_rows(run: Run) -> NDArray[np.bool_]:
    """Samples that are wrong by their own metrics, findings or not: a judge's verdict and a yes/no have no span.

    A sample is wrong if a rate of hallucination that is defined on it is not 0; where none is defined, if the first
    quality in percent that is defined on it is not 100.
    """
    rates = [m for m in run.metrics if m.role == "rate" and m.higher_is_better is False and not m.detail]
    qualities = [m for m in run.metrics if m.role == "quality" and m.higher_is_better and m.unit == "percent"]
    by_rate = own_values(run, rates)
    wrong: NDArray[np.bool_] = np.any(by_rate < 0, axis=1)
    unrated = np.all(np.isnan(by_rate), axis=1)
    if qualities and unrated.any():
        values = own_values(run, qualities)
        known = ~np.isnan(values)
        first = values[np.arange(len(values)), np.argmax(known, axis=1)]
        wrong |= unrated & known.any(axis=1) & (first < 100)
    return wrong


@dataclass(frozen=True)
class Filters:
    """Which samples a page shows; every field narrows, an empty one does not.

    show    "hallucinated" | "clean" | "failed" | "flagged" | "all"
    text    must occur in id, question or response, upper and lower case alike
    groups  group name -> value
    object  a hallucinated object
    kind    a kind of error, see `dashboard.frames.errors`
    beside  an object truly in the image
    change  "better" | "worse" | "unchanged" | "reworded" (the text differs) against another run
    flagged (id, sample) of samples that the viewer flagged
    """

    show: str = "all"
    text: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    object: str = ""
    kind: str = ""
    beside: str = ""
    min_words: int = 0
    max_words: int = 0
    change: str = ""
    flagged: Collection[tuple[str, int]] = ()


def selected(
    frame: pd.DataFrame, filters: Filters, rows: Sequence[Record], changes: Sequence[str] = ()
) -> pd.DataFrame:
    """The lines of `samples_frame` that pass.

    Args:
        rows: the run's records, for what the frame does not hold.
        changes: of `changes_against`, one per line.
    """
    kept = np.ones(len(frame), dtype=bool)
    if filters.show == "hallucinated":
        kept &= (frame["hallucinated"] > 0).to_numpy()
    elif filters.show == "clean":
        kept &= ((frame["hallucinated"] == 0) & (frame["failed"] == "")).to_numpy()
    elif filters.show == "failed":
        kept &= (frame["failed"] != "").to_numpy()
    elif filters.show == "flagged":
        flagged = set(filters.flagged)
        kept &= np.array([(row["id"], row["sample"]) in flagged for row in rows], dtype=bool)
    if filters.text:
        kept &= frame["search"].str.contains(filters.text.lower(), regex=False).to_numpy(dtype=bool)
    for name, value in filters.groups.items():
        kept &= (frame[f"group:{name}"] == value).to_numpy()
    if filters.object:
        kept &= np.array([filters.object in objects for objects in frame["objects"]], dtype=bool)
    if filters.kind:
        kept &= np.array([filters.kind in kinds for kinds in frame["kinds"]], dtype=bool)
    if filters.beside:
        kept &= np.array([filters.beside in present_objects(row) for row in rows], dtype=bool)
    if filters.min_words:
        kept &= (frame["words"] >= filters.min_words).to_numpy()
    if filters.max_words:
        kept &= (frame["words"] <= filters.max_words).to_numpy()
    if filters.change:
        kept &= np.array([_changed(change, filters.change) for change in changes], dtype=bool)
    return frame[kept]


def _changed(change: str, wanted: str) -> bool:
    return wanted in change.split()


SORTS = {
    "run's order": ("place", True),
    "most hallucinated first": ("hallucinated", False),
    "longest first": ("words", False),
    "shortest first": ("words", True),
    "id": ("id", True),
}


def ordered(frame: pd.DataFrame, sort: str) -> pd.DataFrame:
    """Lines in one of the orders of SORTS; ties keep the run's order."""
    column, ascending = SORTS[sort]
    return frame if column == "place" else frame.sort_values(column, ascending=ascending, kind="stable")
