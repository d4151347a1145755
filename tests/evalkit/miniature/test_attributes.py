"""Numbers and colours of a description against the scene."""

import json
from itertools import pairwise
from random import Random

import pytest

from benchmarks.chair import CHAIR
from benchmarks.objects.scene_attributes import METRICS, SceneAttributes, findings
from evalkit.miniature.attributes import attributes, count_attributes
from evalkit.miniature.captions import true_caption
from evalkit.miniature.files import read_scenes, states_neighbours, write_world
from evalkit.miniature.lexicon import with_article
from evalkit.miniature.scenes import Group

SCENE = (Group("book", "green", 1), Group("cat", None, 2), Group("traffic light", None, 1))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("There is a green book and two cats.", []),
        ("There are two green books.", [("number", "two")]),
        ("There is a red book.", [("colour", "red")]),
        ("There are two red books and a cat.", [("number", "two"), ("colour", "red"), ("number", "a")]),
        ("There is a dog. There are two red cars.", []),  # not in the scene: an object hallucination, counted elsewhere
        ("There is one traffic light, and three cats.", [("number", "three")]),
        ("A GREEN book.", []),
        ("Books and cats.", []),
        ("two book\u017f and a traff\u0131c light", []),  # letters that only a blind eye to case takes for s and i
        ("", []),
    ],
)
def test_wrong_numbers_and_colours(text, wrong):
    said = attributes(text, SCENE)
    assert [(one.kind, one.said) for one in said if not one.right] == wrong
    for finding in findings(said):
        assert text[finding.start : finding.end] in ("two", "red", "a", "three")


def test_counts_sum_to_rates():
    counts = count_attributes(attributes("There are two green books. There is a red book and a cat.", SCENE))
    assert counts == {"numbers": 3, "wrong_numbers": 2, "colours": 2, "wrong_colours": 1}
    assert [metric.value(counts) for metric in METRICS] == [pytest.approx(200 / 3), 50.0]


def test_chair_on_a_miniature_world_counts_them_and_its_published_figures_stay(tmp_path):
    world = write_world(tmp_path, 4, 0)
    chair = CHAIR.miniature(world, "singularize")
    scenes = read_scenes(world)
    for item in chair.items():
        text = true_caption(scenes[int(item.id)], Random(0))
        counts = chair.score(item, text).counts
        assert counts["wrong_numbers"] == counts["wrong_colours"] == counts["hallucinated_mentions"] == 0
        assert counts["numbers"] == len(scenes[int(item.id)].groups)
    names = [metric.name for metric in chair.metrics]
    assert names[: len(CHAIR.metrics)] == [metric.name for metric in CHAIR.metrics]
    assert names[len(CHAIR.metrics) :] == ["wrong_numbers", "wrong_colours"]


def test_relations_are_counted_where_a_worlds_captions_state_them(tmp_path):
    world = write_world(tmp_path, 12, 0, neighbours=1.0)
    chair = CHAIR.miniature(world, "singularize")
    assert [metric.name for metric in chair.metrics][-1] == "wrong_relations"
    scenes, stated = read_scenes(world), 0
    for item in chair.items():
        scene = scenes[int(item.id)]
        text = true_caption(scene, Random(0), 1.0)
        score = chair.score(item, text)
        assert score.counts["wrong_relations"] == score.counts["hallucinated_mentions"] == 0
        stated += score.counts["relations"]
    assert stated > 20
    image, scene = next(iter(scenes.items()))
    a, b = next((a, b) for a in sorted(scene.nouns) for b in sorted(scene.nouns - scene.beside(a) - {a}))
    text = f"There is {with_article(a)} next to the {b}."
    score = chair.score(next(item for item in chair.items() if int(item.id) == image), text)
    (wrong,) = (one for one in score.findings if one.label == "wrong relation")
    assert text[wrong.start : wrong.end] == "next to the"  # beside the mention of b, which is marked as well
    spans = sorted((one.start, one.end) for one in score.findings)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert wrong.note == f"{a}: {', '.join(sorted(scene.beside(a))) or '-'}"
    captions = json.loads((world / "annotations" / "captions_mini.json").read_text())["annotations"]
    assert sum("next to the" in one["caption"] for one in captions) > 20


def test_a_world_whose_captions_state_none_has_no_relations(tmp_path):
    world = write_world(tmp_path, 2, 0)
    assert not states_neighbours(world)
    assert "next to" not in (world / "annotations" / "captions_mini.json").read_text()
    assert SceneAttributes(world).metrics == METRICS
