"""Do the intervals and tests keep what they promise? Simulated data sets with a known truth.

    make validate                                            everything, two to four minutes on one core
    python -m tests.validation.coverage --data-sets 200      a quick look

Captions come from a model of OPERA's released ones: about 7 mentions, most images clean, hallucinations that come
together in some captions, a share of captions without any. Questions come six per image, images differ in difficulty.
For each of 2,000 data sets the 95 % interval either holds the true value or not; the table prints how often it does.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from evalkit.metrics import Array, Metric
from evalkit.statistics.intervals import Method, evaluate, jackknife, read_limits, value_of
from evalkit.statistics.paired import discordant_p, randomisation_p
from evalkit.statistics.power import paired_power
from evalkit.statistics.resampling import resampled_sums

SIZES = (96, 300, 1000)
DATA_SETS = 2000
RESAMPLES = 1000  # of each simulated data set; the programs use 10,000
QUESTIONS_PER_IMAGE = 6
TRUTH_SIZE = 2_000_000
COVERED = (0.93, 0.97)  # promised: how often the default interval holds the truth
REJECTED = (0.04, 0.06)  # promised: how often equal runs are told apart at the 5 % level
POWER_SLACK = 0.03  # promised: foretold power against the power seen

Draw = Callable[[np.random.Generator, int], Array]


@dataclass(frozen=True)
class Case:
    """A metric with a population to draw its counts per cluster from; `size` is in items, the draw in clusters."""

    metric: Metric
    names: tuple[str, ...]
    draw: Draw
    per_cluster: int = 1

    def data(self, rng: np.random.Generator, items: int) -> Array:
        return self.draw(rng, items // self.per_cluster)

    def truth(self) -> float:
        """From 2,000,000 items: its own error is 2 % of that of 1,000 items."""
        value = value_of(self.metric, self.names, self.data(np.random.default_rng(99), TRUTH_SIZE))
        assert value is not None
        return value


def captions(
    rng: np.random.Generator, n: int, lower: float = 1.0, hardness: Array | None = None
) -> tuple[Array, Array]:
    """Mentions and hallucinated mentions of n captions; `lower` scales the hallucination rate."""
    mentions = rng.negative_binomial(6, 6 / (6 + 7.0), n)
    share = rng.beta(0.35, 2.2, n) if hardness is None else hardness
    return mentions.astype(float), rng.binomial(mentions, lower * share).astype(float)


def draw_chair_i(rng: np.random.Generator, n: int) -> Array:
    mentions, wrong = captions(rng, n)
    return np.stack([wrong, mentions], axis=1)


def draw_chair_s(rng: np.random.Generator, n: int) -> Array:
    _, wrong = captions(rng, n)
    return np.stack([(wrong > 0).astype(float), np.ones(n)], axis=1)


def questions(rng: np.random.Generator, images: int, shift: float = 0.0, hardness: Array | None = None) -> Array:
    """Right answers, shape (images, QUESTIONS_PER_IMAGE): images differ in difficulty (logistic-normal)."""
    level = rng.normal(0, 1, (images, 1)) if hardness is None else hardness
    return (rng.random((images, QUESTIONS_PER_IMAGE)) < 1 / (1 + np.exp(-(1.3 + shift + level)))).astype(float)


def draw_accuracy(rng: np.random.Generator, images: int) -> Array:
    right = questions(rng, images)
    return np.stack([right.sum(axis=1), np.full(images, float(QUESTIONS_PER_IMAGE))], axis=1)


def draw_f1(rng: np.random.Generator, images: int) -> Array:
    """F1 with "No" as the positive class: two questions in three have the answer no."""
    right = questions(rng, images) > 0
    no = rng.random(right.shape) < 2 / 3
    counts = [right & no, ~right & ~no, ~right & no]  # tp, fp, fn
    return np.stack([count.sum(axis=1) for count in counts], axis=1).astype(float)


CHAIR_I = Metric("chair_i", "100 * wrong / mentions", higher_is_better=False, role="rate")
CHAIR_S = Metric("chair_s", "100 * bad / responses", higher_is_better=False, role="rate")
F1 = Metric("f1", "200 * tp / (2 * tp + fp + fn)", higher_is_better=True)
ACCURACY = Metric("accuracy", "100 * correct / items", higher_is_better=True)
CASES = (
    Case(CHAIR_I, ("wrong", "mentions"), draw_chair_i),
    Case(CHAIR_S, ("bad", "responses"), draw_chair_s),
    Case(F1, ("tp", "fp", "fn"), draw_f1, QUESTIONS_PER_IMAGE),
    Case(ACCURACY, ("correct", "items"), draw_accuracy, QUESTIONS_PER_IMAGE),
)


METHODS: tuple[Method, ...] = ("expanded", "percentile", "bca")


def coverage(case: Case, items: int, data_sets: int, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Share of data sets whose interval holds the truth, and the mean width, by method."""
    rng, truth, names = np.random.default_rng([seed, items]), case.truth(), case.names
    held = dict.fromkeys(METHODS, 0)
    widths = dict.fromkeys(METHODS, 0.0)
    for _ in range(data_sets):
        data = case.data(rng, items)
        values = evaluate(case.metric, names, resampled_sums(data, RESAMPLES, rng))
        value = value_of(case.metric, names, data)
        assert value is not None
        left_out = jackknife(case.metric, names, data)
        for method in METHODS:
            found = read_limits(value, values, lambda left_out=left_out: left_out, len(data), 0.95, method)
            assert found.low is not None
            assert found.high is not None
            held[method] += found.low <= truth <= found.high
            widths[method] += found.high - found.low
    return {method: (held[method] / data_sets, widths[method] / data_sets) for method in METHODS}


@dataclass(frozen=True)
class PairCase:
    """Two models on the same items; `effect` 0 makes them equally good."""

    metric: Metric
    names: tuple[str, ...]
    draw: Callable[[np.random.Generator, int, float], tuple[Array, Array]]
    effect: float
    per_cluster: int = 1


def pair_chair_i(rng: np.random.Generator, n: int, effect: float) -> tuple[Array, Array]:
    hardness = rng.beta(0.35, 2.2, n)
    runs = [captions(rng, n, lower, hardness) for lower in (1.0, 1.0 - effect)]
    base, other = (np.stack([wrong, mentions], axis=1) for mentions, wrong in runs)
    return base, other


def pair_chair_s(rng: np.random.Generator, n: int, effect: float) -> tuple[Array, Array]:
    base, other = pair_chair_i(rng, n, effect)
    return tuple(np.stack([(run[:, 0] > 0).astype(float), np.ones(n)], axis=1) for run in (base, other))  # type: ignore[return-value]


def pair_accuracy(rng: np.random.Generator, images: int, effect: float) -> tuple[Array, Array]:
    hardness = rng.normal(0, 1, (images, 1))
    total = np.full(images, float(QUESTIONS_PER_IMAGE))
    base, other = (
        np.stack([questions(rng, images, shift, hardness).sum(axis=1), total], axis=1) for shift in (0.0, effect)
    )
    return base, other


PAIR_CASES = (
    PairCase(CHAIR_I, ("wrong", "mentions"), pair_chair_i, 0.25),
    PairCase(CHAIR_S, ("bad", "responses"), pair_chair_s, 0.3),
    PairCase(ACCURACY, ("correct", "items"), pair_accuracy, 0.3, QUESTIONS_PER_IMAGE),
)


def rejection(case: PairCase, items: int, data_sets: int, effect: float, seed: int = 1) -> dict[str, float]:
    """Share of data sets with p < 0.05 by each test, and the mean power foretold for the true difference."""
    rng, names = np.random.default_rng([seed, items]), case.names
    clusters = items // case.per_cluster
    big = case.draw(np.random.default_rng(98), 400_000, effect)
    sides = [value_of(case.metric, names, side) for side in big]
    assert sides[0] is not None
    assert sides[1] is not None
    truth = sides[1] - sides[0]
    seen, mid, foretold = 0, 0, 0.0
    for index in range(data_sets):
        base, other = case.draw(rng, clusters, effect)
        (p,) = randomisation_p([case.metric], names, base, other, RESAMPLES, seed=index)
        seen += p is not None and p <= 0.05
        if case.metric is CHAIR_S:
            change = other[:, 0] - base[:, 0]
            mid += discordant_p(int(np.sum(change < 0)), int(np.sum(change > 0)))[1] <= 0.05
        foretold += paired_power(case.metric, names, base, other, items).chance(truth) or 0.0
    found = {"randomisation": seen / data_sets, "foretold": foretold / data_sets, "difference": truth}
    return found | ({"mid_p": mid / data_sets} if case.metric is CHAIR_S else {})


def in_band(share: float, low: float, high: float) -> str:
    """A share in percent, marked where it lies outside the band that is promised."""
    return f"{100 * share:.1f} %" + ("" if low <= share <= high else " (!)")


def lines(data_sets: int) -> Iterator[str]:
    """The tables, as Markdown; "(!)" marks what breaks a promise."""
    yield "| metric | n | truth | expanded | percentile | bca | width expanded | width percentile | width bca |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for case in CASES:
        for size in SIZES:
            found = coverage(case, size, data_sets)
            promised = in_band(found[METHODS[0]][0], *COVERED)
            others = " | ".join(f"{100 * found[method][0]:.1f} %" for method in METHODS[1:])
            widths = " | ".join(f"{found[method][1]:.2f}" for method in METHODS)
            yield f"| {case.metric.name} | {size} | {case.truth():.2f} | {promised} | {others} | {widths} |"
    yield ""
    yield "| metric | n | false positives | McNemar mid-p | true difference | power seen | power foretold |"
    yield "|---|---|---|---|---|---|---|"
    for pair in PAIR_CASES:
        for size in SIZES:
            null = rejection(pair, size, data_sets, 0.0)
            real = rejection(pair, size, data_sets, pair.effect)
            mid = in_band(null["mid_p"], *REJECTED) if "mid_p" in null else "-"
            seen = in_band(real["randomisation"], real["foretold"] - POWER_SLACK, real["foretold"] + POWER_SLACK)
            yield (
                f"| {pair.metric.name} | {size} | {in_band(null['randomisation'], *REJECTED)} | {mid} "
                f"| {real['difference']:+.2f} | {seen} | {100 * real['foretold']:.1f} % |"
            )


def main(data_sets: int = DATA_SETS) -> bool:
    """Print the tables; whether every promise was kept."""
    kept = True
    for line in lines(data_sets):
        print(line, flush=True)
        kept = kept and "(!)" not in line
    print(
        f"\n{data_sets} data sets each, {RESAMPLES} resamples; promised: coverage {COVERED}, false positives {REJECTED}"
    )
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-sets", type=int, default=DATA_SETS)
    sys.exit(0 if main(parser.parse_args().data_sets) else 1)
