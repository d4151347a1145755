"""What the harness adds to the engine: journal, scoring, intervals and files of 500 items.

The ratio is the CPU time of a whole run over the CPU time that the same run spent inside the engine, the median of some
turns: two runs, one with and one without the harness, differ by more than the harness adds. What the engine's own
threads do while the harness has its turn (they prepare the next batch) is the engine's. The engine alone is shown
beside it, so that an engine slowed down by the harness would show.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ITEMS, TOKENS, BATCH, TURNS = 500, 32, 32, 9
LIMIT = 1.05
Row = tuple[str, float, float, float, float]


class TimedEngine:
    """An engine that adds up the CPU seconds spent in it while it answers."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.name, self.seconds = engine, engine.name, 0.0

    def describe(self) -> Any:
        """What the engine says of itself."""
        return self.engine.describe()

    def stop(self) -> None:
        """Stop the engine."""
        self.engine.stop()

    def generate(self, prompts: Sequence[Any], sampling: Any) -> Iterator[Any]:
        """The engine's responses; the clock stands while the caller works, but for the other threads."""
        responses = iter(self.engine.generate(prompts, sampling))
        while True:
            start = cpu_seconds()
            response = next(responses, None)
            self.seconds += cpu_seconds() - start
            if response is None:
                return
            others = cpu_seconds() - time.thread_time()
            yield response
            self.seconds += cpu_seconds() - time.thread_time() - others


def cpu_seconds() -> float:
    """CPU time of this process, user and system, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def seconds_of(work: Callable[[], object]) -> float:
    """CPU seconds that a call takes."""
    start = cpu_seconds()
    work()
    return cpu_seconds() - start


def help_seconds() -> float:
    """Best of five starts of `evalkit --help`, in seconds."""
    command = [sys.executable, "-m", "evalkit", "--help"]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def compare(name: str, checkpoint: Path, folder: Path) -> Row:
    """(name, engine alone, engine in a run, whole run, ratio of the last two); medians, CPU seconds."""
    from benchmarks import CHAIR
    from evalkit.engines.transformers import TransformersEngine
    from evalkit.harness.stages import evaluate
    from evalkit.miniature.files import write_world
    from evalkit.sampling import Sampling

    benchmark = CHAIR.miniature(write_world(folder / "world", ITEMS, 0))
    engine = TransformersEngine(checkpoint, dtype="float32", batch_size=BATCH)
    sampling = Sampling(max_new_tokens=TOKENS)
    prompts = [benchmark.prompt(item) for item in benchmark.items()]
    list(engine.generate(prompts[:BATCH], sampling))  # warm
    alone, inside, whole = [], [], []
    for turn in range(TURNS):
        alone.append(seconds_of(lambda: list(engine.generate(prompts, sampling))))
        timed, run_dir = TimedEngine(engine), folder / f"run{turn}"
        whole.append(seconds_of(lambda: evaluate(benchmark, timed, run_dir, sampling=sampling)))  # noqa: B023
        inside.append(timed.seconds)
    ratio = median(run / engine for run, engine in zip(whole, inside, strict=True))
    return name, median(alone), median(inside), median(whole), ratio


def main() -> list[Row]:
    """The trained miniature base, whose captions are English, and a random model, whose answers are noise."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from evalkit.process.libraries import quick_imports

    with quick_imports():  # as the program does: the collector never walks what the libraries made
        from aligners.miniature.base import cached_base
        from evalkit.engines import transformers  # noqa: F401
        from tests.tiny_models import save_tiny

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            compare("miniature base, captions", cached_base(), folder / "base"),
            compare("random weights, noise", save_tiny("llava", folder / "model"), folder / "noise"),
        ]
    print(f"{ITEMS} items, batch {BATCH}, at most {TOKENS} new tokens; CPU seconds")
    print(f"{'':<26}{'engine alone':>14}{'engine':>10}{'with harness':>14}{'ratio':>8}")
    for row in rows:
        print(f"{row[0]:<26}{row[1]:>14.2f}{row[2]:>10.2f}{row[3]:>14.2f}{row[4]:>8.3f}")
    print(f"limit: {LIMIT:.2f}; bound: 1.00, a run that does nothing but ask the engine")
    print(f"evalkit --help: {help_seconds():.2f} s")
    return rows


if __name__ == "__main__":
    main()
