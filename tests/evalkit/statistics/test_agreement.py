"""Agreement of a judge with reference verdicts: known tables, properties, bad files."""

import json

import numpy as np
import pytest

from evalkit.analysis.calibration import labels_of_records, read_labels
from evalkit.errors import DataError
from evalkit.statistics.agreement import agreement, cohen_kappa


def pairs(table):
    """Verdicts with that table of (reference, judge) counts."""
    judge, reference = {}, {}
    for i, line in enumerate(table):
        for j, count in enumerate(line):
            for _ in range(count):
                key = (str(len(judge)), 0)
                judge[key], reference[key] = float(j), float(i)
    return judge, reference


def is_flagged(label: float) -> bool:
    return label < 1


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        ([[20, 5], [10, 15]], 0.4),  # the textbook example: observed 0.7, expected 0.5
        ([[10, 0], [0, 10]], 1.0),
        ([[0, 10], [10, 0]], -1.0),
        ([[25, 25], [25, 25]], 0.0),
        ([[45, 15], [25, 15]], 0.1304348),
    ],
)
def test_kappa_of_known_tables(table, kappa):
    found = agreement(*pairs(table), is_flagged, resamples=200)
    assert found.kappa.value == pytest.approx(kappa, abs=1e-6)
    assert found.weighted_kappa.value == pytest.approx(kappa, abs=1e-6)  # two labels: weights change nothing
    assert found.confusion == tuple(map(tuple, table))


@pytest.mark.parametrize("seed", range(5))
def test_kappa_agrees_with_statsmodels(seed):
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    table = np.random.default_rng(seed).integers(0, 20, (7, 7))
    found = agreement(*pairs(table), is_flagged, resamples=50)
    assert found.kappa.value == pytest.approx(inter_rater.cohens_kappa(table, return_results=False))
    weights = np.arange(7.0)
    quadratic = inter_rater.cohens_kappa(table, weights=weights**1, wt="quadratic", return_results=False)
    assert found.weighted_kappa.value == pytest.approx(quadratic)


def test_the_rate_difference_is_the_judges_bias_in_points():
    found = agreement(*pairs([[20, 5], [10, 15]]), is_flagged)
    assert (found.rate_reference, found.rate_judge) == (50.0, 60.0)
    assert found.rate_difference.value == pytest.approx(10.0)
    assert found.rate_difference.low < 10 < found.rate_difference.high
    exact = 1.96 * 100 * np.sqrt(15 / 50 - 0.1**2) / np.sqrt(50)  # McNemar's standard error
    assert found.rate_difference.high - 10 == pytest.approx(exact, rel=0.2)


def test_the_interval_narrows_with_more_pairs():
    small = agreement(*pairs([[20, 5], [10, 15]]), is_flagged).kappa
    large = agreement(*pairs([[200, 50], [100, 150]]), is_flagged).kappa
    assert (large.high - large.low) < (small.high - small.low) / 2
    assert small.low < 0.4 < small.high


def test_perfect_agreement_on_few_responses_is_not_taken_for_certain():
    found = agreement(*pairs([[10, 0], [0, 10]]), is_flagged)
    assert found.observed.value == 100
    assert found.observed.low == pytest.approx(83.2, abs=0.1)  # Clopper-Pearson, 20 of 20
    assert found.kappa.value == 1
    assert found.rate_difference.low is None


def test_a_small_slip_costs_less_weighted_kappa_than_a_large_one():
    near = {(str(n), 0): float(n % 7) for n in range(70)}
    off = [{key: label + (step if label == 0 else 0) for key, label in near.items()} for step in (1, 6)]
    slip, blunder = (agreement(judge, near, is_flagged, resamples=50) for judge in off)
    assert slip.weighted_kappa.value > blunder.weighted_kappa.value
    assert slip.observed.value == blunder.observed.value


def test_only_common_responses_count_and_the_others_are_counted():
    judge, reference = pairs([[3, 0], [0, 3]])
    judge |= {("x", 0): 1.0}
    reference |= {("y", 0): 1.0, ("z", 0): 1.0}
    found = agreement(judge, reference, is_flagged, resamples=10)
    assert (found.n, found.only_judge, found.only_reference) == (6, 1, 2)


def test_a_single_label_leaves_kappa_undefined():
    found = agreement(*pairs([[5]]), is_flagged, resamples=10)
    assert found.kappa.value is None
    assert found.observed.value == 100
    assert np.isnan(cohen_kappa(np.array([[5.0]]), np.zeros((1, 1))))
    assert json.loads(json.dumps(found.as_dict()))["kappa"]["value"] is None
    assert "kappa" in str(found)


def test_the_order_of_responses_does_not_matter():
    judge, reference = pairs([[20, 5], [10, 15]])
    assert agreement(dict(reversed(judge.items())), reference, is_flagged) == agreement(judge, reference, is_flagged)


def test_nothing_in_common_is_an_error():
    with pytest.raises(DataError, match="no response is rated by both: 1 by the judge, 1 by the reference"):
        agreement({("a", 0): 1.0}, {("b", 0): 1.0}, is_flagged)


def test_records_that_could_not_be_scored_have_no_label():
    records = [
        {"id": "a", "sample": 0, "score": {"counts": {"rating": 4}}},
        {"id": "b", "sample": 0, "score": {"counts": None}},
        {"id": "c", "sample": 1, "score": {"counts": {}}},
    ]
    assert labels_of_records(records, lambda counts: counts.get("rating")) == {("a", 0): 4}


def test_labels_are_read_from_a_table(tmp_path):
    (tmp_path / "a.csv").write_text("id,rating\n1,5\n2,0\n")
    assert read_labels(tmp_path / "a.csv") == {("1", 0): 5.0, ("2", 0): 0.0}
    (tmp_path / "a.jsonl").write_text('{"id": 1, "sample": 1, "label": 1}\n')
    assert read_labels(tmp_path / "a.jsonl") == {("1", 1): 1.0}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id,rating\n1,five\n", r"a\.csv:2: 'rating' must be a number"),
        ("id,rating\n1,nan\n", r"a\.csv:2: 'rating' must be a number"),
        ("id,rating\n1,5\n1,5\n", r"a\.csv:3: item '1' has a second verdict"),
        ("rating\n5\n", r"a\.csv:2: no field 'id'"),
        ("id,text\n5,a\n", r"a\.csv:2: no field 'rating'"),
        ("id,rating,sample\n5,1,x\n", r"a\.csv:2: 'sample' must be"),
    ],
)
def test_bad_labels_are_named_with_file_and_line(tmp_path, text, problem):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=problem):
        read_labels(tmp_path / "a.csv")
