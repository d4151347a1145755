"""Plans: memory that tensors really hold in a step, against what the configuration alone foretells."""

import pytest
import torch
from transformers import AutoModelForImageTextToText, CLIPVisionConfig, LlamaConfig, LlavaConfig

from aligners.plan.estimate import Estimate, Workload, estimate
from aligners.plan.peak import PeakMemory, tensors_of
from aligners.plan.skeleton import Parameters, count_parameters, skeleton
from aligners.plan.table import plan_lines
from aligners.training.logprobs import IGNORE
from aligners.training.policy import make_trainable
from aligners.training.response_logps import measuring
from aligners.training.settings import TrainingSettings
from evalkit.errors import UsageError

IMAGE_TOKEN = 31999


def shape(hidden: int = 768, layers: int = 12) -> LlavaConfig:
    """A LLaVA of 138e6 parameters."""
    vision = CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
    )
    text = LlamaConfig(
        vocab_size=32000, hidden_size=hidden, intermediate_size=2048, num_hidden_layers=layers, num_attention_heads=12
    )
    return LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE_TOKEN)


def measured_step(
    config: LlavaConfig, settings: TrainingSettings, *, tokens: int, response_tokens: int, bf16: bool
) -> int:
    """Peak bytes of the second training step on real tensors: weights, gradients, AdamW's state, activations."""
    lora = bool(settings.lora)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16 if lora else torch.float32)
    model = make_trainable(model, settings).train()
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6, fused=True)
    ids = torch.randint(10, 1000, (1, tokens))
    ids[0, 1:17] = IMAGE_TOKEN
    labels = torch.full_like(ids, IGNORE)
    labels[0, -response_tokens:] = ids[0, -response_tokens:]
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.rand(1, 3, 56, 56)}
    with PeakMemory() as memory, measuring(model):
        memory.watch(*tensors_of(model))
        for _ in range(2):
            memory.peak = memory.live
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = -model(**batch, logp_labels=labels)["token_logps"].mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return memory.peak


@pytest.mark.parametrize(("lora", "checkpointing", "bf16"), [(True, True, True), (False, False, False)])
def test_the_plan_of_a_shape_of_100_million_is_within_15_percent_of_what_tensors_held(lora, checkpointing, bf16):
    config, tokens, response_tokens = shape(), 256, 64
    settings = TrainingSettings(learning_rate=1e-5, lora=lora, gradient_checkpointing=checkpointing, batch_size=1)
    found = estimate(
        config,
        settings,
        Workload(rows=1, tokens=tokens, response_tokens=response_tokens),
        lora=lora,
        checkpointing=checkpointing,
        bf16=bf16,
        micro_batch=1,
    )
    held = measured_step(config, settings, tokens=tokens, response_tokens=response_tokens, bf16=bf16)
    assert found.parameters.total > 1e8
    assert found.step == pytest.approx(held, rel=0.15)


def test_parameters_are_counted_without_storage():
    config = LlavaConfig()  # LLaVA-1.5-7B
    full, lora = (count_parameters(config, TrainingSettings(learning_rate=1e-5, lora=lora)) for lora in (False, True))
    assert full.total == 7_062_902_784
    assert full.trained == full.total - 303_507_456  # the vision tower is frozen
    assert lora.trained == 159_907_840  # rank 64 on seven matrices of 32 layers


def test_sharding_divides_what_the_strategy_shards():
    config, settings = shape(192, 2), TrainingSettings(learning_rate=1e-5, lora=False, batch_size=8)

    def on(devices, strategy, **how):
        work = Workload(rows=80, tokens=64, response_tokens=16, devices=devices, strategy=strategy, **how)
        return estimate(config, settings, work, lora=False, checkpointing=False, bf16=False, micro_batch=1)

    one, fsdp, zero2 = on(1, "ddp"), on(4, "fsdp"), on(4, "zero2")
    assert (fsdp.weights, fsdp.gradients, fsdp.optimizer) == (
        one.weights // 4,
        one.gradients // 4,
        one.optimizer // 4,
    )
    assert (zero2.weights, zero2.optimizer) == (one.weights, one.optimizer // 4)
    largest = fsdp.parameters.largest
    assert largest == max(p.numel() for p in skeleton(config).parameters())
    assert fsdp.loading == fsdp.weights + 2 * largest  # its part, and one tensor as it is stored
    assert (zero2.loading, on(4, "fsdp", loads_whole=True).loading) == (one.weights, one.weights)
    assert (fsdp.host, fsdp.loads_once, zero2.loads_once) == (2 * one.parameters.total, True, False)
    assert one.steps == 10
    assert one.tokens == 10 * 8 * 64


def test_lines_say_hours_only_where_a_throughput_is_known():
    found = Estimate(Parameters(7 * 10**9, 6 * 10**9, 10**8), True, True, 2, 4, *[10**9] * 6, 100, 36_000_000)
    work = Workload(rows=800, tokens=900, response_tokens=200)
    assert plan_lines(found, work, 1000.0)[-1] == "hours           10.0 at 1,000 tokens/s"
    assert "unknown" in plan_lines(found, work)[-1]


def test_a_workload_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="strategy must be one of ddp"):
        Workload(rows=1, tokens=10, response_tokens=5, strategy="tensor")
    with pytest.raises(UsageError, match="cannot hold"):
        Workload(rows=1, tokens=10, response_tokens=50)
