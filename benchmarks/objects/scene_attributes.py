"""Numbers, colours and neighbours beside CHAIR's objects, on a miniature world: counts and findings of a score.

Relations (what is next to what) are counted where the world's own captions state them.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from evalkit.metrics import Metric
from evalkit.miniature.attributes import Attribute, attributes, count_attributes
from evalkit.miniature.files import read_scenes, states_neighbours
from evalkit.miniature.neighbours import NeighbourStatement, about, count_relations, holds, neighbour_statements
from evalkit.miniature.scenes import Group, Scene
from evalkit.schema import Finding, Score

METRICS = (
    Metric("wrong_numbers", "100 * wrong_numbers / numbers", False),
    Metric("wrong_colours", "100 * wrong_colours / colours", False),
)
RELATIONS = Metric("wrong_relations", "100 * wrong_relations / relations", False)


class SceneAttributes:
    """Adds counts and findings to a score, from the truth of a miniature world.

    Args:
        world: folder that `write_world` wrote.
    """

    def __init__(self, world: Path) -> None:
        self._world = world

    @cached_property
    def metrics(self) -> Sequence[Metric]:
        return (*METRICS, RELATIONS) if self._neighbours else METRICS

    @cached_property
    def _neighbours(self) -> bool:
        return states_neighbours(self._world)

    @cached_property
    def _scenes(self) -> Mapping[int, Scene]:
        return read_scenes(self._world)

    @cached_property
    def _groups(self) -> Mapping[int, Sequence[Group]]:
        return {image_id: scene.groups for image_id, scene in self._scenes.items()}

    def add(self, score: Score, image_id: int, response: str) -> Score:
        """The score with the counts of `metrics` and a finding for every wrong number, colour or relation."""
        if score.counts is None:
            return score
        said = attributes(response, self._groups[image_id])
        counts, wrong = dict(count_attributes(said)), findings(said)
        if self._neighbours:
            scene, stated = self._scenes[image_id], neighbour_statements(response)
            counts |= count_relations(stated, scene)
            wrong = (*wrong, *relation_findings(stated, scene))
        return Score({**score.counts, **counts}, (*score.findings, *wrong), score.details)


def findings(said: Sequence[Attribute]) -> tuple[Finding, ...]:
    """The wrong ones, for display."""
    return tuple(
        Finding(one.start, one.end, f"wrong {one.kind}", f"{one.noun}: {one.true}") for one in said if not one.right
    )


def relation_findings(said: Sequence[NeighbourStatement], scene: Scene) -> tuple[Finding, ...]:
    """The wrong ones, each with what the thing is really next to."""
    return tuple(
        Finding(one.start, one.end, "wrong relation", f"{one.noun}: {', '.join(sorted(scene.beside(one.noun))) or '-'}")
        for one in about(said, scene)
        if not holds(one, scene)
    )
