"""The program in a process that somebody will kill: forked from a server that has imported its libraries already.

A fork is a process like any other, but it starts in milliseconds, so that a hundred of them fit into a test.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from evalkit.__main__ import main

LIBRARIES = [
    "aligners.commands", "benchmarks.commands", "benchmarks.cli.judging", "benchmarks.mmhal",
    "benchmarks.object_halbench", "dashboard.commands", "evalkit.commands", "evalkit.engines.openai", "evalkit.harness",
    "evalkit.reports.runs", "nltk", "openai", "tests.endurance.killed_program",
]  # fmt: skip


def run_program(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    """The program, its output in a file."""
    os.environ.update(environment)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.exit(main(arguments))


def start_program(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> ForkServerProcess:
    """Start it; `exitcode` is the program's."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    process = context.Process(target=run_program, args=(list(arguments), log, dict(environment)))
    process.start()
    return process
