"""Statements of what stands next to what."""

import pytest

from evalkit.miniature.neighbours import count_relations, holds, neighbour_statements
from evalkit.miniature.questions import are_neighbours
from evalkit.miniature.scenes import Scene, Thing, adjacent_cells

# cup  -  cup
# clock
#         apple
SCENE = Scene(
    "kitchen",
    (
        Thing("cup", "red", 0, 0, 0),
        Thing("cup", "red", 2, 0, 0),
        Thing("clock", None, 3, 0, 0),
        Thing("apple", None, 8, 0, 0),
    ),
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("There is a clock next to the cup.", [("clock", "cup", True)]),
        ("There are two red cups next to the clock.", [("cup", "clock", True)]),
        ("The clock is next to a red CUP.", [("clock", "cup", True)]),
        ("Apples next to the clock. Cups are next to the apple.", [("apple", "clock", False), ("cup", "apple", False)]),
        ("There is a dog next to the clock.", [("dog", "clock", False)]),
        ("A clock is near a cup. Next to the cup.", []),
        ("There are book\u017f next to the cup and a cup next to the k\u0131te.", []),
        ("There is a dining table next to the potted plant.", [("dining table", "potted plant", False)]),
        ("", []),
    ],
)  # fmt: skip
def test_statements(text, said):
    statements = neighbour_statements(text)
    assert [(one.noun, one.beside, holds(one, SCENE)) for one in statements] == said
    assert all(text[one.start : one.end] in ("next to the", "next to a") for one in statements)


def test_only_statements_about_things_that_are_there_are_counted():
    text = "A clock next to the cup. An apple next to the cup. A dog next to the cup. A cup next to the dog."
    assert count_relations(neighbour_statements(text), SCENE) == {"relations": 2, "wrong_relations": 1}


def test_a_statement_asks_the_question_that_benchmarks_ask():
    (one,) = neighbour_statements("There is a clock next to the cup.")
    assert one.statement == "The clock is next to the cup."
    assert one.question == "Is the clock next to the cup in this image?"


def test_what_is_beside_a_noun_is_beside_any_of_its_things():
    assert SCENE.beside("cup") == {"clock"}
    assert SCENE.beside("clock") == {"cup"}
    assert SCENE.beside("apple") == SCENE.beside("dog") == frozenset()
    cup, clock, apple = (
        next(group for group in SCENE.groups if group.noun == noun) for noun in ("cup", "clock", "apple")
    )
    assert are_neighbours(SCENE, cup, clock)
    assert not are_neighbours(SCENE, cup, apple)


def test_cells_of_the_grid():
    assert adjacent_cells(0) == {1, 3}
    assert adjacent_cells(4) == {1, 3, 5, 7}
    assert adjacent_cells(5) == {2, 4, 8}
