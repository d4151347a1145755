"""Pictures of the entry "methods": hallucination against recall, every method a line over its checkpoints.

On the same axes the base cut after ever more sentences, the blind rules of `aligners.miniature.tells`, and what costs
no training: a careful prompt, contrastive decoding, the best of eight responses. The bases together that have every
arm that is drawn: points of different bases do not belong on one pair of axes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from aligners.miniature.tells import RULES, rates
from evalkit.miniature.captions import split_sentences
from evalkit.miniature.files import read_scenes
from evalkit.reports.pictures.canvas import Point, SvgCanvas
from evalkit.runs.run import Run
from tests.results.bench import CHAIR, pooled, pooled_front
from tests.results.entry import BASE, Measured

WIDTH, HEIGHT = 820, 520
LEFT, RIGHT, TOP, BOTTOM = 60, 190, 34, 52
GREY = "#444444"
TRAINED = ("dense DPO", "plain DPO", "RLAIF", "fact-RLHF")
COLOURS = {"dense DPO": "#0072B2", "plain DPO": "#56B4E9", "RLAIF": "#D55E00", "fact-RLHF": "#009E73"}
UNTRAINED = {"careful prompt": "#CC79A7", "VCD": "#8C564B", "best of 8": "#E69F00"}
LOWEST = 90.0  # recall; below it lie the first sentences alone


def write_picture(measured: Measured, path: Path) -> None:
    """Draw it as SVG."""
    drawn = [arm for arm in (*TRAINED, *UNTRAINED) if measured.last(arm)]
    measured = measured.on(measured.shared(BASE, *drawn))
    if not measured.seeds:
        return
    canvas = SvgCanvas(WIDTH, HEIGHT)
    lines = {arm: trail(measured, arm) for arm in TRAINED if measured.last(arm)}
    dots = {arm: _rates(measured.last(arm)) for arm in UNTRAINED if measured.last(arm)}
    front = truncation(measured)
    rules = [point for point in blind_rules(measured) if point[0] >= LOWEST]
    everything = [*front, *rules, *dots.values(), *(point for line in lines.values() for point in line)]
    shown = [point for point in everything if point[0] >= LOWEST]
    scale = Scale(min(x for x, _ in shown) - 0.3, max(x for x, _ in shown) + 0.3, 0.0, max(y for _, y in shown) + 2)
    axes(canvas, scale)
    inside = [point for point in front if point[0] >= scale.left]
    canvas.line([scale.at(point) for point in inside], GREY, 2.0)
    for point in inside:
        canvas.dot(scale.at(point), 3.5, GREY, filled=False)
    for point in rules:
        canvas.dot(scale.at(point), 3, "#BBBBBB")
    for arm, line in lines.items():
        canvas.line([scale.at(point) for point in line], COLOURS[arm], 2.0)
        for point in line[1:]:
            canvas.dot(scale.at(point), 3 if point != line[-1] else 5.5, COLOURS[arm])
    for arm, point in dots.items():
        if point[0] >= scale.left:
            canvas.dot(scale.at(point), 5.5, UNTRAINED[arm], filled=False)
    beyond = [arm for arm, point in dots.items() if point[0] < scale.left]
    legend(canvas, [*lines, *dots], beyond)
    bases = f"base{'s' * (len(measured.seeds) > 1)} {', '.join(map(str, measured.seeds))}"
    canvas.text((WIDTH - RIGHT + 6, HEIGHT - BOTTOM), bases, 12, GREY)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(canvas.content())


class Scale:
    """From recall and CHAIR_s to points of the picture."""

    def __init__(self, left: float, right: float, low: float, high: float) -> None:
        self.left, self.right, self.low, self.high = max(left, LOWEST), right, low, high

    def at(self, point: Point) -> Point:
        """Where a point is drawn."""
        across = (point[0] - self.left) / (self.right - self.left)
        up = (point[1] - self.low) / (self.high - self.low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def axes(canvas: SvgCanvas, scale: Scale) -> None:
    """Lines of the grid, numbers, names."""
    for value in range(0, int(scale.high) + 1, 5):
        left, right = scale.at((scale.left, value)), scale.at((scale.right, value))
        canvas.line([left, right], "#E4E4E4")
        canvas.text((LEFT - 8, left[1] + 4), str(value), 12, GREY, "end")
    for value in range(int(np.ceil(scale.left)), int(scale.right) + 1):
        x, y = scale.at((value, scale.low))
        canvas.line([(x, y), (x, y + 4)], "#888888")
        canvas.text((x, y + 18), str(value), 12, GREY, "middle")
    canvas.text((LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 12), "recall, %, higher is better", 13, GREY, "middle")
    canvas.text((LEFT - 44, TOP - 12), "chair_s, %, lower is better", 13, GREY)


def legend(canvas: SvgCanvas, arms: Sequence[str], beyond: Sequence[str]) -> None:
    """Names beside the picture: of the arms that are there, and which of them lie outside it."""
    x, y = WIDTH - RIGHT + 18, TOP + 16
    colours = {**COLOURS, **UNTRAINED}
    names = {"base, cut after sentences": GREY, "blind rules": "#BBBBBB", **{arm: colours[arm] for arm in arms}}
    for name, colour in names.items():
        canvas.dot((x, y - 4), 5, colour, filled=name not in UNTRAINED)
        canvas.text((x + 12, y), f"{name} (recall < {LOWEST:g})" if name in beyond else name, 12, GREY)
        y += 22


def trail(measured: Measured, arm: str) -> list[Point]:
    """(recall, CHAIR_s) of an arm's bases and its checkpoints in order, the bases together that have the arm."""
    seeds = measured.shared(arm)
    points = [_rates({seed: measured.last(BASE)[seed] for seed in seeds})]
    for step in sorted({step for seed in seeds for step in measured.runs[arm][seed]}):
        runs = {seed: measured.runs[arm][seed][step][CHAIR] for seed in seeds if step in measured.runs[arm][seed]}
        if len(runs) == len(seeds):
            points.append(_rates(runs))
    return points


def _rates(runs: Mapping[int, Run]) -> Point:
    values = pooled(runs, "").intervals(resamples=100)
    return values["recall"].value or 0.0, values["chair_s"].value or 0.0


def truncation(measured: Measured) -> list[Point]:
    """(recall, CHAIR_s) of the base after every sentence."""
    front = pooled_front(measured.last(BASE))
    return [(point["recall"].value or 0.0, point["chair_s"].value or 0.0) for point in front.points["sentences"]]


def blind_rules(measured: Measured) -> list[Point]:
    """(recall, CHAIR_s) of the base's captions after each rule that deletes sentences without looking at the image."""
    scenes = read_scenes(measured.bench.worlds[False])
    texts, seen = [], []
    for run in measured.last(BASE).values():
        for row in run.rows:
            texts.append(split_sentences(row["response"]["text"] or ""))
            seen.append(scenes[int(row["id"])])
    return [rates(seen, [" ".join(rule(sentences)) for sentences in texts]) for rule in RULES.values()]
