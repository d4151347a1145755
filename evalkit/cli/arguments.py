"""Command-line arguments that several commands share: which model, how it decodes, where results go."""

import argparse
import os
from pathlib import Path

from evalkit.errors import UsageError
from evalkit.sampling import Sampling

EXIT_USAGE = 1  # the command line asks for something that does not exist
EXIT_FAILURES = 2  # finished, but more samples failed than --tolerance allows
EXIT_ABORTED = 3  # stopped by an error; one line on stderr says which
EXIT_INTERRUPTED = 130


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Decoding settings; what is not given comes from the benchmark's protocol."""
    group = parser.add_argument_group("decoding (default: the benchmark's protocol)")
    group.add_argument("--temperature", type=float)
    group.add_argument("--top-p", type=float)
    group.add_argument("--max-new-tokens", type=positive, metavar="N")
    group.add_argument("--top-k", type=positive, metavar="K", help="sample among the K most likely tokens")
    group.add_argument("--repetition-penalty", type=float, metavar="P", help="repetition penalty; 1 turns it off")
    group.add_argument("--num-beams", type=positive, metavar="N")
    group.add_argument("--n", type=positive, metavar="N", help="responses per prompt")
    group.add_argument("--seed", type=int)


def sampling_from(options: argparse.Namespace, protocol: Sampling) -> Sampling:
    """The protocol's settings with the ones given on the command line put over them."""
    names = ("temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens", "num_beams", "n", "seed")
    given = {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}
    return Sampling(**(protocol.as_dict() | given))


def positive(text: str) -> int:
    """An integer >= 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def not_negative(text: str) -> int:
    """An integer >= 0, for argparse."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return value


def share(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, got {text}")
    return value


def model_label(options: argparse.Namespace) -> str:
    """--label, or the last part of the model's path or name.

    Raises:
        UsageError: if it is not a name for a folder.
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


def default_output() -> Path:
    """EVALKIT_RUNS, or ./runs."""
    return Path(os.environ.get("EVALKIT_RUNS", "runs"))
