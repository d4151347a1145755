"""What several processes that train together need to know once."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import distributed

from evalkit.errors import EvalkitError

T = TypeVar("T")


def computed_once(work: Callable[[], T]) -> T:
    """What `work` returns in the first process, sent to the others.

    Raises:
        EvalkitError: what it raised there, in every process.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return work()
    box: list[Any] = [None]
    if distributed.get_rank() == 0:
        try:
            box[0] = (work(), None)
        except EvalkitError as error:
            box[0] = (None, error)
    distributed.broadcast_object_list(box, src=0)
    result, failure = box[0]
    if failure is not None:
        raise failure
    outcome: T = result
    return outcome
