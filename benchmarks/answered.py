"""Responses given by item id, laid on the items: each known, none missing."""

from collections.abc import Mapping, Sequence

from evalkit.errors import DataError
from evalkit.schema import Item

SHOWN = 5  # how many ids an error names


def answered(items: Sequence[Item], responses: Mapping[str, str], partial: bool, name: str) -> list[tuple[Item, str]]:
    """Items with their responses, in the order of the items.

    Args:
        responses: item id -> response.
        partial: allow items without a response.
        name: of the benchmark, for errors.
    Raises:
        DataError: if an id belongs to no item, or (unless `partial`) an item has no response.
    """
    known = {item.id for item in items}
    unknown = [item_id for item_id in responses if item_id not in known]
    if unknown:
        raise DataError(f"{name}: {len(unknown)} responses belong to no item: {_shown(unknown)}")
    missing = [item.id for item in items if item.id not in responses]
    if missing and not partial:
        raise DataError(
            f"{name}: {len(missing)} of {len(items)} items have no response: {_shown(missing)}; "
            "choose partial to score the others"
        )
    return [(item, responses[item.id]) for item in items if item.id in responses]


def _shown(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")
