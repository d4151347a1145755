"""Numbers and colours beside CHAIR's objects, on a miniature world: counts and findings that a score gains."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from evalkit.metrics import Metric
from evalkit.miniature.attributes import Attribute, attributes, count_attributes, count_cuts
from evalkit.miniature.files import read_scenes
from evalkit.miniature.scenes import Group
from evalkit.schema import Finding, Score

METRICS = (
    Metric("wrong_numbers", "100 * wrong_numbers / numbers", False),
    Metric("wrong_colours", "100 * wrong_colours / colours", False),
)


class SceneAttributes:
    """Adds counts and findings about numbers and colours to a score, from the truth of a miniature world.

    Args:
        world: folder that `write_world` wrote.
    """

    metrics: Sequence[Metric] = METRICS

    def __init__(self, world: Path) -> None:
        self._world = world

    @cached_property
    def _groups(self) -> Mapping[int, Sequence[Group]]:
        return {image_id: scene.groups for image_id, scene in read_scenes(self._world).items()}

    def add(self, score: Score, image_id: int, response: str) -> Score:
        """The score with the counts of `METRICS` and a finding for every wrong number or colour."""
        if score.counts is None:
            return score
        said = attributes(response, self._groups[image_id])
        counts = {**score.counts, **count_attributes(said)}
        return replace(score, counts=counts, findings=(*score.findings, *findings(said)))

    def count_cuts(self, image_id: int, response: str, ends: Sequence[int]) -> Sequence[Mapping[str, float]]:
        """The counts that `add` would add to the response cut at each end."""
        return count_cuts(response, self._groups[image_id], ends)


def findings(said: Sequence[Attribute]) -> tuple[Finding, ...]:
    """The wrong ones, for display."""
    return tuple(
        Finding(one.start, one.end, f"wrong {one.kind}", f"{one.noun}: {one.true}") for one in said if not one.right
    )
