"""Speed of the pairwise, paired and short-answer benchmarks on one core, from stored responses and replies.

    python tests/speed/ability.py

Full-size answer files, made here from the official questions: HallusionBench 1,129 questions with two replies each,
MMStar 1,500, RePOPE 3 x 3,000, RefoMB 99 with two reviews, LLaVA-Bench 60 + 90, DASH-B 2,682. At most 3 s together.
"""

import os
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
os.environ.setdefault("EVALKIT_ASSETS", str(SHARED / "assets"))
sys.path.insert(0, str(ROOT))

from benchmarks.dash_b import DashB  # noqa: E402
from benchmarks.hallusionbench import HallusionBench  # noqa: E402
from benchmarks.llava_bench import LlavaBench, LlavaBenchWild  # noqa: E402
from benchmarks.mmstar import MMStar  # noqa: E402
from benchmarks.refomb import RefoMB  # noqa: E402
from benchmarks.repope import RePOPE  # noqa: E402
from evalkit.benchmark import Benchmark, Judged  # noqa: E402
from evalkit.metrics import sum_counts  # noqa: E402
from evalkit.schema import Prompt, Response, Sample  # noqa: E402

LIMIT_S = 3.0
ANSWERS = ("Yes, there is.", "No.", "I cannot tell from this image.", "The answer is B.", "A man stands beside a dog.")
REVIEW = "The answer of Model A names one detail that the description lacks.\n\n" * 20
REPLIES: dict[str, tuple[str, ...]] = {
    "hallusionbench": ("correct", "incorrect", "unclear"),
    "llava_bench": ("8 7\n" + REVIEW, "**Scores:** 8, 9\n" + REVIEW),
    "llava_bench_wild": ("9 6\n" + REVIEW,),
    "refomb": (REVIEW + "[[A]]", REVIEW + "[[B]]", REVIEW + "[[C]]"),
}
BENCHMARKS: tuple[Benchmark, ...] = (
    HallusionBench(prompt="own", without_images=True),
    MMStar(without_images=True),
    RePOPE(without_images=True),
    RefoMB(prompt="own", without_images=True),
    LlavaBenchWild(prompt="own", without_images=True),
    LlavaBench(prompt="own", without_images=True),
    DashB(without_images=True),
)


def score(benchmark: Benchmark) -> tuple[int, float]:
    """Score every item, settle, sum and print the authors' figures; items, and seconds of processor time."""
    items = benchmark.items()  # reading the question files is not scoring
    rounds = [further.name for further in benchmark.further_rounds()] if isinstance(benchmark, Judged) else []
    replies = cycle(REPLIES.get(benchmark.name, ("",)))
    given = [(item, answer, next(replies)) for item, answer in zip(items, cycle(ANSWERS), strict=False)]
    start = time.process_time()
    samples = []
    for item, answer, reply in given:
        if isinstance(benchmark, Judged):
            found = benchmark.score_rounds(item, answer, {"": reply, **dict.fromkeys(rounds, reply)})
        else:
            found = benchmark.score(item, answer)
        samples.append(Sample(item, Prompt(item.id, ""), Response(item.id, answer), found))
    settled = benchmark.settle(samples)
    sums = sum_counts(sample.score.counts or {} for sample in settled)
    assert any(metric.value(sums) is not None for metric in benchmark.metrics)
    benchmark.official(settled)
    return len(items), time.process_time() - start


def main() -> float:
    """Measure and print; seconds of all together."""
    print("| benchmark | items | seconds |\n|---|---:|---:|")
    total = 0.0
    for benchmark in BENCHMARKS:
        count, seconds = score(benchmark)
        total += seconds
        print(f"| {benchmark.name} | {count:,} | {seconds:.2f} |")
    print(f"| all | | {total:.2f} |")
    print(f"| limit | | {LIMIT_S:.2f} |")
    print(f"| bound: every text lowered once | | {lowered(BENCHMARKS):.3f} |")
    return total


def lowered(benchmarks: Sequence[Benchmark]) -> float:
    """Seconds of processor time to look at every answer and reply once."""
    texts = []
    for benchmark in benchmarks:
        replies = REPLIES.get(benchmark.name, ("",))
        texts += [
            answer + reply for _, answer, reply in zip(benchmark.items(), cycle(ANSWERS), cycle(replies), strict=False)
        ]
    start = time.process_time()
    for text in texts:
        text.lower()
    return time.process_time() - start


if __name__ == "__main__":
    if main() > LIMIT_S:
        raise SystemExit(f"more than {LIMIT_S} s")
