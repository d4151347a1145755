"""Over-generalisation: are the objects that a scene suggests hallucinated more often in that scene than anywhere?

RLHF-V (Yu et al. 2024, arXiv:2312.00849, table 2) sets the hallucination rate of a scene's ten most frequent objects on
all images beside the one on its own images. Where the paper is silent the choices are ours, and so is the name:
    scene      what the benchmark says of an image (`reference.scene`)
    objects    the ten with most instances in the scene's images of this run (boxes; else images that hold them)
    rate       hallucinated mentions / mentions of an object, in %; the mean over objects that are mentioned in both
    delta      rate on the scene's images minus rate on all images, in points
    interval   bootstrap over images; with a few dozen images in a scene it is wide
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit.metrics import Array, divide
from evalkit.runs.run import Run
from evalkit.schema import Record
from evalkit.statistics.intervals import LEVEL, RESAMPLES, Interval, read_limits

HALLUCINATED = "hallucinated"
MENTIONED = (HALLUCINATED, "correct", "covered")  # labels of findings that are mentions of an object
TOP = 10
FEWEST_IMAGES = 5  # a scene with fewer says nothing


@dataclass(frozen=True, slots=True)
class SceneRow:
    """One scene of a run.

    images    that show it
    mentions  of its objects, on its images and on all
    anywhere, here  mean rates of its objects on all images and on its own
    """

    scene: str
    images: int
    objects: tuple[str, ...]
    mentions: tuple[int, int]
    anywhere: float | None
    here: float | None
    delta: Interval


def by_scene(run: Run, resamples: int = RESAMPLES, seed: int = 0) -> list[SceneRow]:
    """Every scene with enough images, the most frequent first; empty for a run whose records know no scene."""
    rows = run.scored
    scenes = [str((row.get("reference") or {}).get("scene") or "") for row in rows]
    frequent = Counter(scene for scene in scenes if scene).most_common()
    return [
        _scene_row(scene, rows, np.array([name == scene for name in scenes]), resamples, seed)
        for scene, count in frequent
        if count >= FEWEST_IMAGES
    ]


def _scene_row(scene: str, rows: Sequence[Record], inside: NDArray[np.bool_], resamples: int, seed: int) -> SceneRow:
    objects = _most_frequent([row for row, shows in zip(rows, inside, strict=True) if shows])
    table = np.array([_mentions(row, objects) for row in rows], dtype=float)  # (images, objects, [mentions, wrong])
    weights = np.concatenate([np.ones((1, len(rows))), _draws(len(rows), resamples, seed)])
    everywhere = np.einsum("bi,iok->bok", weights, table)
    local = np.einsum("bi,iok->bok", weights * inside, table)
    rates = [100 * divide(sums[..., 1], sums[..., 0]) for sums in (everywhere, local)]  # (draws, objects)
    both = ~np.isnan(rates[0]) & ~np.isnan(rates[1])
    counted = both.sum(axis=1)
    anywhere, here = (divide(np.where(both, rate, 0.0).sum(axis=1), counted) for rate in rates)
    delta = here - anywhere
    return SceneRow(
        scene,
        int(inside.sum()),
        objects,
        (int(local[0, :, 0].sum()), int(everywhere[0, :, 0].sum())),
        _number(anywhere[0]),
        _number(here[0]),
        _interval(delta, len(rows)),
    )


def _draws(images: int, resamples: int, seed: int) -> Array:
    """How often each image is drawn, shape (resamples, images)."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=resamples).astype(float)


def _interval(values: Array, images: int) -> Interval:
    """The first value with the limits of the others."""
    value, drawn = values[0], values[1:][~np.isnan(values[1:])]
    if np.isnan(value):
        return Interval(None)
    if images < 2 or len(drawn) < LEVEL * (len(values) - 1) or np.all(drawn == drawn[:1]):
        return Interval(float(value))
    return read_limits(float(value), drawn, lambda: np.empty(0), images, LEVEL, "expanded")


def _most_frequent(rows: Sequence[Record]) -> tuple[str, ...]:
    """The objects with most instances; equal ones by name, so that the choice does not depend on the order."""
    counts: Counter[str] = Counter()
    for row in rows:
        boxes = (row.get("reference") or {}).get("boxes") or []
        counts.update([str(box["object"]) for box in boxes] if boxes else map(str, row.get("present") or ()))
    return tuple(sorted(counts, key=lambda name: (-counts[name], name))[:TOP])


def _mentions(row: Record, objects: Sequence[str]) -> list[tuple[int, int]]:
    """(mentions, hallucinated ones) of each object in a response."""
    mentions: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for finding in row["score"].get("findings") or []:
        name = str(finding.get("note") or "").partition(": ")[0]
        mentions[name] += finding["label"] in MENTIONED
        wrong[name] += finding["label"] == HALLUCINATED
    return [(mentions[name], wrong[name]) for name in objects]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
