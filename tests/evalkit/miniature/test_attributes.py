"""Numbers and colours of a description against the scene."""

from random import Random

import pytest

from benchmarks.chair import CHAIR
from benchmarks.objects.scene_attributes import METRICS, findings
from evalkit.miniature.attributes import attributes, count_attributes, count_cuts
from evalkit.miniature.captions import true_caption
from evalkit.miniature.files import read_scenes, write_world
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
        ("", []),
    ],
)
def test_wrong_numbers_and_colours(text, wrong):
    said = attributes(text, SCENE)
    assert [(one.kind, one.said) for one in said if not one.right] == wrong
    for finding in findings(said):
        assert text[finding.start : finding.end] in ("two", "red", "a", "three")


@pytest.mark.parametrize(
    "text",
    [
        "There are two green books. There is a red book and a cat. A traffic light, three cats!",
        "a cat a cats two bookshelves one red book",  # "a cats" cut short says "a cat"
        "A traffic. a trafficlight a green a green book。one cat",
        "",
    ],
)
def test_cuts_count_what_the_cut_texts_say(text):
    ends = range(len(text) + 1)
    alone = [count_attributes(attributes(text[:end], SCENE)) for end in ends]
    assert count_cuts(text, SCENE, ends) == alone


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
