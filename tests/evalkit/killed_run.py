"""Program for test_harness: a run that somebody will kill. Arguments: run directory, request log, items, delay."""

import sys
from pathlib import Path

from evalkit.harness.stages import evaluate
from tests.toy import ToyBenchmark, ToyEngine

if __name__ == "__main__":
    run_dir, log, items, delay = sys.argv[1:]
    evaluate(ToyBenchmark(int(items)), ToyEngine(Path(log), batch=8, delay_s=float(delay)), Path(run_dir))
