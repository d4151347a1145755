"""What a caller hands to a public function is checked as a file would be."""

import math

import pytest

from benchmarks.chair import CHAIR
from evalkit.errors import DataError
from evalkit.formats.given import answered, check_objects, references_of, spoken
from evalkit.schema import Item

WORDS = {"dog": "dog", "puppy": "dog", "cat": "cat"}


@pytest.mark.parametrize("objects", ["dog", "", ["puppy"], {"Dog"}, [1], 5, None, [None], ["dog", "unicorn"]])
def test_reference_objects_are_lists_of_categories(objects: object) -> None:
    with pytest.raises(DataError, match="the references of image 1: "):
        check_objects(objects, ["dog", "cat"], "the references of image 1")
    with pytest.raises(DataError, match="image 1"):
        CHAIR.evaluate({1: "A dog."}, {1: objects}, WORDS, "singularize")


@pytest.mark.parametrize("objects", [["dog"], {"dog", "cat"}, ("cat",), [], frozenset()])
def test_any_collection_of_categories_will_do(objects: object) -> None:
    check_objects(objects, ["dog", "cat"], "here")


@pytest.mark.parametrize("caption", [None, math.nan])
def test_a_missing_caption_is_a_failed_response_and_moves_no_figure(caption: object) -> None:
    alone = CHAIR.evaluate({1: "A dog and a cat."}, {1: ["dog"]}, WORDS, "singularize")
    beside = CHAIR.evaluate({1: "A dog and a cat.", 2: caption}, {1: ["dog"], 2: ["dog"]}, WORDS, "singularize")
    assert beside.metrics == alone.metrics


@pytest.mark.parametrize("given", [["A dog."], "A dog.", None])
def test_responses_and_references_are_mappings_by_id(given: object) -> None:
    with pytest.raises(DataError, match="expected a mapping of responses"):
        spoken(given, "chair")
    with pytest.raises(DataError, match="expected a mapping of reference objects"):
        references_of(given, "chair")


def test_ids_are_joined_as_texts_and_strangers_are_named() -> None:
    items = [Item(name, "", None, {}, {}, name) for name in ("1", "2")]
    assert [(item.id, said.answer) for item, said in answered(items, {2: "b", "1": "a"}, False, "pope")] == [
        ("1", "a"),
        ("2", "b"),
    ]
    with pytest.raises(DataError, match="1 of 2 items have no response: 2"):
        answered(items, {1: "a"}, False, "pope")
    with pytest.raises(DataError, match="1 responses belong to no item: 3"):
        answered(items, {1: "a", 3: "c"}, True, "pope")
