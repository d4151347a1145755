"""`--protocol NAME`: a published row's settings put under what the command line says."""

import argparse

from benchmarks.protocols import Protocol, protocol, protocols
from evalkit.cli.options import key_values
from evalkit.errors import UsageError
from evalkit.sampling import Sampling

OWN_WEIGHTS = ("transformers", "vllm")  # engines that show the model its images themselves


def add_protocol_argument(parser: argparse.ArgumentParser) -> None:
    """--protocol."""
    known = ", ".join(protocols())
    parser.add_argument(
        "--protocol",
        metavar="NAME",
        help="image padding, system text, decoding and question of a published row; other options take precedence: "
        f"{known}",
    )


def chosen(options: argparse.Namespace) -> Protocol | None:
    """The protocol of the command line.

    Raises:
        UsageError: if there is none of that name.
    """
    name = getattr(options, "protocol", None)
    return protocol(name) if name else None


def decoding(options: argparse.Namespace, benchmark: str, own: Sampling) -> Sampling:
    """A benchmark's decoding settings under the protocol."""
    settings = chosen(options)
    return own if settings is None else Sampling(**(own.as_dict() | settings.decoding(benchmark)))


def obeyed(options: argparse.Namespace, benchmarks: list[str]) -> list[str]:
    """Put the protocol's engine settings into the options; returns lines that say what it sets.

    Raises:
        UsageError: if the engine cannot be told.
    """
    settings = chosen(options)
    if settings is None:
        return []
    lines = [f"evalkit: {settings.told(benchmarks)}"]
    if options.engine == "replay" or not settings.engine:
        return lines
    if options.engine not in OWN_WEIGHTS and ":" not in options.engine:
        raise UsageError(
            f"--protocol {settings.name} sets {', '.join(settings.engine)}, which the {options.engine} engine leaves "
            "to the server: convert the checkpoint with these settings (`evalkit convert`), serve that, and give the "
            "decoding settings as options"
        )
    by_user = key_values(options.engine_args, "--engine-args")
    for name, value in settings.engine.items():
        if name == "dtype":
            options.dtype = options.dtype or value
        elif name not in by_user:
            options.engine_args.append(f"{name}={value}")
    return lines
