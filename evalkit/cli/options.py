"""Text of the command line turned into typed values."""

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from evalkit.errors import UsageError


def key_values(pairs: list[str], flag: str) -> dict[str, str]:
    """["a=1", "b=2"] -> {"a": "1", "b": "2"}; commas outside of JSON values separate several in one word.

    >>> key_values(['a=1,extra={"b": [1, 2], "c": "x=y"}'], "--engine-args")
    {'a': '1', 'extra': '{"b": [1, 2], "c": "x=y"}'}

    Raises:
        UsageError: if one of them has no "=".
    """
    values: dict[str, str] = {}
    for word in pairs:
        for pair in _pieces(word) if word.count("=") > 1 else [word]:
            key, equals, value = pair.partition("=")
            if not equals or not key:
                raise UsageError(f"{flag} {word!r}: expected KEY=VALUE")
            values[key.strip()] = value.strip()
    return values


def _pieces(word: str) -> list[str]:
    """A word cut at the commas that no JSON object, list or text encloses."""
    pieces, depth, quoted, escaped = [""], 0, False, False
    for character in word:
        if character == "," and not depth:
            pieces.append("")
            continue
        pieces[-1] += character
        if depth and character == '"' and not escaped:
            quoted = not quoted
        escaped = quoted and character == "\\" and not escaped
        if not quoted:
            depth = max(0, depth + (character in "{[") - (character in "}]"))
    return pieces


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


def json_object(flag: str, text: str) -> dict[str, Any]:
    """A JSON object, for request fields that a command line names.

    Raises:
        UsageError: if the text is something else.
    """
    try:
        value = json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError) as error:
        raise UsageError(f'{flag}={text[:60]}: expected a JSON object like {{"top_a": 0.5}}; {error}') from None
    if not isinstance(value, dict):
        raise UsageError(f'{flag}={text[:60]}: expected a JSON object like {{"top_a": 0.5}}')
    return value


def _no_json(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _argument(flag: str, text: str, declared: Any) -> Any:
    """A text as the first declared type that takes it; only plain types can be written on a command line."""
    if get_origin(declared) is Literal:
        if text not in get_args(declared):
            raise UsageError(f"{flag}={text[:60]}: expected {' or '.join(get_args(declared))}")
        return text
    if any(get_origin(kind) is Mapping for kind in (declared, *get_args(declared))):
        return json_object(flag, text)
    kinds = [kind for kind in (get_args(declared) or (declared,)) if kind in (bool, int, float, str, Path)]
    for kind in kinds:
        try:
            if kind is not bool:
                return kind(text)
            return {"true": True, "false": False}[text.lower()]
        except (ValueError, KeyError):
            continue
    wanted = " or ".join(kind.__name__ for kind in kinds) or "something that cannot be set from the command line"
    raise UsageError(f"{flag}={text[:60]}: expected {wanted}")
