"""From a name and text options to a benchmark object."""

import inspect
import types
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from benchmarks import BENCHMARKS
from evalkit.benchmark import Benchmark, DataFile, adopted_class
from evalkit.errors import UsageError


def benchmark_class(name: str) -> type[Benchmark]:
    """The class of a benchmark, by its registered name (`-` and `_` are the same) or as "package.module:Class".

    Raises:
        UsageError: if there is no such benchmark.
    """
    path = BENCHMARKS.get(name.replace("-", "_"), name)
    module, colon, attribute = path.partition(":")
    if not colon:
        raise UsageError(f"unknown benchmark {name!r}; known: {', '.join(BENCHMARKS)} (or package.module:Class)")
    try:
        named = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"benchmark {name!r} cannot be imported: {error}") from error
    if not isinstance(named, type):
        raise UsageError(f"{name!r} is not a benchmark: it is not a class")
    return adopted_class(named)


def files_of(name: str) -> Sequence[DataFile]:
    """The files that a benchmark reads below a data folder."""
    return benchmark_class(name).files


def located(name: str, data: Path) -> dict[str, str]:
    """Constructor options for the files of a benchmark that are there below the data folder."""
    return {file.option: str(data / file.path) for file in files_of(name) if not file.missing(data)}


def build(name: str, options: Mapping[str, str], world: Path | None = None) -> Benchmark:
    """Make a benchmark from text options, or point it at the files of a miniature world.

    Args:
        options: constructor argument -> text; converted by the argument's type.
        world: folder of a miniature world; the benchmark reads its official-format files there.
    Raises:
        UsageError: if an option is unknown, its text does not fit its type, or the benchmark knows no miniature world.
    """
    cls = benchmark_class(name)
    if world is not None and not hasattr(cls, "miniature"):
        raise UsageError(f"{name} has no `miniature` constructor: it cannot be run on a miniature world (--world)")
    maker: Any = getattr(cls, "miniature") if world is not None else cls  # noqa: B009
    arguments = {} if world is None else {"world": world}
    return cast("Benchmark", maker(**arguments, **convert(name, maker, options)))


def options_of(name: str) -> dict[str, str]:
    """Constructor options of a benchmark: name -> "type = default", for help texts."""
    maker = benchmark_class(name)
    hints = _hints(maker)
    shown = {}
    for key, parameter in inspect.signature(maker).parameters.items():
        kind = _shown(hints.get(key, str))
        required = parameter.default is inspect.Parameter.empty
        shown[key] = kind if required else f"{kind} = {_typed(parameter.default)}"
    return shown


def _typed(value: Any) -> str:
    """A default as it would be typed after --set: "val2014", "false", "none"."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _shown(kind: Any) -> str:
    """A type as a user reads it: "Path or none", "pos_lemma | singularize"."""
    if get_origin(kind) in (Union, types.UnionType):
        parts = [_shown(part) for part in get_args(kind) if part is not type(None)]
        return " or ".join(parts) + (" or none" if type(None) in get_args(kind) else "")
    if get_origin(kind) is Literal:
        return " | ".join(map(str, get_args(kind)))
    if get_origin(kind) is not None:
        return "comma-separated list"
    return str(getattr(kind, "__name__", kind))


def convert(name: str, maker: Any, options: Mapping[str, str]) -> dict[str, Any]:
    """Texts to the types that `maker`'s arguments declare."""
    hints = _hints(maker)
    known = [key for key in inspect.signature(maker).parameters if key not in ("self", "world")]
    converted = {}
    for key, text in options.items():
        argument = key.replace("-", "_")
        if argument not in known:
            raise UsageError(f"{name} has no option {key!r}; it has: {', '.join(known)}")
        converted[argument] = _value(f"{name}.{key}", text, hints.get(argument, str))
    return converted


def _hints(maker: Any) -> dict[str, Any]:
    return get_type_hints(maker.__init__ if inspect.isclass(maker) else maker)


def _value(option: str, text: str, kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [k for k in get_args(kind) if k is not type(None)]
        if text.lower() in ("none", "") and len(kinds) < len(get_args(kind)):
            return None
        kind = Path if Path in kinds else kinds[0]
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise UsageError(f"--set {option}={text}: expected one of {', '.join(map(str, get_args(kind)))}")
        return text
    if get_origin(kind) in (tuple, list) or getattr(get_origin(kind), "__name__", "") in ("Sequence", "Collection"):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind is bool:
        if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
            raise UsageError(f"--set {option}={text}: expected true or false")
        return text.lower() in ("true", "yes", "1")
    if kind in (int, float, str, Path):
        try:
            return kind(text)
        except ValueError as error:
            raise UsageError(f"--set {option}={text}: expected {kind.__name__}") from error
    raise UsageError(f"{option} cannot be set from the command line")
