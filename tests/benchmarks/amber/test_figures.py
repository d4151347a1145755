import pytest

from benchmarks.amber.figures import amber_score, official_figures

ALL = ("generative", "existence", "attribute", "relation")


def answers(questions=0, no_questions=0, correct=0, said_no=0, found_no=0):
    return {
        "questions": questions,
        "no_questions": no_questions,
        "correct": correct,
        "said_no": said_no,
        "found_no": found_no,
    }


def test_nothing_at_all_prints_zeros_and_hal_100():
    figures = official_figures({}, ALL)
    assert list(figures) == ["g", "d", "de", "da", "state", "number", "action", "dr"]
    assert figures["g"] == {"CHAIR": 0.0, "Cover": 0.0, "Hal": 100.0, "Cog": 0.0}
    assert all(set(block.values()) == {0.0} for name, block in figures.items() if name != "g")


@pytest.mark.parametrize(
    ("dimensions", "blocks"),
    [
        (("generative",), ["g"]),
        (("existence",), ["de"]),
        (("attribute",), ["da", "state", "number", "action"]),
        (("relation",), ["dr"]),
        (("existence", "relation"), ["de", "dr"]),
        (("existence", "attribute", "relation"), ["d", "de", "da", "state", "number", "action", "dr"]),
    ],
)
def test_each_dimension_prints_its_blocks(dimensions, blocks):
    assert list(official_figures({}, dimensions)) == blocks


def test_each_pooled_type_brings_its_own_seed():
    one = answers(1, 1, 1, 1, 1)
    figures = official_figures({"state": one}, ("attribute",))
    assert figures["state"]["Accuracy"] == 99.9  # 1 / 1.001
    assert figures["da"]["Accuracy"] == 99.7  # 1 / 1.003


def test_f1_comes_from_rounded_precision_and_recall():
    sums = answers(questions=9, no_questions=7, correct=5, said_no=6, found_no=3)  # P 49.99 -> 50.0, R 42.85 -> 42.9
    figures = official_figures({"existence": sums, "relation": sums}, ("existence", "relation"))
    assert figures["dr"] == {"Accuracy": 55.5, "Precision": 50.0, "Recall": 42.9, "F1": 46.2}
    assert figures["de"]["F1"] == 46.1  # existence has the larger constant in its denominator


def test_f1_of_nothing_said_no_is_zero():
    block = official_figures({"relation": answers(questions=4, no_questions=2, correct=2)}, ("relation",))["dr"]
    assert block == {"Accuracy": 50.0, "Precision": 0.0, "Recall": 0.0, "F1": 0.0}


def test_another_reading_has_counts_of_its_own():
    sums = {"questions": 2, "no_questions": 1, "correct": 0, "correct_word": 2, "said_no_word": 1, "found_no_word": 1}
    assert official_figures({"relation": sums}, ("relation",))["dr"]["Accuracy"] == 0.0
    assert official_figures({"relation": sums}, ("relation",), "_word")["dr"]["Accuracy"] == 100.0


@pytest.mark.parametrize(("chair", "f1", "score"), [(5.6, 72.3, 83.35), (4.6, 87.4, 91.4), (0.0, 79.7, 89.85)])
def test_amber_score_is_the_mean_of_both_halves(chair, f1, score):
    assert amber_score({"g": {"CHAIR": chair}, "d": {"F1": f1}}) == score


def test_amber_score_needs_both_halves():
    assert amber_score({"g": {"CHAIR": 1.0}}) is None
    assert amber_score({"d": {"F1": 1.0}}) is None
