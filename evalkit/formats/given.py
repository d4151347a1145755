"""Responses that a caller hands to a public function, `CHAIR.evaluate` and its like: the same rules as for files.

None and NaN (a missing cell of a data frame) are failed responses, which a result keeps and leaves out of its metrics;
a text is a response, an empty one too, and its thoughts are taken off. Anything else is an error that names the id.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from evalkit.errors import DataError
from evalkit.formats.keys import missing
from evalkit.schema import Item, Score
from evalkit.text.thoughts import STANDARD, Spoken, Thoughts

K = TypeVar("K", str, int)
SHOWN = 5  # how many ids an error names


def spoken(responses: Mapping[K, object], name: str, thoughts: Thoughts = STANDARD) -> dict[K, Spoken]:
    """The answer in every response, or why there is none.

    Args:
        name: of the benchmark, for errors.
    Raises:
        DataError: if the responses are no mapping, or one is neither a text nor a missing value.
    """
    if not isinstance(responses, Mapping):
        raise DataError(f"{name}: expected a mapping of responses by id, found {type(responses).__name__}")
    read: dict[K, Spoken] = {}
    for key, value in responses.items():
        if missing(value):
            read[key] = Spoken(None, "no response")
        elif isinstance(value, str):
            read[key] = thoughts.take_off(value)
        else:
            raise DataError(f"{name}: the response to {key!r} must be a text, found {value!r:.60}")
    return read


def failed(answer: Spoken) -> Score:
    """The score of a response without an answer."""
    return Score(counts=None, failure=f"generation: {answer.failure}")


def references_of(references: object, name: str) -> Mapping[int, Collection[str]]:
    """The references by image id.

    Raises:
        DataError: if they are no mapping.
    """
    if not isinstance(references, Mapping):
        raise DataError(f"{name}: expected a mapping of reference objects by id, found {type(references).__name__}")
    return references


def check_objects(objects: object, known: Collection[str], where: str) -> None:
    """Whether reference objects are names of known categories.

    Raises:
        DataError: if they are a text (its letters would be taken for objects), no collection of texts, or name
            something that is not a category.
    """
    if isinstance(known, frozenset) and isinstance(objects, list | tuple | set | frozenset):
        try:
            if known.issuperset(objects):
                return
        except TypeError:  # something among them that no set can hold
            pass
    if isinstance(objects, str) or not isinstance(objects, Collection) or not all(isinstance(o, str) for o in objects):
        raise DataError(f"{where}: expected a list of categories, found {objects!r:.60}")
    unknown = sorted({name for name in objects if name not in known})
    if unknown:
        raise DataError(f"{where}: {', '.join(map(repr, unknown[:3]))} is not a category; known: {_few(sorted(known))}")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def check_answer(response: object, truth: object, labels: Collection[str], where: str) -> None:
    """Whether a response is a text and its truth one of the labels: "Yes" would make every answer wrong.

    Raises:
        DataError: if not.
    """
    if not isinstance(response, str):
        raise DataError(f"{where}: the response must be a text, found {response!r:.60}")
    if truth not in labels:
        raise DataError(f"{where}: the truth must be {' or '.join(map(repr, labels))}, found {truth!r:.60}")


def answered(
    items: Sequence[Item], responses: Mapping[Any, object], partial: bool, name: str, thoughts: Thoughts = STANDARD
) -> list[tuple[Item, Spoken]]:
    """Items with what was answered to them, in the order of the items.

    Args:
        responses: item id (a text or a whole number) -> response.
        partial: allow items without a response.
        name: of the benchmark, for errors.
    Raises:
        DataError: if an id belongs to no item, or (unless `partial`) an item has no response; as in `spoken`.
    """
    answers = {str(key): said for key, said in spoken(responses, name, thoughts).items()}
    known = {item.id for item in items}
    unknown = [item_id for item_id in answers if item_id not in known]
    if unknown:
        raise DataError(f"{name}: {len(unknown)} responses belong to no item: {_few(unknown)}")
    missing = [item.id for item in items if item.id not in answers]
    if missing and not partial:
        raise DataError(
            f"{name}: {len(missing)} of {len(items)} items have no response: {_few(missing)}; "
            "choose partial to score the others"
        )
    return [(item, answers[item.id]) for item in items if item.id in answers]
