"""Agreement between people, against published examples and by hand."""

import numpy as np
import pytest

from evalkit.errors import DataError
from evalkit.statistics.raters import cohen, krippendorff

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", nominal data of four observers: alpha 0.743
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def test_alpha_agrees_with_the_papers_example():
    assert krippendorff(OBSERVERS).value == pytest.approx(0.743, abs=5e-4)


def test_kappa_by_hand():
    # 45 yes/yes, 15 yes/no, 25 no/yes, 15 no/no: observed 0.60, by chance 0.54
    first = ["yes"] * 60 + ["no"] * 40
    second = ["yes"] * 45 + ["no"] * 15 + ["yes"] * 25 + ["no"] * 15
    assert cohen(first, second).value == pytest.approx((0.60 - 0.54) / 0.46)


def test_perfect_and_reversed():
    labels = [True, False] * 10
    assert cohen(labels, labels).value == 1.0
    assert cohen(labels, [not label for label in labels]).value == pytest.approx(-1.0)
    assert krippendorff([labels, labels, labels]).value == 1.0


@pytest.mark.parametrize("ratings", [[[1, 1, 1], [1, 1, 1]], [[None, None], [1, 2]], [[1], [None]]])
def test_without_variation_or_a_pair_there_is_no_value(ratings):
    assert krippendorff(ratings).value is None
    assert cohen(*ratings).value is None


def test_units_of_one_cluster_are_drawn_together():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 2, 40)
    first = np.repeat(image, 10).tolist()
    second = np.repeat(np.where(rng.random(40) < 0.3, 1 - image, image), 10).tolist()
    clusters = np.repeat(np.arange(40), 10).tolist()
    free, tied = krippendorff([first, second]), krippendorff([first, second], clusters)
    assert free.value == tied.value
    assert tied.high - tied.low > 2 * (free.high - free.low)


def test_the_interval_covers_the_value_and_the_seed_decides():
    ratings = [[1, 2, 1, 2, 1, 1, 2, 2] * 4, [1, 2, 1, 1, 1, 2, 2, 2] * 4]
    found = krippendorff(ratings)
    assert found.low < found.value < found.high
    assert found == krippendorff(ratings)


def test_raters_need_as_many_labels_as_there_are_units():
    with pytest.raises(DataError, match="2 units"):
        krippendorff([[1, 2], [1]])
