"""Token weights from the diff."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aligners.changed import CORRECTED_DIFF, REFERENCE_DIFF, DiffSettings, changed_spans, token_weights

words = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=25)
settings_used = st.builds(
    DiffSettings,
    min_match_size=st.integers(1, 4),
    autojunk=st.booleans(),
    one_sided=st.booleans(),
    keep_edges=st.booleans(),
)


def changed(rejected: str, chosen: str, settings: DiffSettings) -> tuple[list[str], list[str]]:
    left, right = rejected.split(), chosen.split()
    spans = changed_spans(left, right, settings)
    return [left[i] for s in spans for i in s.rejected], [right[i] for s in spans for i in s.chosen]


TAIL = "There is also a dog"


@pytest.mark.parametrize(
    ("rejected", "chosen", "reference", "corrected"),
    [
        # one word replaced
        ("a red bus on the road", "a blue bus on the road", (["a red"], ["a blue"]), (["red"], ["blue"])),
        # a sentence deleted in the middle: the released code gives it no weight
        (f"one two three {TAIL} four five six", "one two three four five six", ([], []), ([TAIL], [])),
        # and none to an insertion
        ("one two three four five six", f"one two three {TAIL} four five six", ([], []), ([], [TAIL])),
        # a deletion just before a short common end fuses with it in the released code
        (f"one two three {TAIL} . </s>", "one two three . </s>", ([f"{TAIL} . </s>"], [". </s>"]), ([TAIL], [])),
        # a short island inside an edited region belongs to the correction in both
        (
            "p q r the s t u v",
            "p q r2 the s2 t u v",
            (["p q r the s"], ["p q r2 the s2"]),
            (["r the s"], ["r2 the s2"]),
        ),
        ("same text here", "same text here", ([], []), ([], [])),
        ("", "all new words", ([], []), ([], ["all new words"])),
    ],
)
def test_reference_and_corrected_diff_on_cases_checked_by_hand(rejected, chosen, reference, corrected):
    for expected, settings in ((reference, REFERENCE_DIFF), (corrected, CORRECTED_DIFF)):
        assert changed(rejected, chosen, settings) == tuple(" ".join(e).split() for e in expected)


def test_popular_tokens_can_start_a_match_unless_the_heuristic_is_on():
    head = [f"w{i}" for i in range(120)]
    rejected = [*head, *["a"] * 3, "x", *["a"] * 80]
    chosen = [*head, *["a"] * 3, "y", "z", "z2", *["a"] * 80]
    assert len(chosen) >= 200
    exact = changed_spans(rejected, chosen)
    assert [(list(s.rejected), list(s.chosen)) for s in exact] == [([123], [123, 124, 125])]
    heuristic = changed_spans(rejected, chosen, REFERENCE_DIFF)
    assert sum(len(s.chosen) for s in heuristic) > 3


def test_prepending_the_same_prompt_changes_no_response_weight():
    prompt, left, right = ["P"] * 7, ["a", "red", "bus", "on", "the", "road"], ["a", "blue", "bus", "on", "the", "road"]
    assert token_weights([*prompt, *left], [*prompt, *right], 5.0)[0][7:] == token_weights(left, right, 5.0)[0]


def test_min_match_size_must_be_positive():
    with pytest.raises(ValueError, match="min_match_size"):
        DiffSettings(min_match_size=0)


@given(words, words, settings_used)
def test_unchanged_tokens_are_common_to_both_and_in_order(left, right, settings):
    spans = changed_spans(
        left, right, DiffSettings(settings.min_match_size, settings.autojunk, True, settings.keep_edges)
    )
    rest_left = [t for i, t in enumerate(left) if not any(i in s.rejected for s in spans)]
    rest_right = [t for i, t in enumerate(right) if not any(i in s.chosen for s in spans)]
    assert rest_left == rest_right


@given(words, st.integers(1, 30))
def test_identical_responses_have_no_changed_token(text, min_match_size):
    assert changed_spans(text, text, DiffSettings(min_match_size)) == []


def test_the_reference_diff_calls_identical_texts_below_the_match_size_changed():
    assert changed("a b", "a b", REFERENCE_DIFF) == (["a", "b"], ["a", "b"])


@given(words, words, settings_used)
def test_gamma_one_weights_every_token_once(left, right, settings):
    assert token_weights(left, right, 1.0, settings) == ([1.0] * len(left), [1.0] * len(right))


@given(words, words)
def test_corrected_spans_lie_inside_reference_spans_where_both_sides_changed(left, right):
    """Keeping edges only ever shrinks a two-sided correction."""
    wide = changed_spans(left, right, DiffSettings(autojunk=False, one_sided=True, keep_edges=False))
    narrow = changed_spans(left, right, DiffSettings(autojunk=False, one_sided=True, keep_edges=True))
    assert {i for s in narrow for i in s.rejected} <= {i for s in wide for i in s.rejected}
    assert {i for s in narrow for i in s.chosen} <= {i for s in wide for i in s.chosen}
