"""Curves for the chart: where they begin, and what lies between answers and constant answers."""

import numpy as np
import pytest

from dashboard.frames.fronts import curves_frame
from evalkit.analysis.front import Curve, RunFront
from evalkit.benchmark import Front
from evalkit.metrics import Metric

RECALL = Metric("recall", "100 * covered / objects", True)
BAD = Metric("bad", "100 * wrong / responses", False, role="rate")
YES = Metric("yes", "100 * (tp + fp) / n", None)
F1 = Metric("f1", "200 * tp / (2 * tp + fp + fn)", True)


def front(at: Metric, metric: Metric, names: tuple[str, ...], *curves: Curve, **options: object) -> RunFront:
    kind = Front(at.name, (metric.name,), **options)  # type: ignore[arg-type]
    return RunFront(kind, (at, metric), names, (("0", 0),), ("0",), curves)


def test_words_begin_where_the_first_sentence_ends() -> None:
    names = ("covered", "objects", "wrong", "responses")
    rows = {0: [0, 4, 0, 1], 1: [2, 4, 0, 1], "all": [3, 4, 1, 1]}
    words = {0: [0, 4, 0, 1], 5: [1, 4, 0, 1], 10: [2, 4, 0, 1], "all": [3, 4, 1, 1]}
    curves = [Curve(n, tuple(own), np.array([list(own.values())], float)) for n, own in
              (("sentences", rows), ("words", words))]  # fmt: skip
    frame = curves_frame({"run": front(RECALL, BAD, names, *curves)}, "bad")
    assert frame[frame["way"] == "sentences"]["cut"].tolist() == ["1", "all"]
    assert frame[frame["way"] == "words"]["cut"].tolist() == ["10", "all"]
    assert frame["whole"].tolist() == [False, True, False, True]


def test_between_answers_and_a_constant_answer_counts_are_mixed() -> None:
    counts = np.array([[[0, 0, 4, 8], [3, 1, 1, 8], [4, 4, 0, 8]]], float)
    curve = Curve("answers", ("all No", "all", "all Yes"), counts)
    frame = curves_frame({"run": front(YES, F1, ("tp", "fp", "fn", "n"), curve, answers=("No", "Yes"))}, "f1")
    assert frame["cut"].dropna().tolist() == ["all No", "all", "all Yes"]
    (middle,) = frame[np.isclose(frame["x"], 25)].to_dict("records")  # half of the base's 50 % "yes"
    assert middle["y"] == pytest.approx(200 * 1.5 / (3 + 0.5 + 2.5))
    assert middle["y"] > (0 + 75) / 2  # no straight line
