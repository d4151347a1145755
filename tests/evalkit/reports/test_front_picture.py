"""The picture of a front: names stand beside their dots and off the line; a blind shift is drawn bent, as it mixes."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from evalkit.analysis.front import Curve, RunFront
from evalkit.analysis.standing import place
from evalkit.benchmark import Front
from evalkit.metrics import Metric
from evalkit.reports.pictures.canvas import Anchor, Point
from evalkit.reports.pictures.fronts import draw
from evalkit.runs.run import Run

RECALL = Metric("recall", "100 * covered / objects", higher_is_better=True)
BAD = Metric("bad", "100 * wrong / responses", higher_is_better=False, role="rate")
NAMES = ("covered", "objects", "wrong", "responses")


class Paper:
    """A canvas that remembers what was put where."""

    def __init__(self) -> None:
        self.lines: list[tuple[list[Point], float]] = []
        self.texts: dict[str, tuple[float, float, float, float]] = {}

    def line(self, points: Sequence[Point], colour: str, width: float = 1.0, dashed: bool = False) -> None:
        self.lines.append((list(points), width))

    def area(self, points: Sequence[Point], colour: str, opacity: float) -> None: ...

    def dot(self, centre: Point, radius: float, colour: str, filled: bool = True) -> None: ...

    def text(self, place: Point, text: str, size: float, colour: str = "", anchor: Anchor = "start") -> None:
        width = 0.5 * size * len(text)
        left = {"start": place[0], "middle": place[0] - width / 2, "end": place[0] - width}[anchor]
        self.texts[text] = (left, place[1] - size, left + width, place[1])

    def content(self) -> bytes:
        return b""

    @property
    def curve(self) -> list[Point]:
        """The points of the thick line."""
        return next(points for points, width in self.lines if width == 2.0)


def base(items: int = 40) -> RunFront:
    """Every sentence names an object more, and one response in four makes up another."""
    rows = [[[cut, 4, float(n % 4 < cut), 1] for cut in range(5)] for n in range(items)]
    curves = tuple(Curve(name, (0, 1, 2, 3, "all"), np.array(rows)) for name in ("sentences", "words"))
    keys = tuple((str(n), 0) for n in range(items))
    return RunFront(Front("recall", ("bad",)), (RECALL, BAD), NAMES, keys, tuple(map(str, range(items))), curves)


def run(name: str, covered: int, tenths: int, items: int = 40) -> Run:
    counts = [dict(zip(NAMES, (covered, 4, float(n % 10 < tenths), 1), strict=True)) for n in range(items)]
    rows = [{"id": str(n), "sample": 0, "score": {"counts": own}} for n, own in enumerate(counts)]
    return Run({"benchmark": "toy", "label": name}, rows)


@pytest.mark.parametrize(("covered", "tenths"), [(3, 7), (2, 4), (3, 6), (2, 5), (1, 2)])
def test_names_of_runs_keep_off_the_line(covered: int, tenths: int) -> None:
    paper, front = Paper(), base()
    draw(paper, front, "base", place(front, "base", {"method": run("method", covered, tenths)}))
    left, top, right, bottom = paper.texts["method"]
    for (x0, y0), (x1, y1) in pairwise(paper.curve):
        for share in np.linspace(0, 1, 50):
            x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
            assert not (left < x < right and top < y < bottom)


def test_a_blind_shift_bends_where_its_metric_does() -> None:
    f1, yes = Metric("f1", "200 * tp / (2 * tp + fp + fn)", True), Metric("yes", "100 * (tp + fp) / n", None)
    counts = np.array([[[0, 0, 4, 8], [3, 1, 1, 8], [4, 4, 0, 8]]], dtype=float)
    curve = Curve("answers", ("all No", "all", "all Yes"), counts)
    kind = Front("yes", ("f1",), answers=("No", "Yes"))
    paper = Paper()
    draw(paper, RunFront(kind, (yes, f1), ("tp", "fp", "fn", "n"), (("0", 0),), ("0",), (curve,)), "base", [])
    assert len(paper.curve) > 20
    (x0, y0), (x1, y1) = paper.curve[0], paper.curve[len(paper.curve) // 2]
    x, y = paper.curve[len(paper.curve) // 4]
    assert y < y0 + (x - x0) / (x1 - x0) * (y1 - y0) - 20  # points above the straight line, in a picture's downward y
    assert {"all No", "all", "all Yes"} <= paper.texts.keys()
