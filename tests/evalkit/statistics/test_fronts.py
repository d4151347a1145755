"""A run beside its base cut short: the point on the front, its interval, the verdict."""

import numpy as np
import pytest

from evalkit.metrics import Metric
from evalkit.statistics.fronts import Path, Standing, mixed_at, positions

CHAIR_S = Metric("chair_s", "100 * bad / responses", higher_is_better=False, role="rate")
CHAIR_I = Metric("chair_i", "100 * wrong / mentions", higher_is_better=False, role="rate")
RECALL = Metric("recall", "100 * covered / reference", higher_is_better=True)
NAMES = ("bad", "responses", "covered", "reference", "wrong", "mentions")


def mixed(levels, sums, target):
    sums = np.array([sums], float)[..., None]
    first, last, reached = mixed_at(np.array([levels], float), sums, np.array([target], float))
    return first[0, 0].item(), last[0, 0].item(), bool(reached[0])


@pytest.mark.parametrize(
    ("levels", "sums", "target", "expected"),
    [
        ([0, 60, 70], [0, 4, 10], 65, (7, 7, True)),  # half way
        ([0, 60, 70], [0, 4, 10], 60, (4, 4, True)),  # a cut itself
        ([0, 60, 70], [0, 4, 10], 30, (2, 2, True)),
        ([0, 60, 70], [0, 4, 10], 0, (0, 0, True)),  # an empty response
        ([0, 60, 70], [0, 4, 10], 70.1, (10, 10, False)),  # never reached: all of it
        ([0, 60, 60, 70], [0, 4, 9, 10], 60, (4, 9, True)),  # a sentence that adds nothing: any of the two
        ([0, 60, 60, 70], [0, 4, 9, 10], 59, (4 * 59 / 60, 4 * 59 / 60, True)),
        ([0, 60, 58, 70], [0, 4, 9, 10], 59, (4 * 59 / 60, 4 * 59 / 60, True)),  # one that lowers recall is passed over
        ([0, 60, 70], [0, 4, 10], 60 + 1e-12, (4, 4, True)),  # rounding is no step
    ],
)
def test_the_base_at_a_recall(levels, sums, target, expected) -> None:
    *values, reached = mixed(levels, sums, target)
    assert values == pytest.approx(expected[:2])
    assert reached == expected[2]


def test_between_two_cuts_of_one_recall_a_run_lies_on_the_front() -> None:
    """60 % recall with 4 to 9 of 10 bad: 3 is better, 4, 6 and 9 are on the front, 10 is worse."""
    base = np.zeros((10, 3, len(NAMES)))
    base[..., 1], base[..., 3], base[:, 1:, 2] = 1, 1, 0.6
    base[:4, 1, 0] = base[:9, 2, 0] = 1
    for bad, difference in ((3, -10), (4, 0), (6, 0), (9, 0), (10, 10)):
        other = base[:, 2].copy()
        other[:, 0] = np.arange(10) < bad
        assert standing(base, other).positions[0].difference.value == pytest.approx(difference)


def test_no_recall_gives_no_value() -> None:
    assert np.isnan(mixed([0, 60], [0, 4], np.nan)[0])


def base_counts(rng: np.random.Generator, n: int) -> np.ndarray:
    """A base cut after 0 to 3 sentences: each may cover an object more and, more and more often, make one up."""
    new = rng.random((n, 3)) < (0.8, 0.5, 0.3)
    false = rng.random((n, 3)) < (0.05, 0.15, 0.3)
    covered, wrong = (np.hstack([np.zeros((n, 1)), flags.cumsum(axis=1)]) for flags in (new, false))
    ones = np.ones((n, 4))
    return np.stack([(wrong > 0).astype(float), ones, covered, 3 * ones, wrong, covered + wrong], axis=2)


def standing(base: np.ndarray, other: np.ndarray, metric: Metric = CHAIR_S, **changed) -> Standing:
    paths = [Path("sentences", base), Path("words", base)]
    settings = {"items": len(base), "level": 0.95, "resamples": 2000, "method": "expanded", "seed": 0} | changed
    return positions([metric], RECALL, NAMES, paths, [other], **settings)[0][0]


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
@pytest.mark.parametrize("metric", [CHAIR_S, CHAIR_I])
def test_a_base_cut_short_lies_on_its_own_front(cut: int, metric: Metric) -> None:
    base = base_counts(np.random.default_rng(cut), 300)
    found = standing(base, base[:, cut], metric)
    if cut == 0 and metric is CHAIR_I:  # no mention, no rate of mentions
        assert found.verdict == "undefined"
        return
    assert found.verdict == "on"
    (first, _) = found.positions
    assert first.difference.value == pytest.approx(0, abs=1e-9)
    assert (first.difference.low, first.difference.high) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))


def test_the_point_on_the_front_is_resampled_too() -> None:
    """Beside a fixed point the interval of the same run would be as wide as the run's own rate."""
    base = base_counts(np.random.default_rng(1), 300)
    either = np.where(np.arange(300)[:, None] % 2 == 0, base[:, 1], base[:, 2])
    (position, _) = standing(base, either).positions
    assert position.difference.low is not None
    assert position.difference.high is not None
    own = 2 * 1.96 * 100 * np.sqrt(either[:, 0].mean() * (1 - either[:, 0].mean()) / 300)
    assert position.difference.high - position.difference.low < 0.8 * own


def test_empty_responses_cannot_win() -> None:
    base = base_counts(np.random.default_rng(2), 300)
    mostly_empty = np.where(np.arange(300)[:, None] % 10 < 9, base[:, 0], base[:, 3])
    assert standing(base, base[:, 0]).verdict == "on"
    assert standing(base, mostly_empty).verdict == "behind"


def test_fewer_hallucinations_at_the_same_recall_lie_beyond() -> None:
    base = base_counts(np.random.default_rng(3), 300)
    other = base[:, 3].copy()
    other[::2, [0, 4]] = 0
    found = standing(base, other)
    assert found.verdict == "beyond"
    assert found.positions[0].difference.high < 0
    assert found.positions[0].power.detectable < abs(found.positions[0].difference.value)


def test_more_recall_than_the_base_ever_has_is_a_verdict_of_its_own() -> None:
    base = base_counts(np.random.default_rng(4), 300)
    other = base[:, 3].copy()
    other[:, 2] = 3
    found = standing(base, other)
    assert found.verdict == "outside"
    assert found.positions[0].base == pytest.approx(100 * base[:, 3, 0].mean())  # against all of the base
    assert found.positions[0].difference.value == pytest.approx(0)


def test_beyond_needs_every_front() -> None:
    """A run that only beats the coarser way of stopping is no better than stopping."""
    base = base_counts(np.random.default_rng(5), 300)
    other = base[:, 3].copy()
    other[::2, [0, 4]] = 0
    better = base.copy()
    better[..., [0, 4]] *= 0.3  # another way of cutting, with a third of the hallucinations
    paths = [Path("sentences", base), Path("words", better)]
    (found,) = positions([CHAIR_S], RECALL, NAMES, paths, [other], 300, 0.95, 2000, "expanded", 0)[0]
    assert [position.side for position in found.positions] == [1, -1]
    assert found.verdict == "on"


def test_clusters_are_resampled_together() -> None:
    """Three copies of each response say no more than one."""
    base = base_counts(np.random.default_rng(6), 200)
    other = base[:, 3].copy()
    other[::3, [0, 4]] = 0
    single, tripled = standing(base, other), standing(3 * base, 3 * other, items=600)
    assert tripled.positions[0].difference == single.positions[0].difference


def test_one_item_has_no_interval() -> None:
    base = base_counts(np.random.default_rng(7), 1)
    assert standing(base, base[:, 3]).verdict == "undefined"
