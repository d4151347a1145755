"""What merging an adapter changes is measured, stands on the card, and is said where it matters."""

import json
import logging

import pytest
import torch
from tiny_models import build_tiny

from aligners.training.checkpoint import CHANGED, DIFFERENCE, Card, MergeDifference, compared, folded, probe_logps
from aligners.training.policy import load_policy, make_trainable, save_trained
from aligners.training.settings import ModelSettings

ADAPTER = ModelSettings(lora=True, lora_rank=4, lora_dropout=0.5, merge_adapter=True)


def adapted(scale):
    """A tiny model with an adapter whose B is not zero."""
    model, processor = build_tiny("llava")
    model = make_trainable(model, ADAPTER)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = scale * torch.randn(parameter.shape, generator=generator)
    return model, processor


def test_a_merge_in_float32_changes_nothing_and_says_nothing(caplog):
    model, processor = adapted(0.05)
    with caplog.at_level(logging.WARNING):
        whole, difference = folded(model, processor, model.merge_and_unload)
    assert difference.nats < 1e-4
    assert difference.changed == 0.0
    assert not caplog.records
    assert not hasattr(whole, "peft_config")


def test_a_merge_that_loses_the_adapter_is_said(caplog):
    model, processor = adapted(1.0)
    with caplog.at_level(logging.WARNING):
        _, difference = folded(model, processor, model.unload)  # the base without it
    assert difference.nats > 0.1
    assert "merging the adapter moved" in caplog.text
    assert "save_dtype=float32" in caplog.text


def test_rounding_to_bfloat16_is_measured_on_the_rounded_weights():
    model, processor = adapted(0.05)
    whole, difference = folded(model, processor, lambda: model.merge_and_unload().to(torch.bfloat16))
    assert 1e-4 < difference.nats < 0.1
    assert whole.dtype is torch.bfloat16


def test_the_probe_goes_without_dropout_and_leaves_the_mode_as_it_was():
    model, processor = adapted(1.0)
    model.train()
    assert torch.equal(probe_logps(model, processor), probe_logps(model, processor))
    assert model.training


def test_the_measures_of_two_probes():
    before = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]]).log()
    after = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]]).log()
    found = compared(before, after)
    assert found.nats == pytest.approx(torch.tensor(0.5 / 0.3).log().item())
    assert found.changed == 0.5
    assert MergeDifference(0.1234567891, 0.5).as_cost() == {DIFFERENCE: 0.123457, CHANGED: 0.5}


def test_the_card_of_a_merged_adapter_holds_it(tmp_path):
    model, processor = build_tiny("llava")
    policy = load_policy((model, processor), ADAPTER)
    trained = make_trainable(model, ADAPTER)
    card = Card(parent="p", parent_hash="h", method="m", preset="", data={}, settings={}, seeds={})
    save_trained(trained, policy, tmp_path, card)
    cost = json.loads((tmp_path / "card.json").read_text())["cost"]
    assert cost[DIFFERENCE] < 1e-4
    assert cost[CHANGED] == 0.0
