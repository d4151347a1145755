"""The engine that the command line asks for: transformers, vLLM, a server, a saved run, or one of the user's own."""

import argparse
import inspect
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from evalkit.cli.arguments import positive
from evalkit.cli.options import arguments_of, json_object, key_values, literal
from evalkit.errors import UsageError
from evalkit.process.libraries import quick_imports
from evalkit.process.progress import hide_loading_bars

if TYPE_CHECKING:
    from evalkit.engines import Engine
    from evalkit.formats.answers import Format


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
    add_engine_choice(group)
    group.add_argument("--adapter", type=Path, help="folder of a LoRA adapter to put on the model")
    group.add_argument("--label", help="name of the model in tables (default: its folder or hub name)")


def add_engine_choice(group: Any) -> None:
    """--engine and what it can be told, whichever models it opens."""
    group.add_argument(
        "--engine",
        choices=ENGINES,
        default="transformers",
        metavar="ENGINE",
        help=f"{', '.join(ENGINES)} (default: transformers), or package.module:factory, e.g. "
        "aligners.best_of_n:best_of_n with --engine-args reference=BASE",
    )
    group.add_argument("--revision", help="branch, tag or commit of a hub model")
    group.add_argument(
        "--base-url", action="append", metavar="URL", help="server of the openai engine; repeat for a fleet"
    )
    group.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="prompts per forward pass; images, where prompts share them (default 8)",
    )
    group.add_argument("--dtype", metavar="D", help="float32, bfloat16, ... (default: the checkpoint's own)")
    group.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    group.add_argument(
        "--engine-args",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="anything else the engine takes, e.g. tensor_parallel_size=4 for vllm; repeatable",
    )
    group.add_argument(
        "--extra",
        metavar="JSON",
        help="further fields of every request to a server, e.g. "
        """'{"chat_template_kwargs": {"enable_thinking": false}}'; they stand in the signature""",
    )


def open_engine(options: argparse.Namespace, formats: "Sequence[Format]" = ()) -> "Engine":
    """The engine that the command line asks for; its libraries are imported here and not earlier.

    Args:
        formats: formats of responses that the benchmarks at hand declare, for the replay engine.
    """
    texts = with_extra(key_values(options.engine_args, "--engine-args"), options, options.engine)
    given = {name: value for name in GIVEN_BY_FLAG if (value := getattr(options, name, None))}
    if ":" in options.engine:
        return _engine_made_by(options, texts, given)
    if options.engine == "transformers":
        hide_loading_bars()
        local = {**given, "batch_size": options.batch_size or 8}
        return named_engine("transformers", options.model, texts, "--engine-args", given=local, by_flag=GIVEN_BY_FLAG)
    if options.engine == "vllm":
        given.pop("device", None)
        return named_engine("vllm", options.model, texts, "--engine-args", given=given)
    if given:
        raise UsageError(f"--{' --'.join(given)}: not for the {options.engine} engine")
    if options.engine == "openai":
        return named_engine("openai", options.model, texts, "--engine-args", base_url=options.base_url)
    from evalkit.engines.replay import ReplayEngine

    own = arguments_of(ReplayEngine, texts, "--engine-args", ("path", "formats"))
    return ReplayEngine(Path(options.model), formats=formats, **own)


def with_extra(texts: dict[str, str], options: argparse.Namespace, kind: str, flag: str = "--extra") -> dict[str, str]:
    """Engine settings with the request fields of --extra or --judge-extra among them.

    Raises:
        UsageError: if the engine sends no requests, or they are given twice.
    """
    extra = getattr(options, flag.strip("-").replace("-", "_"), None)
    if extra is None:
        return texts
    if kind != "openai":
        raise UsageError(f"{flag} is for requests to a server, not for the {kind} engine")
    if "extra" in texts:
        raise UsageError(f"{flag} and extra=... say the same: give one of them")
    json_object(flag, extra)
    return {**texts, "extra": extra}


def named_engine(
    kind: str,
    model: str,
    texts: Mapping[str, str],
    flag: str,
    *,
    base_url: str | None = None,
    given: Mapping[str, Any] | None = None,
    by_flag: Sequence[str] = (),
) -> "Engine":
    """An engine that loads or calls a model; the models under test and the judges are opened here.

    Args:
        kind: "transformers", "vllm" or "openai".
        texts: engine settings as text, from the option `flag`.
        base_url: of an OpenAI-compatible server.
        given: settings that have options of their own; `texts` may not repeat them.
        by_flag: further settings that `texts` may not hold.
    """
    own: dict[str, Any] = dict(given or {})
    if kind == "openai":
        from evalkit.engines.openai import OpenAIEngine

        return OpenAIEngine(model, base_url, **own, **arguments_of(OpenAIEngine, texts, flag, ("urls", *own)))
    if kind == "vllm":
        with quick_imports():
            from evalkit.engines.vllm import VLLMEngine

        return VLLMEngine(model, **own, **{key: literal(value) for key, value in texts.items()})
    with quick_imports():
        from evalkit.engines.transformers import TransformersEngine

    return TransformersEngine(model, **own, **arguments_of(TransformersEngine, texts, flag, (*own, *by_flag)))


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
        raise UsageError(f"{options.engine!r} made a {type(engine).__name__}, which is not an engine")
    return cast("Engine", engine)
