"""10,000 bootstrap resamples of 15,220 items, and the paired comparison of two such runs.

    python tests/speed/intervals.py

The peer is a loop over resamples, as scipy.stats.bootstrap does it in batches: draw indices, gather, sum, divide. It is
timed on a part of the resamples and scaled up. Bound: the sums of all resamples as one matrix product, how often each
kind of item (or image) was drawn times its counts, at the rate of one large product in the same process; drawing itself
is not counted.
"""

import time
from collections.abc import Callable

import numpy as np

from evalkit.metrics import Metric, count_matrix
from evalkit.statistics.intervals import intervals
from evalkit.statistics.paired import difference_intervals, randomisation_p

ITEMS, IMAGES, RESAMPLES, PEER_RESAMPLES = 15_220, 1004, 10_000, 200
LIMIT_S = 1.0
METRICS = [
    Metric("chair_i", "100 * wrong / mentions", higher_is_better=False, role="rate"),
    Metric("chair_s", "100 * bad / responses", higher_is_better=False, role="rate"),
    Metric("f1", "200 * tp / (2 * tp + fp + fn)", higher_is_better=True),
]
NAMES = ["wrong", "mentions", "bad", "responses", "tp", "fp", "fn"]


def rows_of(seed: int) -> list[dict[str, float]]:
    """Caption-like counts of every item."""
    rng = np.random.default_rng(seed)
    mentions = rng.poisson(6, ITEMS)
    wrong = rng.binomial(mentions, 0.12)
    outcome = rng.integers(0, 4, ITEMS)
    return [
        {"wrong": float(w), "mentions": float(m), "bad": float(w > 0), "responses": 1.0}
        | {name: float(o == number) for number, name in enumerate(("tp", "fp", "fn"))}
        for m, w, o in zip(mentions, wrong, outcome, strict=True)
    ]


def peer(matrix: np.ndarray) -> None:
    """A loop over resamples, PEER_RESAMPLES of them."""
    rng = np.random.default_rng(0)
    for _ in range(PEER_RESAMPLES):
        matrix[rng.integers(0, len(matrix), len(matrix))].sum(axis=0)


def products(matrix: np.ndarray) -> float:
    """Operations of the sums of all resamples, items that are alike taken together."""
    return 2.0 * RESAMPLES * len(np.unique(matrix, axis=0)) * matrix.shape[1]


def rate(side: int = 1024) -> float:
    """Operations a second of one large matrix product, float64."""
    one = np.random.default_rng(0).random((side, side))
    return 2.0 * side**3 / seconds(lambda: one @ one, 5)


def seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """CPU seconds of the fastest of some rounds."""
    taken = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return min(taken)


def main() -> list[dict[str, object]]:
    """Rows: what, CPU seconds, those of the loop, ratio, bound."""
    base, other = rows_of(0), rows_of(1)
    images = [index % IMAGES for index in range(ITEMS)]
    matrix, second = count_matrix(base, NAMES), count_matrix(other, NAMES)
    jittered = [{name: value * (1 + 1e-9 * index) for name, value in row.items()} for index, row in enumerate(base)]
    by_image = np.array([matrix[start::IMAGES].sum(axis=0) for start in range(IMAGES)])
    loop = seconds(lambda: peer(matrix)) * RESAMPLES / PEER_RESAMPLES
    works: dict[str, tuple[Callable[[], object], np.ndarray]] = {
        "three metrics, items": (lambda: intervals(METRICS, base), matrix),
        "three metrics, clustered by image": (lambda: intervals(METRICS, base, images), by_image),
        "one yes/no metric, items": (lambda: intervals(METRICS[1:2], base), matrix[:, 2:4]),
        "three metrics, no two items alike": (lambda: intervals(METRICS, jittered), count_matrix(jittered, NAMES)),
        "paired difference, three metrics": (
            lambda: difference_intervals(METRICS, NAMES, matrix, second, 0.95, RESAMPLES, "expanded", 0),
            np.hstack([matrix, second]),
        ),
        "randomisation test, three metrics": (
            lambda: randomisation_p(METRICS, NAMES, matrix, second, RESAMPLES, 0),
            matrix - second,  # what a swap changes
        ),
    }
    operations = rate()
    rows: list[dict[str, object]] = []
    for name, (work, counts) in works.items():
        taken, bound = seconds(work), products(counts) / operations
        rows.append({"what": name, "seconds": taken, "loop_seconds": loop, "ratio": loop / taken, "bound": bound})
        print(f"{name:<36}{taken:7.2f} s   loop {loop:6.1f} s   {loop / taken:5.1f} x   bound {bound:6.3f} s")
    print(f"limit: {LIMIT_S} s for the intervals of {ITEMS:,} items with {RESAMPLES:,} resamples; CPU seconds")
    return rows


if __name__ == "__main__":
    main()
