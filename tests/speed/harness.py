"""What the harness adds to the engine: journal, scoring, intervals and files of 500 items, against the engine alone."""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ITEMS, TOKENS, BATCH, TURNS = 500, 32, 32, 8


def help_seconds() -> float:
    """Best of five starts of `evalkit --help`, in seconds."""
    command = [sys.executable, "-m", "evalkit", "--help"]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> list[tuple[str, float, float, float]]:
    """Rows (name, engine's CPU seconds, harness's CPU seconds, ratio)."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from benchmarks import CHAIR
    from evalkit.engines.transformers import TransformersEngine
    from evalkit.harness import evaluate
    from evalkit.miniature.files import write_world
    from evalkit.sampling import Sampling
    from tests.tiny_models import save_tiny

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        benchmark = CHAIR.miniature(write_world(folder / "world", ITEMS, 0))
        engine = TransformersEngine(save_tiny("llava", folder / "model"), dtype="float32", batch_size=BATCH)
        sampling = Sampling(max_new_tokens=TOKENS)
        prompts = [benchmark.prompt(item) for item in benchmark.items()]
        list(engine.generate(prompts[:BATCH], sampling))  # warm
        alone, whole = [], []
        for turn in range(TURNS):
            start = cpu_seconds()
            list(engine.generate(prompts, sampling))
            alone.append(cpu_seconds() - start)
            start = cpu_seconds()
            evaluate(benchmark, engine, folder / f"run{turn}", sampling=sampling)
            whole.append(cpu_seconds() - start)
    rows = [(f"{ITEMS} items, batch {BATCH}", min(alone), min(whole), min(whole) / min(alone))]
    print(f"{'':<24}{'engine, CPU s':>16}{'harness, CPU s':>16}{'ratio':>8}")
    for row in rows:
        print(f"{row[0]:<24}{row[1]:>16.2f}{row[2]:>16.2f}{row[3]:>8.2f}")
    print(f"evalkit --help: {help_seconds():.2f} s")
    return rows


def cpu_seconds() -> float:
    """CPU time of this process, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
