"""The program `evalkit`: joins the sub-commands that the layers add. Nobody imports it; `--help` loads no torch."""

import argparse
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

from evalkit import __version__
from evalkit.cli.arguments import EXIT_ABORTED, EXIT_INTERRUPTED, EXIT_USAGE
from evalkit.errors import EvalkitError, StoppedError, UsageError
from evalkit.process.ending import end_process
from evalkit.process.printing import failed_output, guarded_streams

LAYERS = ("benchmarks", "evalkit", "aligners", "dashboard")

EPILOG = """exit codes:
  0 done   1 wrong usage   2 done, but too many failed samples   3 stopped by an error   130 interrupted

first steps:
  evalkit demo                                         everything on a miniature world, no download
  evalkit run --model llava-hf/llava-1.5-7b-hf --tasks chair,pope --data DIR --output-path runs
  evalkit report runs        evalkit compare runs/A/chair runs/B/chair        evalkit dashboard runs
"""

_WRONG_WORD = re.compile(r"(?:invalid choice: '|unrecognized arguments: )([^\s'=]+)")


class _Parser(argparse.ArgumentParser):
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """What a sub-command does not know is its own error, beside its own usage."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}{self._suggestion(message)}\n")

    def _suggestion(self, message: str) -> str:
        wrong = _WRONG_WORD.search(message)
        known = [str(word) for action in self._actions for word in (*action.option_strings, *(action.choices or ()))]
        near = get_close_matches(wrong[1], known, 1, cutoff=0.7) if wrong else []  # "import" is not like "export"
        return f"; did you mean {near[0]}?" if near else ""


def parser() -> argparse.ArgumentParser:
    """The whole command line; every layer adds its own sub-commands."""
    top = _Parser(
        prog="evalkit",
        description="Measure, lower and look at hallucination in vision-language models.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"evalkit {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for layer in LAYERS:
        import_module(f"{layer}.commands").add_commands(commands)
    return top


def normalised(arguments: Sequence[str]) -> list[str]:
    """`--output_path` is `--output-path`; values are left alone."""
    words = []
    for word in arguments:
        flag, equals, value = word.partition("=")
        words.append((flag.replace("_", "-") if flag.startswith("--") else flag) + equals + value)
    return words


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    with guarded_streams():
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")  # evalkit.images has a limit of its own
    arguments = normalised(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(arguments)
    try:
        code = int(options.command(options) or 0)
        sys.stdout.flush()
        return code
    except UsageError as error:
        print(f"evalkit: {error}", file=sys.stderr)
        return EXIT_USAGE
    except StoppedError as error:
        print(f"evalkit: {error}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except EvalkitError as error:
        print(f"evalkit: {error}", file=sys.stderr)
        return EXIT_ABORTED
    except KeyboardInterrupt:
        print("evalkit: interrupted; what was finished is kept, rerun the same command to resume", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `evalkit ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return 0
    except OSError as error:  # a full disk under standard output, no file descriptors left
        return failed_output(error)


def program() -> NoReturn:
    """Run the command that this process was started for, and end."""
    end_process(main())


if __name__ == "__main__":
    program()
