"""Settings as a user gives them, from a command line or a dict: each value must be of its setting's kind.

Without this a word such as "no" would pass for true, and a number as text would fail somewhere in the middle of a run.
"""

from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from evalkit.errors import UsageError

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def check_kinds(settings: Any) -> None:
    """Compare the fields of a dataclass with their annotations: plain kinds, Literal, dataclasses and unions of these.

    Raises:
        UsageError: if a value is of another kind (a whole number passes for a number).
    """
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        value, options = getattr(settings, field.name), _options(hints[field.name])
        if options and not any(_fits(value, option) for option in options):
            words = " or ".join(_described(option) for option in options if option is not NoneType)
            raise UsageError(f"{field.name} is {words}, not {value!r}")


def check_range(settings: Any, *names: str, low: float = 0.0, inclusive: bool = False) -> None:
    """Raise UsageError for a field that is not above `low` (with `inclusive`, below it); None passes."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not (value > low or (inclusive and value == low)):
            raise UsageError(f"{name} is {'at least' if inclusive else 'above'} {low:g}, not {value!r}")


def _options(hint: Any) -> tuple[Any, ...]:
    """The kinds a field may have; none where they are not plain (a mapping, say)."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return options if all(isinstance(o, type) or get_origin(o) is Literal for o in options) else ()


def _fits(value: Any, option: Any) -> bool:
    if get_origin(option) is Literal:
        return value in get_args(option)
    if isinstance(value, bool):
        return option is bool
    return isinstance(value, (int, float) if option is float else option)


def _described(option: Any) -> str:
    if get_origin(option) is Literal:
        return " or ".join(map(repr, get_args(option)))
    return _WORDS.get(option) or str(option.__name__)
