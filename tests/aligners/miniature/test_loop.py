"""Packing, the masked loss and the training loop."""

import math

import pytest
import torch
from torch import nn

from aligners.miniature.loop import Schedule, fit, hidden_states, response_loss
from aligners.training.logprobs import IGNORE
from aligners.training.packing import Row, Segment, block_mask, pack
from evalkit.errors import TrainingError

ROW = Row([7, 8], [Segment([1, 2], [3, 4], weight=5.0), Segment([5], [6])])


def test_pack_lays_out_prefix_and_segments():
    batch = pack([ROW], pad_id=0)
    assert batch.input_ids.tolist() == [[7, 8, 1, 2, 3, 4, 5, 6]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 5, 2, 3]]
    assert batch.labels.tolist() == [[IGNORE, IGNORE, IGNORE, IGNORE, 3, 4, IGNORE, 6]]
    assert batch.weights.tolist() == [[0, 0, 0, 0, 5, 5, 0, 1]]


def test_pack_pads_shorter_rows_on_the_right():
    batch = pack([ROW, Row([7], [Segment([1], [2])])], pad_id=9)
    assert batch.input_ids[1].tolist() == [7, 1, 2, 9, 9, 9, 9, 9]
    assert batch.labels[1].tolist() == [IGNORE, IGNORE, 2] + [IGNORE] * 5


def test_a_segment_sees_the_prefix_and_itself_only():
    mask = block_mask(torch.tensor([[0, 1, 1, 2, -1]]))[0, 0].int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [1, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("rows", [[], [Row([1], [])], [ROW, Row([1], [Segment([2], [])])]])
def test_a_row_without_a_response_is_an_error(rows):
    with pytest.raises(TrainingError, match="at least one segment"):
        pack(rows, pad_id=0)


def test_response_loss_is_the_weighted_mean_over_response_tokens():
    # The head shows the hidden state as logits over two tokens: position t predicts label t + 1.
    hidden = torch.tensor([[[0.0, 0.0], [math.log(3), 0.0], [9.0, 9.0]]])
    labels = torch.tensor([[IGNORE, 1, 0]])
    weights = torch.tensor([[0.0, 1.0, 3.0]])
    expected = (math.log(2) + 3 * math.log(4 / 3)) / 4
    assert response_loss(hidden, nn.Identity(), labels, weights).item() == pytest.approx(expected)


def test_prompt_tokens_do_not_count():
    labels, weights = torch.tensor([[IGNORE, IGNORE, 1]]), torch.ones(1, 3)
    hidden = torch.randn(1, 3, 4)
    other = hidden.clone()
    other[0, 0] += 100
    other[0, 2] += 100
    losses = [response_loss(states, nn.Identity(), labels, weights) for states in (hidden, other)]
    assert losses[0] == losses[1]


def quadratic(parameter):
    while True:
        yield ((parameter - 3.0) ** 2).sum()


def test_fit_minimises_and_reports_progress():
    parameter, calls = nn.Parameter(torch.zeros(1)), []
    history = fit(
        "climb",
        quadratic(parameter),
        [([parameter], 1.0)],
        Schedule(steps=60, lr=0.3),
        lambda *call: calls.append(call),
    )
    assert history[0] == pytest.approx(9.0)
    assert history[-1] < 0.1
    assert calls[0] == ("climb", 1, 60)
    assert calls[-1] == ("climb", 60, 60)


def test_a_factor_of_zero_freezes_a_group():
    moving, still = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    fit("two", quadratic(moving), [([moving], 1.0), ([still], 0.0)], Schedule(steps=5, lr=0.1))
    assert moving.item() != 0
    assert still.item() == 0


def test_a_loss_that_is_not_finite_stops_training():
    parameter = nn.Parameter(torch.zeros(1))
    with pytest.raises(TrainingError, match=r"climb: the loss of step 2 is nan"):
        fit("climb", iter([parameter.sum(), parameter.sum() * math.nan]), [([parameter], 1.0)], Schedule(3, 0.1))


def test_too_little_data_is_an_error():
    parameter = nn.Parameter(torch.zeros(1))
    with pytest.raises(TrainingError, match="data for 1 steps, 3 wanted"):
        fit("climb", iter([parameter.sum()]), [([parameter], 1.0)], Schedule(3, 0.1))


def test_packed_segments_get_the_logits_they_get_alone():
    from aligners.miniature.lessons import Teacher, scene_pixels
    from aligners.miniature.model import build_model, build_processor
    from evalkit.miniature.questions import Question
    from evalkit.miniature.scenes import Scene, Thing

    tokenizer = build_processor().tokenizer
    model = build_model(tokenizer, seed=0).eval()
    scene = Scene("park", (Thing("dog", None, 4, 0, 0),))
    questions = [Question("Is there a dog in the image?", "Yes"), Question("List the objects.", "dog.")]
    teacher = Teacher(tokenizer, 1.0)

    def logits(rows):
        batch = pack(rows, tokenizer.pad_token_id)
        states = hidden_states(model, batch, scene_pixels([scene] * len(rows)))
        return [model.lm_head(row[labels != IGNORE]) for row, labels in zip(states, batch.labels, strict=True)]

    with torch.no_grad():
        (together,) = logits([teacher.row(questions)])
        alone = torch.cat(logits([teacher.row([question]) for question in questions]))
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
