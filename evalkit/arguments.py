"""Command-line arguments that several commands share: which model, how it decodes, where results go."""

import argparse
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import UsageError
from evalkit.sampling import Sampling

if TYPE_CHECKING:
    from evalkit.engines import Engine

EXIT_USAGE = 1  # the command line asks for something that does not exist
EXIT_FAILURES = 2  # finished, but more samples failed than --tolerance allows
EXIT_ABORTED = 3  # stopped by an error; one line on stderr says which
EXIT_INTERRUPTED = 130

ENGINES = ("transformers", "vllm", "openai", "replay")


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """--model, --engine and what an engine can be told."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", required=True, metavar="M", help="checkpoint folder, hub id, or a server's model name"
    )
    group.add_argument("--engine", choices=ENGINES, default="transformers")
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


def model_label(options: argparse.Namespace) -> str:
    """--label, or the last part of the model's path or name."""
    return options.label or Path(str(options.model).rstrip("/")).name


def open_engine(options: argparse.Namespace) -> "Engine":
    """The engine that the command line asks for; its libraries are imported here and not earlier."""
    extra: Mapping[str, Any] = {
        key: literal(value) for key, value in key_values(options.engine_args, "--engine-args").items()
    }
    given = {
        name: getattr(options, name) for name in ("revision", "dtype", "device", "adapter") if getattr(options, name)
    }
    if options.engine == "transformers":
        from evalkit.engines.transformers import TransformersEngine

        check_known(TransformersEngine, extra, "--engine-args")
        return TransformersEngine(options.model, batch_size=options.batch_size or 8, **given, **extra)
    if options.engine == "vllm":
        from evalkit.engines.vllm import VLLMEngine

        given.pop("device", None)
        return VLLMEngine(options.model, **given, **extra)
    if given:
        raise UsageError(f"--{' --'.join(given)}: not for the {options.engine} engine")
    if options.engine == "openai":
        from evalkit.engines.openai import OpenAIEngine

        check_known(OpenAIEngine, extra, "--engine-args")
        return OpenAIEngine(options.model, options.base_url, **extra)
    from evalkit.engines.replay import ReplayEngine

    check_known(ReplayEngine, extra, "--engine-args")
    return ReplayEngine(Path(options.model), **extra)


def check_known(cls: type, given: Mapping[str, Any], flag: str) -> None:
    """Whether a class's constructor takes these arguments.

    Raises:
        UsageError: if one is unknown; the known ones are named.
    """
    known = [name for name in inspect.signature(cls).parameters if name not in ("self", "model")]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UsageError(f"{flag}: unknown {', '.join(unknown)}; {cls.__name__} takes {', '.join(known)}")


def default_output() -> Path:
    """EVALKIT_RUNS, or ./runs."""
    return Path(os.environ.get("EVALKIT_RUNS", "runs"))
