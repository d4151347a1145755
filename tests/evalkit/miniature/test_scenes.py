"""Scenes and their drawing."""

from itertools import islice
from random import Random

import numpy as np
import pytest

from evalkit.errors import DataError
from evalkit.miniature.drawing import ICON_SIZE, IMAGE_SIZE, bounding_box, render
from evalkit.miniature.icons import draw_icon
from evalkit.miniature.lexicon import COLOURS_OF, NOUNS
from evalkit.miniature.scenes import (
    MAX_KINDS,
    MIN_KINDS,
    Scene,
    Thing,
    sample_scene,
    scene_from_json,
    scene_json,
    scenes_of,
    split_of,
)

SCENES = list(islice(scenes_of("train", 0), 200))


def test_same_seed_gives_the_same_scene():
    assert sample_scene(Random(5)) == sample_scene(Random(5))
    assert list(islice(scenes_of("test", 1), 5)) == list(islice(scenes_of("test", 1), 5))


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_stream_holds_its_own_split_only_so_splits_never_overlap(split):
    assert {split_of(scene) for scene in islice(scenes_of(split, 3), 50)} == {split}


def test_unknown_split_is_an_error():
    with pytest.raises(DataError, match="unknown split 'val'"):
        next(scenes_of("val", 0))


def test_scenes_keep_the_rules_of_the_world():
    for scene in SCENES:
        cells = [thing.cell for thing in scene.things]
        assert len(set(cells)) == len(cells)
        assert MIN_KINDS <= len(scene.nouns) <= MAX_KINDS
        assert all(group.count in (1, 2) for group in scene.groups)
        assert all(
            (thing.colour in COLOURS_OF[thing.noun]) if thing.noun in COLOURS_OF else thing.colour is None
            for thing in scene.things
        )
        assert not set(scene.absent_expected) & scene.nouns


def test_every_noun_is_drawn_somewhere():
    assert set().union(*(scene.nouns for scene in SCENES)) == set(NOUNS)


def test_scene_survives_json():
    assert all(scene_from_json(scene_json(scene)) == scene for scene in SCENES[:20])


@pytest.mark.parametrize("line", ["", "{}", "[1]", '{"place": "park", "things": [{"noun": "dog"}]}'])
def test_a_line_that_is_no_scene_is_an_error(line):
    with pytest.raises(DataError, match="not a scene"):
        scene_from_json(line)


def test_icons_change_the_picture_only_inside_their_boxes():
    thing = Thing("dog", None, 4, -3, 2)
    empty = np.asarray(render(Scene("park", ())))
    drawn = np.asarray(render(Scene("park", (thing,))))
    rows, columns = np.nonzero((empty != drawn).any(axis=-1))
    left, top, width, height = bounding_box(thing)
    assert left <= columns.min()
    assert columns.max() < left + width
    assert top <= rows.min()
    assert rows.max() < top + height
    assert len(rows) > 500


def test_pictures_are_rgb_and_boxes_stay_inside_them():
    assert render(SCENES[0]).size == (IMAGE_SIZE, IMAGE_SIZE)
    assert render(SCENES[0]).mode == "RGB"
    for thing in (thing for scene in SCENES for thing in scene.things):
        left, top, width, height = bounding_box(thing)
        assert left >= 0
        assert top >= 0
        assert left + width <= IMAGE_SIZE
        assert top + height <= IMAGE_SIZE


def test_no_two_icons_look_alike():
    looks = {
        (noun, colour): draw_icon(noun, colour, ICON_SIZE).tobytes()
        for noun in NOUNS
        for colour in COLOURS_OF.get(noun, (None,))
    }
    assert len(set(looks.values())) == len(looks)
