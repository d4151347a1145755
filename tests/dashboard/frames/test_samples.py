"""Tables of the pages, on runs small enough to follow by hand."""

import pytest

from dashboard.frames.compare import changes_against
from dashboard.frames.errors import errors_table
from dashboard.frames.objects import co_occurrence, hallucinated_table
from dashboard.frames.overview import main_metrics
from dashboard.frames.records import noted_objects
from dashboard.frames.samples import Filters, ordered, samples_frame, selected
from evalkit.metrics import Metric
from evalkit.runs.run import Run

RATE = Metric("rate", "100 * wrong / mentions", higher_is_better=False, role="rate")
RECALL = Metric("recall", "100 * covered / truth", higher_is_better=True)
SCORE = Metric("score", "points / responses", higher_is_better=True, unit="points")


def row(name, text, present=(), hallucinated=(), counts=None, **fields):
    findings = [
        {"start": text.index(word), "end": text.index(word) + len(word), "label": "hallucinated", "note": word}
        for word in hallucinated
    ]
    made = {"mentions": 2, "wrong": len(hallucinated), "covered": 1, "truth": max(1, len(present))}
    return {
        "id": name,
        "sample": 0,
        "question": "Describe.",
        "prompt": "Describe.",
        "image": None,
        "groups": {},
        "cluster": "",
        "reference": {"objects": list(present)},
        "response": {"text": text, "failure": None, "finish": "stop", "tokens": None},
        "verdict": None,
        "score": {"counts": made if counts is None else counts, "failure": None, "findings": findings},
        **fields,
    }


def run(*rows, metrics=(RATE, RECALL)):
    return Run({"benchmark": "toy", "label": "m", "metrics": [metric.as_dict() for metric in metrics]}, list(rows))


BASE = run(
    row("1", "a dog", ["dog", "cup"]),
    row("2", "a fork and a cat", ["cup"], ["fork"], groups={"kind": "b"}),
    row("3", "a fork", ["cup", "table"], ["fork"]),
    row("4", "a fork here", ["fork", "cup"]),
)


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (Filters(), "1234"),
        (Filters(show="hallucinated"), "23"),
        (Filters(show="clean"), "14"),
        (Filters(text="CAT"), "2"),
        (Filters(groups={"kind": "b"}), "2"),
        (Filters(object="fork"), "23"),
        (Filters(object="fork", beside="table"), "3"),
        (Filters(min_words=3), "24"),
        (Filters(max_words=2), "13"),
        (Filters(show="flagged", flagged={("4", 0)}), "4"),
    ],
)
def test_each_filter_narrows(filters, ids):
    assert "".join(selected(samples_frame(BASE), filters, BASE.rows)["id"]) == ids


def test_orders_keep_the_runs_order_among_equals():
    assert "".join(ordered(samples_frame(BASE), "most hallucinated first")["id"]) == "2314"
    assert "".join(ordered(samples_frame(BASE), "longest first")["id"]) == "2413"


def test_a_failed_sample_is_failed_not_clean():
    failed = row("5", "")
    failed["response"] = {"text": None, "failure": "out of memory"}
    failed["score"] = {"counts": None, "failure": "generation: out of memory", "findings": []}
    frame = samples_frame(run(failed))
    assert list(frame["failed"]) == ["generation"]
    assert selected(frame, Filters(show="clean"), [failed]).empty


@pytest.mark.parametrize(
    ("ours", "theirs", "change"),
    [
        (row("1", "a dog"), row("1", "a dog", hallucinated=["dog"]), "better"),
        (row("1", "a dog", hallucinated=["dog"]), row("1", "a dog"), "worse"),
        (row("1", "a dog"), row("1", "a cat"), "unchanged reworded"),
        (row("1", "a dog"), row("1", "a dog"), "unchanged"),
        (row("1", "a dog"), row("2", "a dog"), ""),
        (row("1", "x", counts={"mentions": 0, "truth": 0}), row("1", "x"), ""),
    ],
)
def test_what_changed_against_another_run(ours, theirs, change):
    assert changes_against(run(ours), run(theirs)) == [change]


def test_a_note_is_an_object_and_perhaps_a_reason():
    reasons = {"fork": "fork: not in the image; expected hallucination 'fork'", "cat": "cat"}
    noted = row("1", "a fork and a cat", hallucinated=["fork", "cat"])
    for finding in noted["score"]["findings"]:
        finding["note"] = reasons[finding["note"]]
    assert noted_objects(noted, "hallucinated") == ["fork", "cat"]
    assert noted_objects(noted, "correct") == []


def test_an_object_is_counted_against_the_images_that_lack_it():
    (line,) = hallucinated_table(BASE).to_dict("records")
    assert (line["object"], line["responses"], line["absent"]) == ("fork", 2, 3)
    assert line["share"] == pytest.approx(200 / 3)
    assert line["beside"] == "cup (2)"


def test_co_occurrence_divides_by_images_with_the_one_and_without_the_other():
    cells = {(cell["object"], cell["present"]): cell for cell in co_occurrence(BASE, ["fork"]).to_dict("records")}
    assert (cells["fork", "cup"]["responses"], cells["fork", "cup"]["images"]) == (2, 3)
    assert cells["fork", "table"]["share"] == 100.0
    assert ("fork", "fork") not in cells


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [((SCORE, RECALL, RATE), ("rate", "recall")), ((RATE, SCORE), ("rate", "score")), ((RECALL,), ("recall", None))],
)
def test_the_main_metrics_are_a_rate_and_what_it_costs(metrics, expected):
    rate, quality = main_metrics(metrics)
    assert (rate.name, quality.name if quality else None) == expected


def test_a_wrong_answer_without_a_span_counts_as_one():
    accuracy = Metric("accuracy", "100 * right / questions", higher_is_better=True)
    frame = samples_frame(
        run(
            row("1", "Yes", counts={"right": 0, "questions": 1}),
            row("2", "No", counts={"right": 1, "questions": 1}),
            metrics=(accuracy,),
        )
    )
    assert list(frame["hallucinated"]) == [1, 0]


def test_errors_are_counted_by_kind_and_their_samples_selected():
    one = row("1", "two red cups and a dog", hallucinated=("dog",))
    one["score"]["findings"] += [
        {"start": 0, "end": 3, "label": "wrong number", "note": "cup: one"},
        {"start": 4, "end": 7, "label": "wrong colour", "note": "cup: blue"},
        {"start": 8, "end": 12, "label": "correct", "note": "cup"},
    ]
    other = row("2", "a cat and a dog", hallucinated=("cat", "dog"))
    failed = {**row("3", "a dog", hallucinated=("dog",)), "score": {"counts": None, "failure": "x", "findings": []}}
    table = errors_table(run(one, other, failed))
    assert [(line["kind"], line["errors"], line["responses"]) for line in table.to_dict("records")] == [
        ("object", 3, 2),
        ("number", 1, 1),
        ("colour", 1, 1),
    ]
    assert [share.split(" ")[0] for share in table["share"]] == ["100.0", "50.0", "50.0"]
    rows = run(one, other, failed)
    frame = samples_frame(rows)
    assert list(selected(frame, Filters(kind="colour"), rows.rows)["id"]) == ["1"]
    assert errors_table(run(row("1", "a cat"))).empty
