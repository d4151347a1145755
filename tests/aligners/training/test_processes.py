"""What the first of several processes works out, and its errors, reach the others."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from torch import distributed
from aligners.training.processes.shared import computed_once
from evalkit.errors import DataError
from evalkit.process.ending import end_process

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
end_process()
"""


def test_both_processes_have_the_first_ones_result_and_its_error(tmp_path: Path) -> None:
    script = tmp_path / "both.py"
    script.write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(torchrun, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split("\n"))[1:] == ["0 0 1 no such image", "1 0 0 no such image"], done.stderr
