"""Text of the command line turned into typed values."""

import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from evalkit.errors import UsageError


def key_values(pairs: list[str], flag: str) -> dict[str, str]:
    """["a=1", "b=2"] -> {"a": "1", "b": "2"}; commas separate several in one word.

    Raises:
        UsageError: if one of them has no "=".
    """
    values: dict[str, str] = {}
    for word in pairs:
        for pair in word.split(",") if word.count("=") > 1 else [word]:
            key, equals, value = pair.partition("=")
            if not equals or not key:
                raise UsageError(f"{flag} {word!r}: expected KEY=VALUE")
            values[key.strip()] = value.strip()
    return values


def literal(text: str) -> Any:
    """A value of --engine-args: true/false, a number, or the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def arguments_of(
    cls: Callable[..., object], texts: Mapping[str, str], flag: str, taken: Collection[str] = ()
) -> dict[str, Any]:
    """Texts as arguments of a class's constructor or of a function, by the types it declares.

    Args:
        taken: arguments that have flags of their own.
    Raises:
        UsageError: if one is unknown (the known ones are named), has a flag, or is of another type.
    """
    known = [name for name in inspect.signature(cls).parameters if name not in ("self", "model", *taken)]
    unknown = [name for name in texts if name not in known]
    if unknown:
        raise UsageError(f"{flag}: unknown {', '.join(unknown)}; {cls.__name__} takes {', '.join(known)}")
    hints = get_type_hints(cls.__init__ if inspect.isclass(cls) else cls)
    return {name: _argument(f"{flag} {name}", text, hints.get(name, str)) for name, text in texts.items()}


def _argument(flag: str, text: str, declared: Any) -> Any:
    """A text as the first declared type that takes it; only plain types can be written on a command line."""
    if get_origin(declared) is Literal:
        if text not in get_args(declared):
            raise UsageError(f"{flag}={text[:60]}: expected {' or '.join(get_args(declared))}")
        return text
    kinds = [kind for kind in (get_args(declared) or (declared,)) if kind in (bool, int, float, str, Path)]
    for kind in kinds:
        try:
            if kind is not bool:
                return kind(text)
            return {"true": True, "false": False}[text.lower()]
        except (ValueError, KeyError):
            continue
    wanted = " or ".join(kind.__name__ for kind in kinds) or "something that a command line cannot say"
    raise UsageError(f"{flag}={text[:60]}: expected {wanted}")
