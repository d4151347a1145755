"""Which numbers of a training log become curves."""

from dashboard.frames.training import constants, curves, iterations_table

STEPS = [{"step": step, "loss": 1 / step, "responses": 128, "kl": 0.0, "token_kl": 0.1 * step} for step in (1, 2, 3)]


def test_what_never_changes_is_a_number_not_a_curve():
    drawn = {title: set(points["name"]) for title, points in curves(STEPS)}
    assert drawn == {"loss": {"loss"}, "KL": {"token_kl"}}
    assert constants(STEPS) == {"responses": 128.0, "kl": 0.0}


def test_the_only_step_is_drawn():
    assert [title for title, _ in curves(STEPS[:1])] == ["loss", "KL", "responses"]


def test_each_iteration_has_a_line_of_its_own():
    steps = [row | {"iteration": number} for number in (1, 2) for row in STEPS]
    (_, loss), *_ = curves(steps)
    assert set(loss["name"]) == {"loss, iteration 1", "loss, iteration 2"}


def test_iterations_stand_beside_one_another():
    rows = [{"iteration": 1, "pairs": 5, "skipped": {"x": 1}}, {"iteration": 2, "pairs": 3, "score": 0.5}]
    table = iterations_table(rows).set_index("")
    assert list(table.columns) == ["iteration 1", "iteration 2"]
    assert list(table.loc["pairs"]) == [5, 3]
    assert set(table.index) == {"pairs", "score"}
