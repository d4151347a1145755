"""Sums under bootstrap resamples: what is shared or remembered changes no number."""

import numpy as np
import pytest

from evalkit.statistics import resampling as drawing
from evalkit.statistics.resampling import resampled_sums


def test_draws_of_as_many_rows_are_made_once_and_those_of_very_many_not_kept(monkeypatch):
    """What is remembered changes no number: another seed, other rows or another number of resamples draw anew."""
    made = []

    def counted(rows, *rest, draw=drawing._index_weights):
        made.append(rows)
        return draw(rows, *rest)

    monkeypatch.setattr(drawing, "_index_weights", counted)
    drawing._remembered_weights.cache_clear()
    matrix, other = np.random.default_rng(1).normal(size=(2, 70, 3))
    (first,), (second,) = (drawing.shared_resampled_sums([one], 500, 3) for one in (matrix, other))
    assert made == [70]
    assert np.array_equal(first, resampled_sums(matrix, 500, np.random.default_rng(3)))
    assert np.array_equal(second, resampled_sums(other, 500, np.random.default_rng(3)))
    made.clear()
    (again,) = drawing.shared_resampled_sums([matrix], 500, 4)
    assert made == [70]
    assert not np.array_equal(again, first)
    monkeypatch.setattr(drawing, "REMEMBERED", 70 * 500 - 1)
    (same,) = drawing.shared_resampled_sums([matrix], 500, 3)
    assert np.array_equal(same, first)
    assert made == [70, 70]


@pytest.mark.parametrize("shape", [(200, 3), (50, 1), (40, 60), (1, 4), (0, 2)])
@pytest.mark.parametrize(
    "values",
    [range(3), range(-4, 5), (0.5, 1.0), (0.0, 2.0**60), (0.0, -(2.0**52), 2.0**52), (-0.0, 0.0, 1.0)],
    ids=str,
)
def test_distinct_rows_are_those_of_numpy(shape, values):
    matrix = np.random.default_rng(2).choice(np.array(values, dtype=float), size=shape)
    rows, multiplicity = drawing.distinct_rows(matrix)
    expected, counts = np.unique(matrix, axis=0, return_counts=True)
    assert np.array_equal(rows, expected)
    assert np.array_equal(multiplicity, counts)


def test_rows_that_differ_in_the_last_of_many_columns_are_distinct():
    matrix = np.repeat(np.random.default_rng(3).integers(0, 9, (1, 60)).astype(float), 4, axis=0)
    matrix[:, 59], matrix[0, 0] = [2, 1, 0, 1], 8 + matrix[0, 0]  # more combinations than a double tells apart
    rows, multiplicity = drawing.distinct_rows(matrix)
    expected, counts = np.unique(matrix, axis=0, return_counts=True)
    assert np.array_equal(rows, expected)
    assert multiplicity.tolist() == counts.tolist() == [1, 2, 1]
