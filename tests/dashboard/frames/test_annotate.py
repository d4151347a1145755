"""What the page Annotate hands to the component."""

from dataclasses import replace

import pytest
from annotation_world import make_study

from dashboard.frames.annotate import boxes, draft_segments, next_open, payload, pieces, place_of
from evalkit.annotation.journal import completion, read_state, skip, submit
from evalkit.annotation.segments import words


def test_pieces_carry_positions_in_code_points_and_give_the_text_back():
    text = "🐶 A red dog."
    found = pieces(text)
    assert "".join(piece[0] for piece in found) == text
    assert [(piece[1], piece[2]) for piece in found if len(piece) == 3] == words(text)


@pytest.mark.parametrize("text", ["a\u202eb", "a\x00b", "\u2066x"])
def test_characters_that_hide_or_turn_the_text_are_shown(text):
    assert "\ufffd" in "".join(piece[0] for piece in pieces(text))


def test_joined_emoji_and_combining_marks_stay_whole():
    text = "👩\u200d🚀 e\u0301"
    assert [piece[0] for piece in pieces(text)] == ["👩\u200d🚀", " ", "e\u0301"]


def test_the_first_open_item_comes_unless_another_is_asked_for(tmp_path):
    study = make_study(tmp_path)
    items = study.assigned("anna")
    submit(study, "anna", items[0].key, {"spans": []})
    skip(study, "anna", items[2].key, "dark")
    state = read_state(study, "anna")
    assert place_of(items, state, None).number == 2
    assert place_of(items, state, items[3].key).number == 4
    assert place_of(items, state, "nobody").number == 2
    assert place_of([], state, None) is None
    assert next_open(items, state, items[1].key) == items[3].key
    assert next_open(items, state, items[3].key) == items[1].key


def test_a_comparison_hides_the_models_and_shows_only_what_the_owner_chose(tmp_path):
    study = make_study(tmp_path, "compare")
    items = study.assigned("anna")
    state = read_state(study, "anna")
    data = payload(study, "anna", place_of(items, state, None), state, completion(study, "anna", state))
    assert "base" not in str(data).replace(str(tmp_path), "")
    assert (data["objects"], data["boxes"], data["found"]) == ([], [], [])
    shown = replace(study, show=("reference",))
    data = payload(shown, "anna", place_of(items, state, None), state, completion(study, "anna", state))
    assert data["objects"] == ["sofa"]


def test_segments_of_a_draft_are_those_of_the_answer():
    assert draft_segments("A red dog.", "A black dog.") == {"of": "A black dog.", "segments": [[2, "red", "black"]]}
    assert draft_segments("A", None) is None


def test_boxes_are_shares_of_the_image():
    good = {"object": "dog", "x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4}
    assert boxes([good, {**good, "x": 7}, {"object": "cat"}, {**good, "y": "0"}]) == [
        {"object": "dog", "at": [10.0, 20.0, 30.0, 40.0]}
    ]
