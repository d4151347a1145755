"""A process that exchanged tensors with others ends with its own exit code, whatever Gloo's threads still hold."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import argparse, atexit, sys, time
from pathlib import Path
from evalkit import __main__ as evalkit
from evalkit.errors import TrainingError

def command(options):
    if {joined}:
        import torch
        from torch import distributed
        distributed.init_process_group("gloo", f"file://{{Path(sys.argv[1]).absolute()}}", rank=0, world_size=1)
        command.group = distributed.group.WORLD  # as sharded weights hold it
        sums = distributed.all_reduce(torch.ones(3), async_op=True).get_future()
        command.late = sums.then(lambda _: time.sleep({late}))  # in Gloo's thread, which then needs Python's lock
    atexit.register(print, "registered")
    print("done")
    {end}

class Parser:
    parse_args = staticmethod(lambda words: argparse.Namespace(command=command))

evalkit.parser = Parser
evalkit.program()
"""
ENDS = {"return 0": 0, "return 2": 2, "raise TrainingError('no memory')": 3}


def ended(folder: Path, *, joined: bool, late: float, end: str) -> subprocess.CompletedProcess[str]:
    code = SCRIPT.format(joined=joined, late=late, end=end)
    command = [sys.executable, "-c", code, str(folder / "meeting")]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


@pytest.mark.parametrize(("end", "code"), ENDS.items())
def test_late_threads_of_a_process_group_do_not_change_the_exit_code(end: str, code: int, tmp_path: Path) -> None:
    done = ended(tmp_path, joined=True, late=1.5, end=end)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines() == ["done", "registered"]
    assert done.stderr.splitlines()[-1:] == (["evalkit: no memory"] if code == 3 else [])


@pytest.mark.parametrize(("end", "code"), ENDS.items())
def test_a_process_alone_ends_as_ever(end: str, code: int, tmp_path: Path) -> None:
    done = ended(tmp_path, joined=False, late=0, end=end)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines() == ["done", "registered"]
