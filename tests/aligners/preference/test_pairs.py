"""Pairs files, and how scored candidates become pairs."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aligners.feedback.candidates import Candidate
from aligners.feedback.pairing import IndexPair, enumerate_pairs, keep_judged, pairs_from_scores, sample_per_group
from aligners.preference.pairs import Pair, drop_defective, read_pairs, write_pairs
from evalkit.errors import DataError

PAIR = Pair("1", "a.png", "What?", "A cät.", "A dog.", {"scores": [0, -1]})


def test_a_pairs_file_reads_back_as_written(tmp_path):
    pairs = [PAIR, Pair("2", None, "Why?", "line\nbreak", "", {})]
    assert write_pairs(tmp_path / "pairs.jsonl", pairs) == 2
    assert list(read_pairs(tmp_path / "pairs.jsonl")) == pairs
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


GOOD = {"id": "1", "image": None, "prompt": "p", "chosen": "c", "rejected": "r"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "pairs.jsonl:2: not JSON"),
        ("[]", "pairs.jsonl:2: expected an object"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "chosen"} | {"id": "2"}), "kind: chosen; found: id, image"),
        (json.dumps({**GOOD, "id": 2}), "kind: id;"),
        (json.dumps({**GOOD, "id": "2", "image": 7}), "kind: image;"),
        (json.dumps({**GOOD, "id": "2", "meta": []}), "kind: meta;"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "image"} | {"img": "a.png"}), "kind: image; found: .*img"),
        (json.dumps(GOOD), "pairs.jsonl:2: id '1' occurs twice"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, words):
    (tmp_path / "pairs.jsonl").write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(DataError, match=words):
        list(read_pairs(tmp_path / "pairs.jsonl"))


def test_an_absent_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such pairs file"):
        list(read_pairs(tmp_path / "none.jsonl"))


def test_defective_pairs_are_dropped_and_counted():
    pairs = [
        PAIR,
        Pair("2", None, "p", " ", "x"),
        Pair("3", None, "p", "x", ""),
        Pair("4", None, "p", "same ", "same"),
    ]
    kept, dropped = drop_defective(pairs)
    assert kept == [PAIR]
    assert dropped == {"an empty response": 2, "chosen and rejected are the same text": 1}


def test_pairs_stay_within_their_prompt_and_the_better_one_is_chosen():
    scores = [0, -1, -3, None, 0]
    groups = ["x", "x", "y", "x", "y"]
    assert enumerate_pairs(scores, groups) == [(0, 1), (4, 2)]
    assert enumerate_pairs(scores, groups, min_gap=2) == [(4, 2)]
    assert enumerate_pairs([0, 0], ["x", "x"], min_gap=0) == []  # equal scores are not a preference


@given(st.lists(st.tuples(st.integers(-5, 0), st.sampled_from("xyz")), max_size=12), st.integers(1, 3))
def test_every_sufficient_gap_is_one_pair(rows, gap):
    scores, groups = [s for s, _ in rows], [g for _, g in rows]
    pairs = enumerate_pairs(scores, groups, min_gap=gap)
    expected = {
        (i, j)
        for i in range(len(rows))
        for j in range(len(rows))
        if groups[i] == groups[j] and scores[i] - scores[j] >= gap
    }
    assert set(pairs) == expected
    assert len(pairs) == len(expected)


def test_pairs_with_an_unjudged_side_are_dropped():
    pairs = [IndexPair(0, 1), IndexPair(1, 2), IndexPair(0, 2)]
    assert keep_judged(pairs, [True, False, True]) == [(0, 2)]


def test_sampling_is_seeded_limited_and_independent_of_other_groups():
    groups = ["x"] * 6 + ["y"] * 6
    pairs = enumerate_pairs(list(range(6)) * 2, groups)
    first = sample_per_group(pairs, groups, limit=2, seed=1)
    assert first == sample_per_group(pairs, groups, limit=2, seed=1)
    assert [groups[p.chosen] for p in first] == ["x", "x", "y", "y"]
    alone = sample_per_group([p for p in pairs if groups[p.chosen] == "y"], groups, limit=2, seed=1)
    assert first[2:] == alone
    assert any(sample_per_group(pairs, groups, limit=2, seed=s) != first for s in range(2, 6))
    assert sample_per_group(pairs, groups, limit=99, seed=1) == pairs
    positions = [[pairs.index(p) for p in first[:2]], [pairs.index(p) - len(pairs) // 2 for p in first[2:]]]
    assert positions[0] != positions[1]  # each group has a draw of its own


def test_scored_candidates_become_pairs_and_every_step_is_counted():
    candidates = [
        Candidate(f"{prompt}/{i}", prompt, f"{prompt}.png", "What?", f"{prompt} text {i}", i)
        for prompt in "xy"
        for i in range(4)
    ]
    scores = [0, -1, -1, None, 0, -2, -2, 0]
    judged = [True, True, False, False, True, True, True, True]
    pairs, counts = pairs_from_scores(candidates, scores, judged, min_gap=1, pairs_per_image=2, seed=0)
    assert counts == {
        "candidates": 8,
        "scored": 7,
        "pairs_with_gap": 6,
        "pairs_fully_judged": 5,
        "pairs_sampled": 3,
    }
    meta = {"chosen_score": 0, "rejected_score": -1}
    assert pairs[0] == Pair("x/0>x/1", "x.png", "What?", "x text 0", "x text 1", meta)
    assert {pair.image for pair in pairs[1:]} == {"y.png"}
