"""Intervals: known answers, agreement with scipy.stats.bootstrap, properties."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evalkit.errors import UsageError
from evalkit.metrics import Metric
from evalkit.statistics import intervals as reading
from evalkit.statistics.intervals import (
    Interval,
    bca_quantiles,
    cluster_sums,
    interval,
    intervals,
    student_t,
)
from evalkit.statistics.resampling import resampled_sums

CHAIR_I = Metric("chair_i", "100 * wrong / mentions", higher_is_better=False, role="rate")
CHAIR_S = Metric("chair_s", "100 * bad / responses", higher_is_better=False, role="rate")
RATING = Metric("rating", "points / responses", higher_is_better=True, unit="points")
F1 = Metric("f1", "200 * tp / (2 * tp + fp + fn)", higher_is_better=True)


def caption_rows(n: int, seed: int = 1) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    mentions = rng.poisson(6, n)
    wrong = rng.binomial(mentions, rng.beta(0.5, 3, n))
    return [
        {"mentions": float(m), "wrong": float(w), "responses": 1, "bad": float(w > 0)}
        for m, w in zip(mentions, wrong, strict=True)
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], Interval(None)),
        ([{"wrong": 1, "mentions": 4}], Interval(25.0)),
        ([{"wrong": 0, "mentions": 0}], Interval(None)),
        ([{"wrong": 0, "mentions": 0}] * 5, Interval(None)),
        ([{"wrong": 0, "mentions": 3}] * 2, Interval(0.0, 0.0, pytest.approx(100 * (1 - 0.025**0.5)), "exact")),
        ([{"wrong": 3, "mentions": 3}] * 2, Interval(100.0, pytest.approx(100 * 0.025**0.5), 100.0, "exact")),
    ],
)
def test_degenerate_data(rows, expected):
    assert interval(CHAIR_I, rows, resamples=100) == expected


def test_one_cluster_has_no_limits():
    rows = caption_rows(10)
    assert interval(CHAIR_I, rows, ["image"] * 10, resamples=50).low is None


def test_mostly_undefined_resamples_have_no_limits():
    rows = [{"wrong": 1, "mentions": 2}, {"wrong": 0, "mentions": 0}, {"wrong": 0, "mentions": 0}]
    assert interval(CHAIR_I, rows, resamples=1000) == Interval(50.0)


def test_a_metric_that_no_row_has_a_value_of_has_no_exact_limits():
    """The harmonic mean of two shares is 0 for a constant answer, and undefined on each single row."""
    harmonic = Metric("h", "200 * tn * tp / (tn * yes + tp * no)", True)
    rows = [{"tp": 1, "yes": 1, "tn": 0, "no": 0}] * 3 + [{"tp": 0, "yes": 0, "tn": 0, "no": 1}] * 3
    found = intervals((harmonic,), rows, [str(n) for n in range(6)])["h"]
    assert (found.value, found.low) == (0.0, None)


def test_exact_limits_count_only_clusters_that_could_have_moved_the_value():
    rows = [{"wrong": 0, "mentions": 2}] * 3 + [{"wrong": 0, "mentions": 0}] * 50
    assert interval(CHAIR_I, rows, resamples=100).high == pytest.approx(100 * (1 - 0.025 ** (1 / 3)))


def test_equal_ratings_give_a_point():
    assert interval(RATING, [{"points": 3, "responses": 1}] * 9, resamples=99) == Interval(3.0, 3.0, 3.0, "expanded")


def test_distribution_is_that_of_all_equally_likely_draws():
    matrix = np.array([[0.0], [1.0], [5.0]])
    sums = resampled_sums(matrix, 60_000, np.random.default_rng(0))[:, 0]
    exact = [sum(draw) for draw in itertools.product([0, 1, 5], repeat=3)]
    for value in set(exact):
        assert np.mean(sums == value) == pytest.approx(exact.count(value) / 27, abs=0.007)


def test_compressed_and_uncompressed_draws_agree():
    """1600 rows with 3 distinct ones take the multinomial path, jittered ones the index path."""
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 3, (1600, 1)).astype(float)
    jittered = rows + rng.uniform(-1e-9, 1e-9, rows.shape)
    few = resampled_sums(rows, 4000, np.random.default_rng(0))[:, 0]
    many = resampled_sums(jittered, 4000, np.random.default_rng(0))[:, 0]
    assert np.mean(few) == pytest.approx(np.mean(many), rel=0.003)
    assert np.std(few) == pytest.approx(np.std(many), rel=0.06)


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize(
    ("metric", "names"), [(CHAIR_I, ("wrong", "mentions")), (CHAIR_S, ("bad", "responses"))], ids=["chair_i", "chair_s"]
)
@pytest.mark.parametrize("n", [96, 300])
def test_agrees_with_scipy(metric, names, n, method):
    rows = caption_rows(n)
    columns = [np.array([row[name] for row in rows]) for name in names]

    def ratio(top, bottom, axis):
        return 100 * np.sum(top, axis=axis) / np.sum(bottom, axis=axis)

    limits = stats.bootstrap(
        columns, ratio, paired=True, vectorized=True, n_resamples=20_000, method=method, rng=np.random.default_rng(5)
    ).confidence_interval
    ours = interval(metric, rows, method=method, resamples=20_000)
    assert ours.method == method
    width = limits.high - limits.low
    assert ours.low == pytest.approx(limits.low, abs=0.04 * width)
    assert ours.high == pytest.approx(limits.high, abs=0.04 * width)


def test_bca_quantiles_agree_with_scipy_to_the_last_digit():
    """Same resampled values, same jackknife: scipy's own limits are quantiles at exactly our shares."""
    data = np.random.default_rng(2).exponential(size=40)
    result = stats.bootstrap((data,), np.mean, method="BCa", n_resamples=3000, rng=np.random.default_rng(1))
    left_out = (data.sum() - data) / 39
    low, high = bca_quantiles(data.mean().item(), result.bootstrap_distribution, left_out, 0.025)
    assert np.quantile(result.bootstrap_distribution, low) == pytest.approx(result.confidence_interval.low, rel=1e-9)
    assert np.quantile(result.bootstrap_distribution, high) == pytest.approx(result.confidence_interval.high, rel=1e-9)


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 15, 95, 1000])
@pytest.mark.parametrize("share", [0.95, 0.975, 0.995])
def test_student_t_agrees_with_scipy(share, degrees):
    assert student_t(share, degrees) == pytest.approx(stats.t.ppf(share, degrees), rel=0.03 if degrees == 3 else 0.005)


def test_few_clusters_get_wider_limits_many_get_the_same():
    few, many = caption_rows(16), caption_rows(3000)
    narrow, wide = interval(CHAIR_I, few, method="percentile"), interval(CHAIR_I, few)
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(2.2 / 1.96, rel=0.04)
    assert interval(CHAIR_I, many).high == pytest.approx(interval(CHAIR_I, many, method="percentile").high, abs=0.01)


@pytest.mark.parametrize(
    ("value", "values", "left_out"),
    [
        (5.0, [1.0, 2.0, 3.0], [1.0, 2.0]),
        (2.0, [1.0, 2.0, 3.0], [1.0, 1.0]),
        (2.0, [1.0, 2.0, 3.0], [1.0, float("nan")]),
    ],
    ids=["value outside the resampled ones", "constant jackknife", "undefined jackknife"],
)
def test_bca_is_refused_where_it_does_not_exist(value, values, left_out):
    assert bca_quantiles(value, np.array(values), np.array(left_out), 0.025) is None


@pytest.mark.parametrize("method", ["expanded", "bca"])
def test_two_clusters_get_the_whole_range_of_their_resamples(method):
    """Student's t with one degree of freedom leaves a tail of 1e-72: no such quantile, and no error either."""
    rows = [{"wrong": 1, "mentions": 4}, {"wrong": 0, "mentions": 4}]
    assert interval(CHAIR_I, rows, method=method) == Interval(12.5, 0.0, 25.0, method)


def test_bca_falls_back_and_says_so():
    rows = [{"points": 3, "responses": 1}] * 9
    assert interval(RATING, rows, method="bca", resamples=99).method == "expanded"


def test_clusters_widen_the_interval_of_alike_rows():
    rows = [{"bad": i % 2, "responses": 1} for i in range(100) for _ in range(6)]
    clusters = [i for i in range(100) for _ in range(6)]
    alone, clustered = interval(CHAIR_S, rows), interval(CHAIR_S, rows, clusters)
    assert (clustered.high - clustered.low) / (alone.high - alone.low) == pytest.approx(6**0.5, rel=0.05)


def test_responses_of_one_item_are_one_cluster():
    """Copies of a response add nothing: the interval of three equal responses per item is that of one."""
    rows = caption_rows(80)
    tripled = [row for row in rows for _ in range(3)]
    ids = [i for i in range(80) for _ in range(3)]
    assert interval(CHAIR_I, tripled, ids) == interval(CHAIR_I, rows)


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_order_of_samples_does_not_matter(random):
    rows = caption_rows(60)
    clusters = [i // 2 for i in range(60)]
    order = random.sample(range(60), 60)
    shuffled = interval(CHAIR_I, [rows[i] for i in order], [clusters[i] for i in order], resamples=200)
    assert shuffled == interval(CHAIR_I, rows, clusters, resamples=200)


def test_same_seed_same_interval_other_seed_nearly():
    rows = caption_rows(300)
    first, other = interval(CHAIR_I, rows), interval(CHAIR_I, rows, seed=1)
    assert interval(CHAIR_I, rows) == first
    assert other != first
    assert other.low == pytest.approx(first.low, abs=0.3)


def test_metrics_share_their_resamples():
    """Computed together: a metric and its complement mirror each other exactly."""
    good = Metric("good", "100 * (responses - bad) / responses", higher_is_better=True)
    both = intervals([CHAIR_S, good], caption_rows(90), resamples=500)
    assert both["good"].low == pytest.approx(100 - both["chair_s"].high)


def test_f1_of_summed_counts_is_not_the_mean_of_f1():
    rows = [{"tp": 1}, {"fp": 1}, {"tp": 3, "fn": 1}]
    assert interval(F1, rows, resamples=50).value == pytest.approx(100 * 8 / 10)


def test_wrong_number_of_clusters_is_an_error():
    with pytest.raises(UsageError, match="2 rows, 1 clusters"):
        cluster_sums(np.ones((2, 1)), ["a"])


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (Interval(8.44, 7.1, 9.8, "bca"), "8.4 [7.1, 9.8]"),
        (Interval(8.44), "8.4"),
        (Interval(None), "-"),
        (Interval(-0.04, -0.2, -0.01), "0.0 [-0.2, 0.0]"),
    ],
)
def test_text(shown, text):
    assert shown.text() == text


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000, 10_000])
def test_quantiles_are_numpys_bit_by_bit(size):
    rng = np.random.default_rng(size)
    ascending = np.sort(rng.normal(size=size))  # in no random order
    for values in (rng.normal(size=size), rng.integers(0, 7, size) / 3, np.full(size, 0.1), ascending, -ascending):
        for shares in ((0.025, 0.975), (0.0248, 0.9752), (1e-72, 1.0), (0.0, 0.5), (0.3, 0.3)):
            assert reading._quantiles(values, shares) == np.quantile(values, shares).tolist()
