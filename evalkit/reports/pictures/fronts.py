"""A picture of a front: hallucination against recall, the base cut ever later as a line, runs as dots.

The band is the 95 % interval of the base's rate at every cut. Solid: cut after sentences, with their number beside the
point; dashed: after words. What little a first sentence leaves out is not drawn. Below the line a run hallucinates less
than the base that says as much.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from evalkit.analysis.front import WHOLE, CurvePoint, RunFront, curve_points
from evalkit.analysis.standing import Placed
from evalkit.errors import RecordError, UsageError
from evalkit.files.atomic import replaced
from evalkit.metrics import Metric
from evalkit.reports.pictures.canvas import Anchor, Canvas, PngCanvas, Point, SvgCanvas
from evalkit.reports.tables import one_line

WIDTH, HEIGHT = 760, 480
LEFT, RIGHT, TOP, BOTTOM = 62, 24, 40, 54
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#7F7F7F")
BASE = "#444444"
APART = 14  # points of the picture between two cuts that are both labelled
SUFFIXES: dict[str, Callable[[int, int], Canvas]] = {".svg": SvgCanvas, ".png": PngCanvas}


@dataclass(frozen=True)
class _Scale:
    """From values of two metrics to points of the picture."""

    x: tuple[float, float]
    y: tuple[float, float]

    def point(self, x: float, y: float) -> Point:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def write_picture(path: Path, front: RunFront, base: str, placed: Sequence[Placed], metric: str | None = None) -> None:
    """Draw a front with the runs beside it.

    Args:
        path: ends in .svg or .png.
        base: name of the base.
        placed: runs beside this front.
        metric: name of the metric to draw, None for the headline.
    Raises:
        UsageError: for another ending, or a metric that is not compared.
        RecordError: if the file cannot be written.
    """
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: a picture ends in {' or '.join(SUFFIXES)}")
    names = [known.name for known in front.compared]
    if metric is not None and metric not in names:
        raise UsageError(f"front: {metric!r} is not compared; compared are {', '.join(names)}")
    canvas = kind(WIDTH, HEIGHT)
    draw(canvas, front, base, placed, names.index(metric) if metric else 0)
    try:
        with replaced(path) as beside:
            beside.write_bytes(canvas.content())
    except OSError as error:
        raise RecordError(f"{path}: cannot be written: {error.strerror}") from error


def draw(canvas: Canvas, front: RunFront, base: str, placed: Sequence[Placed], index: int = 0) -> None:
    """Draw on a canvas; `index` of the compared metric."""
    metric = front.compared[index]
    runs = [
        (run.other, first.level, first.other)
        for run in placed
        if (first := run.standings[index].positions[0]).level is not None and first.other is not None
    ]
    lines = _lines(front, metric, [level for _, level, _ in runs if level is not None])
    scale = _scale(lines, [(x, y) for _, x, y in runs if x is not None and y is not None])
    labels = _Labels(canvas)
    _axes(canvas, scale, front.at, metric)
    for name, points in lines.items():
        _curve(canvas, scale, name, points)
    taken = [scale.point(x, y) for _, x, y in runs if x is not None and y is not None]
    line = [scale.point(mark.level, mark.value) for mark in next(iter(lines.values()))]
    labels.keep_off(_along(line), 2)
    labels.keep_off([*taken, *line], 5)
    for number, ((name, _, _), place) in enumerate(zip(runs, taken, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        canvas.dot(place, 5, colour)
        labels.put(place, one_line(name), 12, colour)
    for mark in reversed(next(iter(lines.values()))):  # "all" first: the last points lie close together
        place = scale.point(mark.level, mark.value)
        if mark.cut is None or mark.level < scale.x[0]:
            continue
        if mark.cut == WHOLE or all(math.dist(place, other) > APART for other in taken):
            labels.put(place, str(mark.cut), 11, BASE, needed=False)
            taken.append(place)
    title = f"{one_line(base)}: all, and cut after each sentence (dashed: after words)"
    if front.front.answers:
        title = f"{one_line(base)}, its answers shifted blindly towards {' or '.join(front.front.answers)}"
    canvas.text((LEFT, 15), title, 13, BASE)


def _lines(front: RunFront, metric: Metric, levels: Sequence[float]) -> dict[str, list[CurvePoint]]:
    """Curve name -> its defined points, from the first sentence or the lowest run on."""
    points = {curve.name: curve_points(front, curve, metric) for curve in front.curves}
    if front.front.answers:
        return points
    start = min([*levels, *(point.level for point in points["sentences"] if point.cut != 0)], default=0.0)
    return {
        name: [point for point, after in zip(own, [*own[1:], own[-1]], strict=True) if after.level >= start]
        for name, own in points.items()
        if own
    }


def _scale(lines: Mapping[str, Sequence[CurvePoint]], runs: Sequence[Point]) -> _Scale:
    marks = [mark for line in lines.values() for mark in line]
    if not marks:
        raise UsageError("front: the metric is defined at no cut")
    xs = [mark.level for mark in marks if mark.cut != 0] + [x for x, _ in runs]
    ys = [y for mark in marks for y in (mark.value, mark.low, mark.high)] + [y for _, y in runs]
    return _Scale(_range(xs), _range(ys))


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 1.0
    return (max(0.0, low - room) if low >= 0 else low - room), high + room


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers in a range, four to nine of them.

    >>> _ticks(0, 47)
    [0, 10, 20, 30, 40]
    """
    size = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(size * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (size * factor) <= 9)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _axes(canvas: Canvas, scale: _Scale, at: Metric, metric: Metric) -> None:
    left, bottom = scale.point(scale.x[0], scale.y[0])
    right, top = scale.point(scale.x[1], scale.y[1])
    for value in _ticks(*scale.y):
        _, y = scale.point(scale.x[0], value)
        canvas.line([(left, y), (right, y)], "#E4E4E4")
        canvas.text((left - 8, y + 4), f"{value:g}", 12, BASE, "end")
    for value in _ticks(*scale.x):
        x, _ = scale.point(value, scale.y[0])
        canvas.line([(x, bottom), (x, bottom + 4)], "#888888")
        canvas.text((x, bottom + 18), f"{value:g}", 12, BASE, "middle")
    canvas.line([(left, top), (left, bottom), (right, bottom)], "#888888")
    canvas.text(((left + right) / 2, HEIGHT - 14), _named(at), 13, BASE, "middle")
    canvas.text((LEFT - 44, TOP - 6), _named(metric), 13, BASE)


def _named(metric: Metric) -> str:
    """A metric as an axis is labelled; the arrows of tables are in few fonts."""
    better = {True: ", higher is better", False: ", lower is better", None: ""}[metric.higher_is_better]
    return f"{metric.name}, {metric.unit}{better}"


def _curve(canvas: Canvas, scale: _Scale, name: str, marks: Sequence[CurvePoint]) -> None:
    inside = [mark for mark in marks if mark.level >= scale.x[0]]
    line = [scale.point(mark.level, mark.value) for mark in inside]
    if len(line) > 1:
        canvas.line(line, BASE, 1.0 if name == "words" else 2.0, dashed=name == "words")
    if name == "words":
        return
    band = [scale.point(mark.level, mark.low) for mark in inside]
    band += [scale.point(mark.level, mark.high) for mark in reversed(inside)]
    if len(band) > 4:
        canvas.area(band, BASE, 0.13)
    for place, mark in zip(line, inside, strict=True):
        if mark.cut is not None:
            canvas.dot(place, 3.5, BASE, filled=mark.cut == WHOLE)


def _along(line: Sequence[Point]) -> list[Point]:
    """Points of a line, a few apart."""
    points = []
    for (x0, y0), (x1, y1) in pairwise(line):
        steps = max(1, round(math.dist((x0, y0), (x1, y1)) / 6))
        points += [(x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps) for step in range(steps)]
    return points


class _Labels:
    """Places texts beside points so that none covers another."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._taken: list[tuple[float, float, float, float]] = []

    def keep_off(self, places: Sequence[Point], radius: float) -> None:
        """Let no text cover these dots."""
        self._taken += [(x - radius, y - radius, x + radius, y + radius) for x, y in places]

    def put(self, place: Point, text: str, size: float, colour: str, needed: bool = True) -> None:
        """Write a text beside a point, at the first free place of some; without one, only a text that is needed."""
        width = 0.58 * size * len(text)
        x, y = place
        tries: list[tuple[float, float, Anchor]] = [
            (x - 8, y - 6, "end"), (x + 8, y + size + 2, "start"), (x + 8, y - 6, "start"),
            (x - 8, y + size + 2, "end"),
            (x - 8, y - 6 - 1.4 * size, "end"), (x + 8, y + 2.4 * size, "start"),
        ]  # fmt: skip
        for left, base, anchor in tries:
            start = left - width if anchor == "end" else left
            box = (start, base - size, start + width, base + 2)
            inside = start > 4 and start + width < WIDTH - 4 and base < HEIGHT - BOTTOM
            if inside and not any(map(_overlap(box), self._taken)):
                self._taken.append(box)
                self._canvas.text((left, base), text, size, colour, anchor)
                return
        if needed:
            self._canvas.text((x - 8, y - 6), text, size, colour, "end")


def _overlap(box: tuple[float, float, float, float]) -> "Callable[[tuple[float, float, float, float]], bool]":
    left, top, right, bottom = box
    return lambda other: left < other[2] and other[0] < right and top < other[3] and other[1] < bottom
