"""Command-line arguments that several commands share: which model, how it decodes, where results go."""

import argparse
import inspect
import os
import sys
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_origin, get_type_hints

from evalkit.errors import UsageError
from evalkit.progress import hide_loading_bars
from evalkit.sampling import Sampling
from evalkit.startup import quick_imports

if TYPE_CHECKING:
    from evalkit.engines import Engine

EXIT_USAGE = 1  # the command line asks for something that does not exist
EXIT_FAILURES = 2  # finished, but more samples failed than --tolerance allows
EXIT_ABORTED = 3  # stopped by an error; one line on stderr says which
EXIT_INTERRUPTED = 130

GIVEN_BY_FLAG = ("revision", "dtype", "device", "adapter")


class EngineNames(tuple[str, ...]):
    """The engines there are; "package.module:factory" stands for one more."""

    __slots__ = ()

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and ":" in name)


ENGINES = EngineNames(("transformers", "vllm", "openai", "replay"))


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """--model, --engine and what an engine can be told."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", required=True, metavar="M", help="checkpoint folder, hub id, or a server's model name"
    )
    group.add_argument(
        "--engine",
        choices=ENGINES,
        default="transformers",
        metavar="ENGINE",
        help=f"{', '.join(ENGINES)} (default: transformers), or package.module:factory, e.g. "
        "aligners.best_of_n:best_of_n with --engine-args reference=BASE",
    )
    group.add_argument("--revision", help="branch, tag or commit of a hub model")
    group.add_argument("--adapter", type=Path, help="folder of a LoRA adapter to put on the model")
    group.add_argument(
        "--base-url", action="append", metavar="URL", help="server of the openai engine; repeat for a fleet"
    )
    group.add_argument("--batch-size", type=positive, metavar="N", help="prompts per forward pass (default 8)")
    group.add_argument("--dtype", metavar="D", help="float32, bfloat16, ... (default: the checkpoint's own)")
    group.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    group.add_argument(
        "--engine-args",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="anything else the engine takes, e.g. tensor_parallel_size=4 for vllm; repeatable",
    )
    group.add_argument("--label", help="name of the model in tables (default: its folder or hub name)")


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Decoding settings; what is not given comes from the benchmark's protocol."""
    group = parser.add_argument_group("decoding (default: the benchmark's protocol)")
    group.add_argument("--temperature", type=float)
    group.add_argument("--top-p", type=float)
    group.add_argument("--max-new-tokens", type=positive, metavar="N")
    group.add_argument("--num-beams", type=positive, metavar="N")
    group.add_argument("--n", type=positive, metavar="N", help="responses per prompt")
    group.add_argument("--seed", type=int)


def sampling_from(options: argparse.Namespace, protocol: Sampling) -> Sampling:
    """The protocol's settings with the ones given on the command line put over them."""
    names = ("temperature", "top_p", "max_new_tokens", "num_beams", "n", "seed")
    given = {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}
    return Sampling(**(protocol.as_dict() | given))


def positive(text: str) -> int:
    """An integer >= 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


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


def share(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, got {text}")
    return value


def model_label(options: argparse.Namespace) -> str:
    """--label, or the last part of the model's path or name.

    Raises:
        UsageError: if it is no name for a folder.
    """
    return folder_name(options.label or Path(os.path.abspath(str(options.model))).name)


def folder_name(label: str) -> str:
    """The label, if a folder of that name stays below the output folder.

    Raises:
        UsageError: if it does not.
    """
    path = Path(label)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in label:
        raise UsageError(f"--label {label!r}: expected a name; runs go to DIR/<label>/<benchmark>")
    return label


def open_engine(options: argparse.Namespace) -> "Engine":
    """The engine that the command line asks for; its libraries are imported here and not earlier."""
    texts = key_values(options.engine_args, "--engine-args")
    extra: Mapping[str, Any] = {key: literal(value) for key, value in texts.items()}
    given = {name: getattr(options, name) for name in GIVEN_BY_FLAG if getattr(options, name)}
    if ":" in options.engine:
        return _engine_made_by(options, texts, given)
    if options.engine == "transformers":
        with quick_imports():
            from evalkit.engines.transformers import TransformersEngine

        hide_loading_bars()
        own = arguments_of(TransformersEngine, texts, "--engine-args", ("batch_size", *GIVEN_BY_FLAG))
        return TransformersEngine(options.model, batch_size=options.batch_size or 8, **given, **own)
    if options.engine == "vllm":
        with quick_imports():
            from evalkit.engines.vllm import VLLMEngine

        given.pop("device", None)
        return VLLMEngine(options.model, **given, **extra)
    if given:
        raise UsageError(f"--{' --'.join(given)}: not for the {options.engine} engine")
    if options.engine == "openai":
        from evalkit.engines.openai import OpenAIEngine

        own = arguments_of(OpenAIEngine, texts, "--engine-args", ("urls",))
        return OpenAIEngine(options.model, options.base_url, **own)
    from evalkit.engines.replay import ReplayEngine

    own = arguments_of(ReplayEngine, texts, "--engine-args", ("path",))
    return ReplayEngine(Path(options.model), **own)


def _engine_made_by(options: argparse.Namespace, texts: Mapping[str, str], given: Mapping[str, Any]) -> "Engine":
    """The engine of "package.module:factory", called with the model, the flags and --engine-args."""
    module, _, attribute = options.engine.partition(":")
    try:
        with quick_imports():
            factory = getattr(import_module(module), attribute)
        signature = inspect.signature(factory)
        signature.bind_partial(options.model)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"engine {options.engine!r} cannot be used: {error}") from error
    parameters = signature.parameters
    flags = {**given, **({"batch_size": options.batch_size} if options.batch_size else {})}
    refused = [f"--{name.replace('_', '-')}" for name in flags if name not in parameters]
    if refused:
        raise UsageError(f"{', '.join(refused)}: not for the engine {options.engine}")
    own = arguments_of(factory, texts, "--engine-args", ("batch_size", *GIVEN_BY_FLAG))
    _, *others = parameters.values()  # the first is the model
    needed = [p.name for p in others if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    lacking = [name for name in needed if name not in {**flags, **own}]
    if lacking:
        missing = ",".join(f"{name}=..." for name in lacking)
        raise UsageError(f"the engine {options.engine} needs --engine-args {missing}")
    if "transformers" in sys.modules:
        hide_loading_bars()
    engine = factory(options.model, **flags, **own)
    if not all(hasattr(engine, name) for name in ("describe", "generate", "stop", "close")):
        raise UsageError(f"{options.engine!r} made a {type(engine).__name__}, which is no engine")
    return cast("Engine", engine)


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


def default_output() -> Path:
    """EVALKIT_RUNS, or ./runs."""
    return Path(os.environ.get("EVALKIT_RUNS", "runs"))
