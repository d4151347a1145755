"""What the first of several processes works out, and its errors, reach the others; they part before they end."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import distributed

from aligners import commands
from aligners.cli.stage_commands import parting
from evalkit.__main__ import parser

SCRIPT = """
import sys
from torch import distributed
from aligners.training.processes.shared import computed_once, leave_processes
from evalkit.errors import DataError

distributed.init_process_group("gloo")
rank, calls = distributed.get_rank(), []

def work():
    calls.append(rank)
    return {"from": rank}

def fail():
    raise DataError("no such image")

shared = computed_once(work)
try:
    computed_once(fail)
except DataError as error:
    sys.stdout.write(f"{rank} {shared['from']} {len(calls)} {error}\\n")  # one write: print makes two, which may mix
    sys.stdout.flush()
leave_processes()
assert not distributed.is_initialized()
"""


def test_both_processes_have_the_first_ones_result_and_its_error(tmp_path: Path) -> None:
    script = tmp_path / "both.py"
    script.write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(torchrun, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n"))[1:] == ["0 0 1 no such image", "1 0 0 no such image"], done.stderr


def test_a_command_parts_from_the_other_processes_when_it_is_done(tmp_path: Path) -> None:
    """A run of two was once ended with SIGABRT by the threads of its process group, after its weights were saved."""

    def command(options: argparse.Namespace) -> int:
        distributed.init_process_group("gloo", f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
        return options.code

    assert parting(command)(argparse.Namespace(code=3)) == 3
    assert not distributed.is_initialized()


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("ddpo --data d", commands.align_ddpo),
        ("rlaif --prompts p", commands.align_rlaif),
        ("fact-rlhf --comparisons c --prompts p --facts f --images i", commands.align_fact_rlhf),
    ],
)
def test_every_command_that_trains_parts(words: str, command: Callable[[argparse.Namespace], int]) -> None:
    options = parser().parse_args(["align", *words.split(), "--model", "m", "--output-path", "o"])
    assert options.command.__wrapped__ is command
    assert options.command.__code__ is parting(command).__code__
