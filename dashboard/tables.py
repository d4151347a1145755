"""Tables behind the pages: pandas and plain data, no streamlit."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboard.data import RunInfo
from evalkit.checks import ranked
from evalkit.intervals import Interval, evaluate
from evalkit.markup import clean
from evalkit.metrics import Array, Metric, count_matrix
from evalkit.runs import Run, failed_stage
from evalkit.schema import Json
from evalkit.signature import differences

PRESENT = ("objects", "truth", "labels")  # keys of `reference` that list what is truly in the image
SHOWN_TEXT = 240  # characters of a response in a list
Row = Mapping[str, Json]


# --- overview -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Protocol:
    """Runs that were measured alike, the best first."""

    benchmark: str
    metrics: Sequence[Metric]
    runs: Sequence[RunInfo]

    @property
    def signature(self) -> str:
        """The short signature that its runs share."""
        return clean(self.runs[0].signature.short())


def protocols(runs: Sequence[RunInfo]) -> list[Protocol]:
    """Runs by protocol: what was not measured alike never shares a table."""
    by_text: dict[str, list[RunInfo]] = {}
    for run in runs:
        by_text.setdefault(run.signature.short(), []).append(run)
    alike: list[list[RunInfo]] = []
    for group in by_text.values():  # signatures may differ in what is unknown to one of them
        for other in alike:
            if not any(differences(run.signature, group[0].signature) for run in _distinct(other)):
                other.extend(group)
                break
        else:
            alike.append(list(group))
    return sorted((_protocol(group) for group in alike), key=lambda found: (found.benchmark, -len(found.runs)))


def _distinct(runs: Sequence[RunInfo]) -> Iterable[RunInfo]:
    return {run.signature.short(): run for run in runs}.values()


def _protocol(runs: Sequence[RunInfo]) -> Protocol:
    by_name = {run.name: run for run in runs}
    headline = runs[0].metrics[0]
    values = {run.name: run.values.get(headline.name, Interval(None)).value for run in runs}
    order = ranked(list(by_name), values, headline, {run.name: run.disqualified for run in runs})
    return Protocol(runs[0].benchmark, runs[0].metrics, [by_name[name] for name in order])


def main_metrics(metrics: Sequence[Metric]) -> tuple[Metric, Metric | None]:
    """(the rate of hallucination, the quality beside it); without a rate the first metric and another quality."""
    shown = [metric for metric in metrics if not metric.detail]
    rates = [metric for metric in shown if metric.role == "rate" and metric.higher_is_better is False]
    first = rates[0] if rates else metrics[0]
    qualities = [m for m in shown if m.role == "quality" and m.higher_is_better and m is not first]
    percent = [metric for metric in qualities if metric.unit == "percent"]
    return first, next(iter(percent or qualities), None)


def trade_off(protocol: Protocol, rate: Metric, quality: Metric) -> pd.DataFrame:
    """Points of the plot of hallucination against recall, with the limits of both."""
    rows = []
    for run in protocol.runs:
        x, y = run.values.get(rate.name, Interval(None)), run.values.get(quality.name, Interval(None))
        if x.value is None or y.value is None:
            continue
        rows.append(
            {
                "model": run.label,
                "run": run.name,
                "x": x.value,
                "x_low": x.value if x.low is None else x.low,
                "x_high": x.value if x.high is None else x.high,
                "y": y.value,
                "y_low": y.value if y.low is None else y.low,
                "y_high": y.value if y.high is None else y.high,
                "words": run.words,
                "flagged": "flagged" if run.disqualified else "sound",
                "note": "; ".join(clean(flag.text) for flag in run.flags),
            }
        )
    return pd.DataFrame(rows)


# --- samples ------------------------------------------------------------------------------------------------------


def samples_frame(run: Run) -> pd.DataFrame:
    """One line per sample, in the run's order; texts are cleaned and cut.

    Columns: place (index of the row), id, sample, question, response, search (lower case), hallucinated (mentions; 1
    for a wrong answer without any), correct, failed (stage or ""), words, objects (hallucinated ones), and one
    "group:<name>" per group.
    """
    columns: dict[str, list[Json]] = {
        name: []
        for name in (
            "place", "id", "sample", "question", "response", "search", "hallucinated", "correct", "failed", "words",
            "objects",
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


def noted_objects(row: Row, *labels: str) -> list[str]:
    """Objects that a record's findings with these labels stand for, one per mention: notes up to the reason, if any."""
    findings = row["score"].get("findings") or []
    notes = [str(finding["note"]) for finding in findings if finding["label"] in labels and finding.get("note")]
    return [clean(note.partition(": ")[0]) for note in notes]


def hallucinated_objects(row: Row) -> frozenset[str]:
    """Objects that are named and not there."""
    return frozenset(noted_objects(row, "hallucinated"))


def present_objects(row: Row) -> list[str]:
    """Objects truly in the image, by the benchmark's annotation; empty where a record lists none."""
    reference = row.get("reference") or {}
    for key in PRESENT:
        if isinstance(reference.get(key), list):
            return [clean(name) for name in reference[key] if isinstance(name, str)]
    return []


@dataclass(frozen=True)
class Filters:
    """Which samples a page shows; every field narrows, an empty one does not.

    show    "hallucinated" | "clean" | "failed" | "flagged" | "all"
    text    must occur in id, question or response, upper and lower case alike
    groups  group name -> value
    object  a hallucinated object
    beside  an object truly in the image
    change  "better" | "worse" | "unchanged" | "reworded" (the text differs) against another run
    flagged (id, sample) of samples that the viewer flagged
    """

    show: str = "all"
    text: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    object: str = ""
    beside: str = ""
    min_words: int = 0
    max_words: int = 0
    change: str = ""
    flagged: Collection[tuple[str, int]] = ()


def selected(frame: pd.DataFrame, filters: Filters, rows: Sequence[Row], changes: Sequence[str] = ()) -> pd.DataFrame:
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


def changes_against(run: Run, other: Run) -> list[str]:
    """For each row of a run what changed against another one, as words.

    "better", "worse" or "unchanged" by the first metric in which the sample's own values differ (rates first), "" where
    the other run has no such sample or one of them failed; followed by "reworded" where the responses differ.
    """
    metrics = [m for m in run.metrics if m.higher_is_better is not None and m.role != "length" and not m.detail]
    metrics.sort(key=lambda metric: metric.role != "rate")
    theirs = {(row["id"], row["sample"]): place for place, row in enumerate(other.rows)}
    our_values, their_values = own_values(run, metrics), own_values(other, metrics)
    found = []
    for place, row in enumerate(run.rows):
        match = theirs.get((row["id"], row["sample"]))
        if match is None:
            found.append("")
            continue
        words = [_direction(our_values[place], their_values[match])]
        if row["response"]["text"] != other.rows[match]["response"]["text"]:
            words.append("reworded")
        found.append(" ".join(filter(None, words)))
    return found


def own_values(run: Run, metrics: Sequence[Metric]) -> Array:
    """Value of each metric on each sample alone, higher is better, nan where undefined; shape (rows, metrics)."""
    if not metrics:
        return np.empty((len(run.rows), 0))
    names = list(dict.fromkeys(name for metric in metrics for name in metric.counts))
    matrix = count_matrix([row["score"]["counts"] or {} for row in run.rows], names)
    scored = np.array([row["score"]["counts"] is not None for row in run.rows], dtype=bool)
    values = np.stack([evaluate(m, names, matrix) * (1 if m.higher_is_better else -1) for m in metrics], axis=1)
    values[~scored] = np.nan
    return values


def _direction(ours: Array, theirs: Array) -> str:
    known = ~np.isnan(ours) & ~np.isnan(theirs)
    if not known.any():
        return ""
    differing = np.flatnonzero(known & (ours != theirs))
    if not len(differing):
        return "unchanged"
    return "better" if ours[differing[0]] > theirs[differing[0]] else "worse"


# --- objects ------------------------------------------------------------------------------------------------------


def hallucinated_table(run: Run) -> pd.DataFrame:
    """Hallucinated objects, the most frequent first.

    Columns: object, responses (that hallucinate it), mentions, absent (items whose image lacks it), share (percent of
    these items whose response has it), beside (the object truly present that most often stands beside it).
    """
    responses: Counter[str] = Counter()
    mentions: Counter[str] = Counter()
    beside: dict[str, Counter[str]] = {}
    scored = run.scored
    present = [present_objects(row) for row in scored]
    for row, objects in zip(scored, present, strict=True):
        mentions.update(noted_objects(row, "hallucinated"))
        for name in hallucinated_objects(row):
            responses[name] += 1
            beside.setdefault(name, Counter()).update(set(objects))
    truly: Counter[str] = Counter(name for objects in present for name in set(objects))
    listed = sum(bool(objects) for objects in present)
    rows = []
    for name, count in responses.most_common():
        absent = max(count, (listed or len(scored)) - truly[name])
        near = beside[name].most_common(1)
        rows.append(
            {
                "object": name,
                "responses": count,
                "mentions": mentions[name],
                "absent": absent,
                "share": 100 * count / absent,
                "beside": f"{near[0][0]} ({near[0][1]})" if near else "",
            }
        )
    return pd.DataFrame(rows, columns=["object", "responses", "mentions", "absent", "share", "beside"])


def co_occurrence(run: Run, hallucinated: Sequence[str], most: int = 15) -> pd.DataFrame:
    """How often each hallucinated object comes with each object truly present.

    Columns: object, present, responses (with both), images (with `present` but without `object`), share (percent of
    these whose response hallucinates the object).
    """
    truly: Counter[str] = Counter()
    both: Counter[tuple[str, str]] = Counter()
    together: Counter[tuple[str, str]] = Counter()
    wanted = set(hallucinated)
    for row in run.scored:
        objects = set(present_objects(row))
        truly.update(objects)
        together.update(product(objects & wanted, objects))
        both.update(product(hallucinated_objects(row) & wanted, objects))
    names = [name for name, _ in Counter({n: sum(both[h, n] for h in wanted) for n in truly}).most_common(most)]
    rows = []
    for name, present in product(hallucinated, names):
        images = truly[present] - together[name, present]
        if images > 0:
            count = both[name, present]
            share = 100 * min(1.0, count / images)
            rows.append({"object": name, "present": present, "responses": count, "images": images, "share": share})
    return pd.DataFrame(rows, columns=["object", "present", "responses", "images", "share"])
