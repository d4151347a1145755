"""Comparing runs: unlike is refused by name, only items scored in both count, silence is not progress."""

from dataclasses import astuple
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from evalkit.analysis.comparison import compare
from evalkit.errors import UsageError
from evalkit.metrics import Metric
from evalkit.runs.run import Run

CHAIR_S = Metric("chair_s", "100 * bad / responses", higher_is_better=False, role="rate")
RECALL = Metric("recall", "100 * covered / references", higher_is_better=True)
WORDS = Metric("words", "words / responses", higher_is_better=None, unit="words", role="length")
TEXT = "A man walks two dogs along the street and there is a car."


def counts(bad, covered=3, words=12):
    return {"bad": bad, "responses": 1, "covered": covered, "references": 4, "words": words}


def run(label, samples, path=None, **manifest):
    """`samples`: counts, or None for a failed one, or (id, sample, counts, group, cluster)."""
    rows = []
    for index, given in enumerate(samples):
        name, number, own, group, cluster = given if isinstance(given, tuple) else (str(index), 0, given, None, "")
        failed = own is None
        rows.append(
            {
                "id": name,
                "sample": number,
                "question": "Describe this image.",
                "prompt": "Describe this image.",
                "groups": {"kind": group} if group else {},
                "cluster": cluster,
                "response": {
                    "text": None if failed else f"{TEXT} {index}",
                    "failure": "x" if failed else None,
                    "finish": "stop",
                },
                "score": {"counts": own, "failure": "generation: x" if failed else None},
            }
        )
    metrics = [metric.as_dict() for metric in (CHAIR_S, RECALL, WORDS)]
    return Run({"benchmark": "toy", "label": label, "metrics": metrics, **manifest}, rows, path=path)


MANIFEST = {
    "evalkit": "0.1.0",
    "prompts": "p1",
    "ids": "i1",
    "images": "m1",
    "items": 4,
    "sampling": {"max_new_tokens": 512, "temperature": 0.0, "num_beams": 1},
    "settings": {"variant": "pos_lemma", "similarity": "spacy", "data": "d1"},
    "judge": {"model": "judge-1", "prompt": "j1"},
}
FOUR = [counts(i % 2) for i in range(4)]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("prompts", {"prompts": "p2"}),
        ("max", {"sampling": {"max_new_tokens": 64, "temperature": 0.0, "num_beams": 1}}),
        ("T", {"sampling": {"max_new_tokens": 512, "temperature": 1.0, "num_beams": 1}}),
        ("variant", {"settings": {"variant": "singularize", "similarity": "spacy", "data": "d1"}}),
        ("similarity", {"settings": {"variant": "pos_lemma", "similarity": "identity", "data": "d1"}}),
        ("data", {"settings": {"variant": "pos_lemma", "similarity": "spacy", "data": "d2"}}),
        ("judge", {"judge": {"model": "judge-2", "prompt": "j1"}}),
        ("judge.prompt", {"judge": {"model": "judge-1", "prompt": "j2"}}),
        ("ids", {"ids": "i2"}),
        ("n", {"items": 3}),
        ("images", {"images": "m2"}),
        ("v", {"evalkit": "0.2.0"}),
        ("benchmark", {"benchmark": "other"}),
    ],
)
def test_one_setting_that_differs_is_refused_and_named(field, change):
    base, other = run("a", FOUR, **MANIFEST), run("b", FOUR, **{**MANIFEST, **change})
    with pytest.raises(UsageError, match=rf"not measured alike: {field}[ :]"):
        compare(base, other)
    (pair,) = compare(base, other, force=True, resamples=50).pairs
    assert [difference.field for difference in pair.differing] == [field]
    assert compare(base, other, allow=[field], resamples=50).pairs[0].differing == pair.differing


def test_a_formula_that_differs_is_refused():
    other = run("b", FOUR)
    other.manifest["metrics"][0]["formula"] = "100 * bad / references"
    with pytest.raises(UsageError, match="formula of chair_s"):
        compare(run("a", FOUR), other)


@pytest.mark.parametrize("change", [{"model": {"model": "m", "dtype": "float16"}}, {"versions": {"torch": "3"}}])
def test_other_models_may_be_compared(change):
    assert compare(run("a", FOUR, **MANIFEST), run("b", FOUR, **MANIFEST, **change), resamples=50).pairs[0].items == 4


def test_only_items_scored_in_both_count():
    base = run("a", [counts(1), counts(0), None, counts(0)])
    other = run("b", [counts(0), counts(0), counts(1), None])
    (pair,) = compare(base, other, resamples=100).pairs
    assert (pair.items, pair.n_base, pair.n_other, pair.total) == (2, 3, 3, 4)
    chair_s = pair.effects[0]
    assert (chair_s.base, chair_s.other, chair_s.difference.value) == (50.0, 0.0, -50.0)
    assert (chair_s.better, chair_s.worse, chair_s.unchanged) == (1, 0, 1)


def test_an_item_weighs_the_same_however_many_of_its_responses_were_scored():
    base = run("a", [("x", 0, counts(1), None, ""), ("x", 1, counts(1), None, ""), ("y", 0, counts(0), None, "")])
    other = run("b", [("x", 0, counts(1), None, ""), ("y", 0, counts(0), None, ""), ("y", 1, counts(1), None, "")])
    chair_s = compare(base, other, resamples=50).pairs[0].effects[0]
    assert (chair_s.base, chair_s.other) == (50.0, 75.0)


def test_effects_are_found_and_corrected_together():
    rng = np.random.default_rng(0)
    bad = rng.random(400) < 0.5
    base = run("base", [counts(int(b)) for b in bad])
    fewer = run("fewer", [counts(int(b and i % 3 > 0)) for i, b in enumerate(bad)])
    same = run("same", [counts(int(b)) for b in bad])
    comparison = compare(base, fewer, same, resamples=2000)
    found = {pair.other: pair.effects[0] for pair in comparison.pairs}
    assert found["fewer"].verdict() == "better"
    assert found["fewer"].difference.high < 0
    assert found["fewer"].mcnemar.only_other == 0
    assert found["same"].verdict() == "no difference shown"
    assert comparison.tests == 6
    assert found["fewer"].p_holm == pytest.approx(6 * found["fewer"].p)


def test_against_all_compares_every_two():
    comparison = compare(*(run(name, FOUR) for name in "abc"), against="all", resamples=50)
    assert [(pair.base, pair.other) for pair in comparison.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]


@pytest.mark.parametrize(
    "scored",
    [
        (range(60), range(60), range(20, 90), range(59, -1, -1), range(60)),  # the same, others, in another order
        (range(60), range(10, 70), range(20, 50)),  # the same are shared by two bases
    ],
)
def test_a_pair_is_the_same_beside_other_pairs(scored, monkeypatch):
    rng = np.random.default_rng(4)

    def sampled(label, items, samples=1):
        return run(
            label,
            [
                (str(i), n, counts(int(rng.random() < 0.4), int(rng.integers(5))), "ab"[i % 2], f"image{i // 3}")
                for i in items
                for n in range(samples)
            ],
        )

    runs = [sampled(f"run {number}", items, number % 3 or 1) for number, items in enumerate(scored)]
    monkeypatch.setattr("evalkit.analysis.comparison.PAIRS_AT_ONCE", 3)
    together = {(pair.base, pair.other): pair for pair in compare(*runs, against="all", resamples=500).pairs}
    assert len(together) == len(runs) * (len(runs) - 1) / 2
    for first, second in combinations(runs, 2):
        pair, (alone,) = together[first.label, second.label], compare(first, second, resamples=500).pairs
        assert (pair.items, pair.n_base, pair.n_other, pair.total) == (
            alone.items,
            alone.n_base,
            alone.n_other,
            alone.total,
        )
        assert list(pair.groups["kind"]) == list(alone.groups["kind"])
        for name in ("", "a", "b"):
            both = [one.groups["kind"][name] if name else one.effects for one in (pair, alone)]
            for effect, own in zip(*both, strict=True):
                assert (effect.base, effect.other, effect.p, effect.power) == (own.base, own.other, own.p, own.power)
                assert astuple(effect.difference)[:3] == pytest.approx(astuple(own.difference)[:3], rel=1e-12)


def test_a_group_that_an_item_has_no_value_of_leaves_it_out():
    base, other = (
        run(name, [(str(i), 0, counts(i % 2), [None, "x", 7][i % 3], "") for i in range(30)]) for name in "ab"
    )
    groups = compare(base, other, resamples=100).pairs[0].groups["kind"]
    assert {value: effects[0].power.items for value, effects in groups.items()} == {"x": 10, "7": 10}


def test_a_better_rate_with_a_fallen_recall_is_called_out():
    rng = np.random.default_rng(1)
    bad = rng.random(300) < 0.5
    base = run("base", [counts(int(b), covered=3) for b in bad])
    quiet = run("quiet", [counts(0, covered=1) for _ in bad])
    (pair,) = compare(base, quiet, resamples=1000).pairs
    (warning,) = pair.warnings
    assert "may come from saying less" in warning
    assert "recall -50.0" in warning


def test_a_difference_from_nothing_is_undefined():
    nothing = [counts(0) | {"references": 0}] * 4
    recall = compare(run("a", FOUR), run("b", nothing), resamples=50).pairs[0].effects[1]
    assert (recall.base, recall.other, recall.verdict()) == (75.0, None, "undefined")


@pytest.mark.filterwarnings("error")
def test_an_item_without_a_value_of_its_own_is_neither_better_nor_worse_nor_the_same():
    undefined = counts(0) | {"references": 0}
    base, other = run("a", [undefined, counts(0), counts(0)]), run("b", [undefined, counts(0), counts(0, covered=4)])
    recall = compare(base, other, resamples=50).pairs[0].effects[1]
    assert (recall.better, recall.worse, recall.unchanged) == (1, 0, 1)


@pytest.mark.filterwarnings("error")
def test_a_metric_that_no_item_has_by_itself_is_compared_without_a_warning():
    halves = [counts(0) | {"references": 0}, counts(0) | {"covered": 0, "responses": 0, "words": 0}]
    both = Metric("both", "100 * covered / references + 100 * bad / responses", higher_is_better=True)
    base, other = run("a", halves), run("b", halves)
    for own in (base, other):
        own.manifest["metrics"].append(both.as_dict())
    effect = compare(base, other, resamples=50).pairs[0].effects[-1]
    assert (effect.better, effect.worse, effect.unchanged, effect.mcnemar) == (None, None, None, None)


def test_length_has_no_better_direction():
    base, longer = run("a", [counts(0, words=10)] * 50), run("b", [counts(0, words=20)] * 50)
    words = compare(base, longer, resamples=500).pairs[0].effects[2]
    assert (words.better, words.verdict()) == (None, "differs")


def test_verdicts_follow_the_level_of_the_comparison():
    base, other = run("a", [counts(1)] * 12 + [counts(0)] * 28), run("b", [counts(0)] * 7 + [counts(1)] * 33)
    strict, lenient = (
        compare(base, other, metrics=["chair_s"], level=level, resamples=2000).pairs[0].effects[0]
        for level in (1 - 1e-9, 0.9)
    )
    assert strict.p_holm == lenient.p_holm < 0.01
    assert (strict.verdict(), lenient.verdict()) == ("no difference shown", "worse")


def test_groups_are_compared_by_themselves():
    base = run("a", [(str(i), 0, counts(1), "even" if i % 2 == 0 else "odd", "") for i in range(40)])
    other = run("b", [(str(i), 0, counts(i % 2), "even" if i % 2 == 0 else "odd", "") for i in range(40)])
    groups = compare(base, other, resamples=500).pairs[0].groups["kind"]
    assert groups["even"][0].difference.value == -100
    assert groups["odd"][0].difference.value == 0
    assert groups["even"][0].power.items == 20


def test_items_of_one_image_stay_together():
    rng = np.random.default_rng(2)
    effect = np.repeat(rng.random(60) < 0.3, 6)
    base = run("a", [(str(i), 0, counts(1), None, f"image{i // 6}") for i in range(360)])
    other = run("b", [(str(i), 0, counts(int(not e)), None, f"image{i // 6}") for i, e in enumerate(effect)])
    alone = run("b", [(str(i), 0, counts(int(not e)), None, str(i)) for i, e in enumerate(effect)])
    clustered = compare(base, other, resamples=2000).pairs[0].effects[0]
    independent = compare(run("a", [counts(1)] * 360), alone, resamples=2000).pairs[0].effects[0]
    assert clustered.power.clusters == 60
    ratio = clustered.power.standard_error / independent.power.standard_error
    assert ratio == pytest.approx(6**0.5, rel=0.01)
    assert clustered.difference.high - clustered.difference.low > 2 * (
        independent.difference.high - independent.difference.low
    )


def test_alternative_readings_are_compared_on_request_only():
    strict = Metric("recall_strict", "100 * covered / references", higher_is_better=True, detail=True)
    runs = [run(label, FOUR, metrics=[CHAIR_S.as_dict(), strict.as_dict()]) for label in "ab"]
    assert [effect.metric.name for effect in compare(*runs, resamples=50).pairs[0].effects] == ["chair_s"]
    chosen = compare(*runs, metrics=["recall_strict"], resamples=50).pairs[0].effects
    assert [effect.metric.name for effect in chosen] == ["recall_strict"]


@pytest.mark.filterwarnings("error")
def test_a_metric_that_no_item_has_by_itself_is_compared_without_mcnemar():
    """Balanced accuracy: every item is a positive or a negative one, only together they have both rates."""
    balanced = Metric("balanced", "50 * hits / positives + 50 * refusals / negatives", higher_is_better=True)

    def answers(label, right):
        own = [{"hits": r, "positives": 1} if i % 2 else {"refusals": r, "negatives": 1} for i, r in enumerate(right)]
        return run(label, own, metrics=[balanced.as_dict()])

    (effect,) = compare(answers("a", [0, 1, 0, 0]), answers("b", [1, 1, 1, 0]), resamples=50).pairs[0].effects
    assert (effect.base, effect.other, effect.mcnemar, effect.unchanged) == (25.0, 75.0, None, None)


def test_same_labels_are_told_apart(tmp_path):
    runs = [run("llava", FOUR, tmp_path / name / "chair") for name in ("greedy", "beam5")]
    (pair,) = compare(*runs, resamples=50).pairs
    assert (pair.base, pair.other) == ("llava (greedy/chair)", "llava (beam5/chair)")
    deep = [run("llava", FOUR, Path(name, "runs/llava/chair")) for name in ("monday", "tuesday")]
    (pair,) = compare(*deep, resamples=50).pairs
    assert pair.base == "llava (monday/runs/llava/chair)"
    (pair,) = compare(deep[0], deep[0], resamples=50).pairs
    assert (pair.base, pair.other) == ("llava #1", "llava #2")


@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        ([run("a", FOUR)], {}, "at least two runs"),
        ([run("a", FOUR), run("b", FOUR)], {"metrics": ["cover"]}, "cover; shared: chair_s, recall, words"),
        ([run("a", FOUR), run("b", [None] * 4)], {}, "share no scored item"),
        (
            [run("a", FOUR), run("b", FOUR, benchmark="pope", items=9)],
            {},
            "alike: benchmark: toy against pope. Run them",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(runs, options, message):
    with pytest.raises(UsageError, match=message):
        compare(*runs, **options)
