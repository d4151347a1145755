"""Paired statistics: agreement with statsmodels and scipy, exact enumeration, properties."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from evalkit.metrics import Metric
from evalkit.statistics import resampling as drawing
from evalkit.statistics.paired import (
    McNemar,
    _swapped_counts,
    difference_intervals,
    discordant_p,
    holm,
    mcnemar,
    paired_tests,
    randomisation_p,
)
from evalkit.statistics.power import paired_power

ACCURACY = Metric("accuracy", "100 * correct / items", higher_is_better=True)
CHAIR_I = Metric("chair_i", "100 * wrong / mentions", higher_is_better=False, role="rate")


def answers(values):
    return np.array([[float(value), 1.0] for value in values])


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 8), (8, 1), (5, 5), (40, 60), (300, 400), (3000, 3500)])
def test_exact_mcnemar_agrees_with_statsmodels(b, c):
    expected = statsmodels_mcnemar([[10, b], [c, 20]], exact=True).pvalue
    assert discordant_p(b, c)[0] == pytest.approx(min(1.0, expected), rel=1e-9)


@pytest.mark.parametrize(("b", "c"), [(1, 8), (40, 60), (5, 6)])
def test_mid_p_counts_the_observed_table_half(b, c):
    assert discordant_p(b, c)[1] == pytest.approx(discordant_p(b, c)[0] - stats.binom.pmf(min(b, c), b + c, 0.5))


@pytest.mark.parametrize(
    ("base", "other", "expected"),
    [
        ([0, 100, 100], [100, 0, 0], McNemar(2, 1, 1.0, 0.625)),
        ([0, np.nan, 100], [0, np.nan, 100], McNemar(0, 0, 1.0, 1.0)),
        ([0, 50], [0, 100], None),
        ([0, np.nan], [0, 100], None),
        ([np.nan], [np.nan], None),
    ],
    ids=["right or wrong", "undefined in both", "not yes or no", "undefined in one", "nothing"],
)
def test_mcnemar_reads_items_that_are_right_or_wrong(base, other, expected):
    assert mcnemar(np.array(base, float), np.array(other, float)) == expected


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_agrees_with_statsmodels(p_values):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


@pytest.mark.parametrize("clusters", [7, 10])
def test_randomisation_agrees_with_the_enumeration_of_all_swaps(clusters):
    rng = np.random.default_rng(clusters)
    mentions = rng.integers(1, 6, (clusters, 2)).astype(float)
    wrong = np.minimum(rng.integers(0, 4, (clusters, 2)) * [1, 2], mentions)
    base, other = (np.stack([wrong[:, run], mentions[:, run]], axis=1) for run in (0, 1))

    def change(swaps):
        keep = np.array(swaps)[:, None] == 0
        first, second = np.where(keep, base, other).sum(axis=0), np.where(keep, other, base).sum(axis=0)
        return 100 * (second[0] / second[1] - first[0] / first[1])

    observed = abs(change([0] * clusters))
    changes = np.array([abs(change(swaps)) for swaps in itertools.product([0, 1], repeat=clusters)])
    exact = np.mean(changes > observed + 1e-9) + np.mean(np.abs(changes - observed) <= 1e-9) / 2
    (p,) = randomisation_p([CHAIR_I], ["wrong", "mentions"], base, other, 40_000, seed=0)
    assert p == pytest.approx(exact, abs=0.01)


def test_randomisation_of_yes_no_items_is_mcnemars_mid_p():
    rng = np.random.default_rng(0)
    base = answers(rng.random(400) < 0.5)
    other = np.where(rng.random((400, 1)) < 0.2, answers(rng.random(400) < 0.65), base)
    b, c = int(np.sum(base[:, 0] > other[:, 0])), int(np.sum(base[:, 0] < other[:, 0]))
    (p,) = randomisation_p([ACCURACY], ["correct", "items"], base, other, 40_000, seed=0)
    assert p == pytest.approx(discordant_p(b, c)[1], abs=0.01)


def test_equal_runs_have_p_one_and_an_interval_of_zero():
    base = answers([0, 1, 1, 0])
    assert randomisation_p([ACCURACY], ["correct", "items"], base, base, 100, seed=0) == [1.0]
    (interval,) = difference_intervals([ACCURACY], ["correct", "items"], base, base, 0.95, 100, "percentile", 0)
    assert (interval.value, interval.low, interval.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_difference_interval_agrees_with_scipy(method):
    rng = np.random.default_rng(1)
    mentions = rng.poisson(6, (300, 2)) + 1.0
    wrong = rng.binomial(mentions.astype(int), rng.beta(1, 5, (300, 1)) * [1.0, 0.7]).astype(float)

    def change(wrong_base, base, wrong_other, other, axis):
        ratio = np.sum(wrong_other, axis=axis) / np.sum(other, axis=axis)
        return 100 * (ratio - np.sum(wrong_base, axis=axis) / np.sum(base, axis=axis))

    columns = (wrong[:, 0], mentions[:, 0], wrong[:, 1], mentions[:, 1])
    expected = stats.bootstrap(
        columns, change, paired=True, vectorized=True, n_resamples=20_000, method=method, rng=np.random.default_rng(2)
    ).confidence_interval
    base, other = (np.stack([wrong[:, run], mentions[:, run]], axis=1) for run in (0, 1))
    (ours,) = difference_intervals([CHAIR_I], ["wrong", "mentions"], base, other, 0.95, 20_000, method, 0)
    assert ours.low == pytest.approx(expected.low, abs=0.04 * (expected.high - expected.low))
    assert ours.high == pytest.approx(expected.high, abs=0.04 * (expected.high - expected.low))


def test_swapping_the_runs_turns_the_sign_and_keeps_the_p_value():
    rng = np.random.default_rng(4)
    base, other = answers(rng.random(80) < 0.5), answers(rng.random(80) < 0.6)
    names = ["correct", "items"]
    (there,) = difference_intervals([ACCURACY], names, base, other, 0.95, 4000, "percentile", 0)
    (back,) = difference_intervals([ACCURACY], names, other, base, 0.95, 4000, "percentile", 0)
    assert back.value == pytest.approx(-there.value)
    assert back.low == pytest.approx(-there.high, abs=1.3)  # the next possible value of 80 items
    p_there = randomisation_p([ACCURACY], names, base, other, 4000, 0)
    assert p_there == pytest.approx(randomisation_p([ACCURACY], names, other, base, 4000, 0), abs=0.03)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(30)))
def test_order_of_items_does_not_matter(order):
    rng = np.random.default_rng(5)
    base, other = answers(rng.random(30) < 0.5), answers(rng.random(30) < 0.6)
    names = ["correct", "items"]
    assert randomisation_p([ACCURACY], names, base, other, 300, 0) == randomisation_p(
        [ACCURACY], names, base[order], other[order], 300, 0
    )


def test_an_undefined_metric_has_no_p_value_and_no_limits():
    nothing = np.zeros((3, 2))
    assert randomisation_p([CHAIR_I], ["wrong", "mentions"], nothing, nothing, 50, 0) == [None]
    (interval,) = difference_intervals([CHAIR_I], ["wrong", "mentions"], nothing, nothing, 0.95, 50, "bca", 0)
    assert interval.value is None


def test_standard_error_of_a_proportion_difference_is_the_textbook_one():
    base, other = answers([1, 0, 1, 1, 0, 0, 1, 1] * 20), answers([1, 1, 1, 0, 1, 0, 1, 1] * 20)
    change = 100 * (other[:, 0] - base[:, 0])
    power = paired_power(ACCURACY, ["correct", "items"], base, other, items=160)
    assert power.standard_error == pytest.approx(stats.sem(change))
    assert power.detectable == pytest.approx((stats.t.ppf(0.975, 159) + 0.841621) * stats.sem(change), rel=1e-5)


def test_four_times_the_items_see_half_the_difference():
    rng = np.random.default_rng(6)
    base, other = answers(rng.random(200) < 0.5), answers(rng.random(200) < 0.6)
    power = paired_power(ACCURACY, ["correct", "items"], base, other, items=1200)
    assert power.items_for(power.detectable) == pytest.approx(1200, abs=1)
    assert power.items_for(power.detectable / 2) == pytest.approx(4800, abs=1)
    assert power.chance(power.detectable) == pytest.approx(0.8, abs=0.001)
    assert power.chance(0) == pytest.approx(0.05, abs=0.002)
    assert power.items_for(0) is None


def test_power_of_one_cluster_is_unknown():
    power = paired_power(ACCURACY, ["correct", "items"], answers([1]), answers([0]), items=1)
    assert (power.standard_error, power.items_for(1.0), power.chance(1.0)) == (None, None, None)


@pytest.mark.parametrize("other", [[0, 1, 1], [1, 1, 1]], ids=["equal runs", "every item better"])
def test_power_is_unknown_where_no_pair_differs_from_another(other):
    base = answers([0, 1, 1]) if other[0] == 0 else answers([0, 0, 0])
    power = paired_power(ACCURACY, ["correct", "items"], base, answers(other), items=3)
    assert (power.detectable, power.items_for(5.0), power.chance(5.0)) == (None, None, None)


def mentions(rng, clusters, share=1):
    """Counts of CHAIR_I per cluster; with a share of 1/3 as means of three responses."""
    spoken = rng.integers(1, 60, clusters)
    return np.stack([rng.integers(0, spoken + 1), spoken], axis=1) * share


@pytest.mark.parametrize("share", [1, 1 / 3, 2.0**18 + 1])
@pytest.mark.parametrize("clusters", [1, 2, 40, 700])
def test_many_pairs_have_the_statistics_that_each_has_alone(clusters, share):
    rng = np.random.default_rng(clusters)
    base, coins = mentions(rng, clusters, share), rng.integers(0, 2, (3 * clusters, 1))
    pairs = [(base, mentions(rng, clusters, share)) for _ in range(3)]
    pairs += [(base, base), (base[:-1], pairs[0][1][:-1])] if clusters > 1 else []
    pairs += [(np.hstack([coins[::-1], np.ones_like(coins)]), np.hstack([coins, np.ones_like(coins)]))]  # few distinct
    names, options = ["wrong", "mentions"], (0.95, 3000, "expanded", 4)
    together = list(paired_tests([CHAIR_I], names, pairs, *options))
    for (ours, theirs), tests in zip(pairs, together, strict=True):
        (alone,) = difference_intervals([CHAIR_I], names, ours, theirs, *options)
        assert tests.p_values == randomisation_p([CHAIR_I], names, ours, theirs, 3000, 4)
        assert tests.intervals[0].value == alone.value
        assert (alone.low is None) == (len(ours) == 1)
        if alone.low is not None:
            assert (tests.intervals[0].low, tests.intervals[0].high) == pytest.approx(
                (alone.low, alone.high), rel=1e-12
            )


def test_mcnemar_counts_every_way_exactly():
    """Both ends of the sum and all between: from none upwards and from half downwards, even and odd totals."""
    for total in (*range(1, 40), 1000, 1001):
        for fewer in {0, 1, total // 4, total // 4 + 1, total // 2 - 1, total // 2} & set(range(total // 2 + 1)):
            at_most = sum(math.comb(total, count) for count in range(fewer + 1))
            ways = math.comb(total, fewer)
            mid_p = 1.0 if 2 * fewer == total else (2 * at_most - ways) / 2**total
            assert discordant_p(total - fewer, fewer) == (min(1.0, 2 * at_most / 2**total), mid_p)


@pytest.mark.parametrize("scale", [1, 1 / 3, 2.0**18 + 1, 2.0**20 + 1])
def test_resampled_sums_are_those_of_the_rows_drawn(scale):
    rows = np.sort(np.random.default_rng(0).integers(0, 60, 50)).astype(float)[:, None] * scale
    (sums,) = drawing.shared_resampled_sums([rows], 200, 9)
    drawn = np.random.default_rng(9).integers(0, 50, size=(200, 50), dtype=np.uint16)
    assert sums[:, 0].tolist() == pytest.approx(rows[drawn, 0].sum(axis=1).tolist(), rel=1e-13)


def test_pairs_of_as_many_clusters_share_their_draws(monkeypatch):
    widths = []

    def counted(rows, *rest, draw=drawing._index_weights):
        widths.append(rows)
        return draw(rows, *rest)

    monkeypatch.setattr(drawing, "_index_weights", counted)
    rng = np.random.default_rng(0)
    pairs = [(mentions(rng, clusters), mentions(rng, clusters)) for clusters in (300, 200, 300, 300)]
    list(paired_tests([CHAIR_I], ["wrong", "mentions"], pairs, 0.95, 100, "expanded", 0))
    assert sorted(widths) == [200, 300]


def test_rows_that_are_alike_are_swapped_by_fair_coins_and_no_others():
    multiplicity = np.array([1, 7, 8, 9, 100, 16])
    blocks = _swapped_counts(multiplicity, 20_000, np.random.default_rng(0))
    counts = np.vstack(list(blocks)).astype(float)
    assert counts.shape == (20_000, len(multiplicity))
    assert (counts.min(axis=0)[:4] == 0).all()
    assert (
        counts.max(axis=0)[:4] == multiplicity[:4]
    ).all()  # every coin is one of the row's, and each falls both ways
    expected = np.array([[stats.binom(n, 0.5).pmf(k) for k in range(101)] for n in multiplicity])
    for column, pmf in zip(counts.T, expected, strict=True):
        observed = np.bincount(column.astype(int), minlength=101) / len(column)
        assert np.abs(observed - pmf).max() < 0.015
    correlations = np.corrcoef(counts.T) - np.eye(len(multiplicity))
    assert np.abs(correlations).max() < 0.04
