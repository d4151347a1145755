"""Values computed from runs, kept as long as the runs are: a table per run, a comparison per pair."""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from evalkit.runs import Run

T = TypeVar("T")
MOST = 24

_kept: OrderedDict[Hashable, tuple[list["weakref.ref[Run]"], Any]] = OrderedDict()


def remembered(name: Hashable, runs: Sequence[Run], make: Callable[[], T]) -> T:
    """What `make` returns for these very run objects, computed once."""
    key = (name, *(id(run) for run in runs))
    known = _kept.get(key)
    if known is not None and all(ref() is run for ref, run in zip(known[0], runs, strict=True)):
        _kept.move_to_end(key)
        value: T = known[1]
        return value
    value = make()
    _kept[key] = ([weakref.ref(run) for run in runs], value)
    while len(_kept) > MOST:
        _kept.popitem(last=False)
    return value
