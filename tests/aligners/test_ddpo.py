"""Dense DPO from pairs to checkpoint: agreement with TRL, mechanism, families, bad input, several processes."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from preference_data import make_pairs
from safetensors.torch import load_file
from tiny_models import FAMILIES, build_tiny, save_tiny
from torch.nn import functional as F

from aligners.ddpo import align_ddpo, dpo_settings, train_dpo
from aligners.preference.dpo import UNCHANGED_CHOSEN, dpo_batch, dpo_objective, usable_pairs, weighted_rows
from aligners.preference.encoding import Layout, PairEncoder
from aligners.preference.pairs import Pair, write_pairs
from aligners.preference.reference_logps import reference_logps
from aligners.profiles import profile
from aligners.training.checkpoint import read_card
from aligners.training.processes.sharding import layers_to_shard
from aligners.training.response_logps import end_token, measuring
from aligners.training.run_folder import read_log
from evalkit.engines.model.encoding import PromptEncoder
from evalkit.engines.transformers import TransformersEngine
from evalkit.errors import DataError, TrainingError, UsageError
from evalkit.sampling import Sampling

ROOT = Path(__file__).resolve().parents[2]
QUICK = {"learning_rate": 1e-3, "batch_size": 4, "epochs": 1, "lora": False, "warmup_ratio": 0.0}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(checkpoint folder, pairs, image folder)"""
    folder = tmp_path_factory.mktemp("world")
    return save_tiny("llava", folder / "model"), make_pairs(folder / "images"), folder / "images"


@pytest.fixture
def llava(world):
    model, processor = build_tiny("llava")
    prompts = PromptEncoder(processor)
    return model, processor, PairEncoder(prompts, end_token(prompts, model))


def nudged(model, seed=1):
    """Another policy: the weights moved a little."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter) * parameter.std())
    return model


def loss_and_metrics(model, encoder, pairs, settings, reference_folder, nudge=True):
    tokens, _ = usable_pairs(pairs, encoder, settings)
    logps = reference_logps(model, encoder, tokens, reference_folder, layout=Layout.PACKED)
    rows = weighted_rows(tokens, logps.pairs, settings)
    with measuring(nudged(model) if nudge else model):
        loss, metrics = dpo_objective(settings, Layout.PACKED)(model, dpo_batch(rows, encoder, Layout.PACKED))
    return loss, metrics


# --- the loss -----------------------------------------------------------------------------------------------------


def test_confidence_changes_the_loss_where_it_is_asked_for_and_must_be_there(world, llava, tmp_path):
    _, pairs, _ = world
    model, _, encoder = llava
    sure = [replace(pair, meta={"confidence": 0.75}) for pair in pairs[:2]]
    settings = dpo_settings("dpo", beta=20.0, label_confidence=True)
    for share, chosen in ((0.75, settings), (1.0, dpo_settings("dpo", beta=20.0))):
        loss, metrics = loss_and_metrics(model, encoder, sure, chosen, tmp_path)
        margins = metrics["margin"]
        assert margins.abs().max() > 0.01
        expected = -(share * F.logsigmoid(margins) + (1 - share) * F.logsigmoid(-margins)).mean()
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    with pytest.raises(DataError, match=r"2 of 2 pairs say nothing in meta\.confidence"):
        usable_pairs(pairs[:2], encoder, settings)
    with pytest.raises(DataError, match="from 0 to 1, not 75"):
        usable_pairs([replace(pairs[0], meta={"confidence": 75})], encoder, settings)


def test_plain_dpo_equals_the_loss_of_trl(world, llava, tmp_path):
    from trl import DPOConfig, DPOTrainer

    _folder, pairs, images = world
    model, processor, encoder = llava
    loss, _metrics = loss_and_metrics(model, encoder, pairs, dpo_settings("dpo", beta=0.3), tmp_path)
    loss.backward()
    ours = torch.cat([p.grad.flatten() for p in model.get_decoder().parameters()])
    model.zero_grad()

    rows = [
        {
            "images": [Image.open(images / pair.image).convert("RGB")],
            "prompt": [{"role": "user", "content": pair.prompt}],
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
        }
        for pair in pairs
    ]
    import datasets

    arguments = DPOConfig(
        output_dir=str(tmp_path / "trl"), beta=0.3, per_device_train_batch_size=len(rows), max_length=None,
        use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False,
    )  # fmt: skip
    reference, _ = build_tiny("llava")
    trainer = DPOTrainer(
        model=model, ref_model=reference, args=arguments, train_dataset=datasets.Dataset.from_list(rows),
        processing_class=processor,
    )  # fmt: skip
    batch = trainer.data_collator(rows)
    theirs = trainer.compute_loss(trainer.model, batch)
    theirs.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.get_decoder().parameters()])
    assert abs(math.log(2) - loss.item()) > 0.01  # the policy has moved: the equality says something
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-5)
    assert (ours - gradient).norm() < 1e-3 * gradient.norm()


def test_gamma_one_is_plain_dpo(world, llava, tmp_path):
    _, pairs, _ = world
    _model, _, encoder = llava
    losses = []
    for settings in (dpo_settings("dpo"), dpo_settings("ddpo-release", gamma=1.0)):
        fresh, _ = build_tiny("llava")
        losses.append(loss_and_metrics(fresh, encoder, pairs, settings, tmp_path)[0].item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-7)
    changed, _ = build_tiny("llava")
    dense = loss_and_metrics(changed, encoder, pairs, dpo_settings("ddpo-release", gamma=5.0), tmp_path)
    assert abs(dense[0].item() - losses[0]) > 1e-4


@pytest.mark.parametrize("preset", ["ddpo-paper", "ddpo-release", "dpo"])
def test_a_policy_that_is_the_reference_loses_log_two(world, llava, tmp_path, preset):
    _, pairs, _ = world
    model, _, encoder = llava
    loss, metrics = loss_and_metrics(model, encoder, pairs, dpo_settings(preset), tmp_path, nudge=False)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-5)
    assert metrics["margin"].abs().max() < 1e-4


def test_swapped_pairs_flip_the_margin(world, llava, tmp_path):
    _, pairs, _ = world
    swapped = [replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in pairs]
    margins = []
    for data in (pairs, swapped):
        model, _ = build_tiny("llava")
        settings = dpo_settings("dpo")
        margins.append(loss_and_metrics(model, llava[2], data, settings, tmp_path)[1]["margin"])
    assert torch.allclose(margins[0], -margins[1], atol=1e-5)


def test_padding_changes_nothing(world, llava, tmp_path):
    _, pairs, _ = world
    model, _, encoder = llava
    alone = []
    for pair in pairs[:4]:
        model, _ = build_tiny("llava")
        alone.append(loss_and_metrics(model, encoder, [pair], dpo_settings("ddpo-paper"), tmp_path)[0].item())
    model, _ = build_tiny("llava")
    together, _ = loss_and_metrics(model, encoder, pairs[:4], dpo_settings("ddpo-paper"), tmp_path)
    assert together.item() == pytest.approx(sum(alone) / 4, abs=1e-5)


# --- training -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [False, True])
def test_a_training_in_bfloat16_starts_at_its_reference_too(lora, world, tmp_path):
    _, pairs, _ = world
    start = save_tiny("llava", tmp_path / "start")
    changes = {"bf16": True, "lora": lora, "lora_rank": 4, "lora_dropout": 0.0}
    settings = dpo_settings("ddpo-release", **(QUICK | changes))
    result = train_dpo(start, pairs, tmp_path / "out", settings)
    assert result.losses[0] == pytest.approx(math.log(2), abs=1e-4)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_trains_and_what_is_saved_answers(family, lora, world, tmp_path):
    _, pairs, _ = world
    start = save_tiny(family, tmp_path / "start")
    settings = dpo_settings("ddpo-paper", **(QUICK | {"lora": lora, "lora_rank": 4, "lora_dropout": 0.0}))
    result = train_dpo(start, pairs, tmp_path / "out", settings)
    assert result.steps == 2
    assert result.losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert result.losses[1] < result.losses[0]
    engine = TransformersEngine(result.checkpoint, dtype="float32")
    tokens = PairEncoder(engine.encoder, 2).tokenize(pairs[0])
    assert all(response.text is not None for response in engine.generate([tokens.prompt], Sampling(max_new_tokens=4)))
    trained = engine.logprobs([tokens.prompt], [pairs[0].chosen])[0].logprobs
    before = TransformersEngine(start, dtype="float32").logprobs([tokens.prompt], [pairs[0].chosen])[0].logprobs
    assert trained != pytest.approx(before, abs=1e-4)


def test_the_vision_tower_is_left_alone_unless_asked(world, tmp_path):
    start, pairs, _ = world
    for train_vision in (False, True):
        settings = dpo_settings("ddpo-paper", **QUICK, train_vision=train_vision)
        out = tmp_path / str(train_vision)
        train_dpo(start, pairs, out, settings)
        before = TransformersEngine(start, dtype="float32").model.state_dict()
        after = TransformersEngine(out, dtype="float32").model.state_dict()
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert any("vision_tower" in name for name in moved) is train_vision
        assert any("language_model" in name for name in moved)


def test_a_merged_adapter_is_a_whole_model_with_the_same_probabilities(world, tmp_path):
    start, pairs, _ = world
    settings = dpo_settings("ddpo-paper", **(QUICK | {"lora": True, "lora_rank": 4, "lora_dropout": 0.0}))
    kept = train_dpo(start, pairs, tmp_path / "adapter", settings).checkpoint
    merging = replace(settings, merge_adapter=True)
    whole = train_dpo(start, pairs, tmp_path / "merged", merging).checkpoint
    assert (kept / "adapter_config.json").is_file()
    assert (whole / "config.json").is_file()
    assert not (whole / "adapter_config.json").exists()
    engines = [TransformersEngine(folder, dtype="float32") for folder in (kept, whole)]
    prompt = PairEncoder(engines[0].encoder, 2).tokenize(pairs[0]).prompt
    first, second = (engine.logprobs([prompt], [pairs[0].chosen])[0].logprobs for engine in engines)
    assert first == pytest.approx(second, abs=1e-5)


def test_a_model_in_memory_needs_its_adapter_merged(world, llava, tmp_path):
    model, processor, _ = llava
    settings = dpo_settings("dpo", **(QUICK | {"lora": True}))
    with pytest.raises(UsageError, match="merge_adapter"):
        train_dpo((model, processor), world[1], tmp_path, settings)


def test_an_adapter_of_a_merged_adapter_has_no_base(world, tmp_path):
    start, pairs, _ = world
    settings = dpo_settings("ddpo-paper", **(QUICK | {"lora": True, "lora_rank": 2, "max_steps": 1}))
    first = train_dpo(start, pairs, tmp_path / "first", settings).checkpoint
    with pytest.raises(UsageError, match="merge_adapter"):
        train_dpo(first, pairs, tmp_path / "second", settings)
    merging = replace(settings, merge_adapter=True)
    second = train_dpo(first, pairs, tmp_path / "second", merging)
    assert read_card(second.checkpoint).parent == str(first)


def test_half_precision_weights_are_saved_in_half_precision(world, tmp_path):
    model, processor = build_tiny("llava")
    model.to(torch.bfloat16).save_pretrained(tmp_path / "start")
    processor.save_pretrained(tmp_path / "start")
    train_dpo(tmp_path / "start", world[1], tmp_path / "out", dpo_settings("dpo", **QUICK))
    assert TransformersEngine(tmp_path / "out").model.dtype == torch.bfloat16


def test_the_card_says_how_the_checkpoint_was_made(world, tmp_path):
    start, pairs, _ = world
    settings = dpo_settings("ddpo-paper", **QUICK, gamma=3.0, seed=5)
    extra = [replace(pairs[0], id="same", rejected=pairs[0].chosen)]
    result = train_dpo(start, pairs + extra, tmp_path, settings, selection="validation")
    card = read_card(tmp_path)
    assert card.parent == str(start)
    assert (card.method, card.preset, card.selection) == ("ddpo", "ddpo-paper", "validation")
    assert card.settings["gamma"] == 3.0
    assert card.seeds == {"training": 5}
    assert card.skipped == {"chosen and rejected are the same text": 1, UNCHANGED_CHOSEN: 4} == result.skipped
    assert (card.cost["pairs"], card.cost["steps"]) == (8, 2)
    assert card.cost["seconds"] == result.seconds > 0
    line = json.loads((tmp_path / "training.jsonl").read_text().splitlines()[0])
    assert {"step", "loss", "margin", "accuracy", "chosen_reward", "rejected_reward", "chosen_tokens"} <= set(line)


def test_stored_reference_log_probabilities_are_used_again(world, tmp_path):
    start, pairs, _ = world
    stages = []
    for number, gamma in enumerate((5.0, 2.0)):
        seen: set[str] = set()
        stages.append(seen)
        train_dpo(
            start, pairs, tmp_path / str(number), dpo_settings("ddpo-paper", **QUICK, gamma=gamma),
            reference=tmp_path / "reference", progress=lambda what, done, total: seen.add(what),  # noqa: B023
        )  # fmt: skip
    assert stages == [{"reference", "training"}, {"training"}]
    assert len(list((tmp_path / "reference").glob("*.safetensors"))) == 1


def launched(world, out, *launcher, settings=()):
    """(losses, weights) of a training that some launcher started, see train_here.py."""
    start, pairs, images = world
    write_pairs(images / "pairs.jsonl", pairs)
    script = [str(ROOT / "tests" / "aligners" / "train_here.py"), str(start), str(images / "pairs.jsonl"), str(out)]
    command = [sys.executable, *launcher, *script, "0", *settings]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    [weights] = out.glob("*model.safetensors")  # a whole model or an adapter, never both
    return [line["loss"] for line in read_log(out / "training.jsonl")], load_file(weights)


def test_two_processes_give_the_losses_of_one(world, tmp_path):
    losses = [
        launched(world, tmp_path / str(n), "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n}")[0]
        for n in (1, 2)
    ]
    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize(
    "settings",
    [(), ("lora=true", "lora_rank=4"), ("lora=true", "lora_rank=4", "merge_adapter=true")],
    ids=["full", "adapter", "merged adapter"],
)
def test_two_processes_with_the_fsdp_profile_give_losses_and_weights_of_one(settings, world, tmp_path):
    flags = [
        "--config_file",
        str(profile("fsdp")),
        "--num_processes=2",
        "--mixed_precision=no",
        "--main_process_port=0",
    ]
    sharded = launched(world, tmp_path / "2", "-m", "accelerate.commands.launch", *flags, settings=settings)
    whole = launched(world, tmp_path / "1", settings=settings)
    assert len(whole[0]) == 4
    assert sharded[0] == pytest.approx(whole[0], abs=1e-5)
    assert set(sharded[1]) == set(whole[1])
    assert all(torch.allclose(sharded[1][name], whole[1][name], atol=1e-5) for name in whole[1])


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_layers_to_shard_occur_in_the_model(family):
    model, _ = build_tiny(family)
    classes = {type(module).__name__ for module in model.modules()}
    layers = layers_to_shard(model)
    assert set(layers) <= classes
    assert type(model.get_decoder().layers[0]).__name__ in layers


# --- bad input ----------------------------------------------------------------------------------------------------


def test_unfit_pairs_are_counted_by_reason(world, llava):
    _, pairs, images = world
    encoder = llava[2]
    (images / "torn.png").write_bytes((images / "0.png").read_bytes()[:200])
    odd = [
        replace(pairs[0], id="a", chosen=" "),
        replace(pairs[0], id="b", rejected=pairs[0].chosen),
        replace(pairs[0], id="c", image="torn.png"),
        replace(pairs[0], id="d", chosen=pairs[0].chosen + " There is a cup." * 400),
        Pair(
            "e",
            "0.png",
            "?",
            "There is a dog in the park.",
            "There is a dog in the park. There is a car.",
            folder=images,
        ),
    ]
    settings = dpo_settings("ddpo-paper", bad_images="skip", max_length=512)
    kept, counts = usable_pairs(odd + pairs[1:2], encoder, settings)
    assert [pair.id for pair in kept] == ["e", "1"]
    assert counts == {
        "an empty response": 1,
        "chosen and rejected are the same text": 1,
        "image does not open": 1,
        "longer than 512 tokens": 1,
        UNCHANGED_CHOSEN: 1,
    }
    with pytest.raises(DataError, match=r"'c'.*torn"):
        usable_pairs(odd, encoder, replace(settings, bad_images="error"))
    with pytest.raises(TrainingError, match=r"no pair is left to train on, of 2: an empty response \(1\), chosen and"):
        usable_pairs(odd[:2], encoder, settings)


def test_pairs_with_and_without_an_image_are_not_trained_together(world, llava):
    _, pairs, _ = world
    preset = dpo_settings("dpo")
    blind = [replace(pair, image=None) for pair in pairs[:2]]
    assert len(usable_pairs(blind, llava[2], preset)[0]) == 2
    with pytest.raises(DataError, match=r"2 of 8 pairs have no image, e\.g\. '0'"):
        usable_pairs(blind + pairs[2:], llava[2], preset)


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        ("ddpo", {}, "unknown preset 'ddpo'"),
        ("dpo", {"gama": 2}, "unknown settings gama"),
        ("dpo", {"average": "no"}, "average is true or false, not 'no'"),
        ("dpo", {"lora": "maybe"}, "lora is true or false, not 'maybe'"),
        ("dpo", {"beta": "high"}, "beta is a number, not 'high'"),
        ("dpo", {"beta": 0}, "beta is above 0, not 0"),
        ("dpo", {"batch_size": 2.5}, "batch_size is a whole number, not 2.5"),
        ("dpo", {"batch_size": True}, "batch_size is a whole number, not True"),
        ("dpo", {"epochs": 0}, "epochs is above 0, not 0"),
        ("dpo", {"learning_rate": math.nan}, "learning_rate is above 0, not nan"),
        ("dpo", {"max_steps": 0}, "max_steps is above 0, not 0"),
        ("dpo", {"workers": -1}, "workers is at least 0, not -1"),
        ("dpo", {"diff": 3}, "diff is DiffSettings, not 3"),
        ("dpo", {"bad_images": "ignore"}, "bad_images is 'error' or 'skip', not 'ignore'"),
    ],
)
def test_settings_that_do_not_exist_or_cannot_have_the_value_are_refused(preset, overrides, message):
    with pytest.raises(UsageError, match=message):
        dpo_settings(preset, **overrides)


def test_a_loss_that_is_not_finite_stops_training_and_names_the_last_good_checkpoint(world, tmp_path):
    start, pairs, _ = world
    settings = dpo_settings("dpo", **(QUICK | {"learning_rate": 1e30, "max_steps": 8, "save_steps": 1}))
    with pytest.raises(TrainingError, match=r"not finite|loss of step .* is nan|is inf"):
        train_dpo(start, pairs, tmp_path, settings)
    assert not (tmp_path / "card.json").exists()
    for weights in tmp_path.glob("training/steps/checkpoint-*/model.safetensors"):
        assert all(torch.isfinite(tensor).all() for tensor in load_file(weights).values())


def test_a_folder_of_another_training_is_refused(world, tmp_path):
    start, pairs, _ = world
    train_dpo(start, pairs, tmp_path, dpo_settings("dpo", **QUICK))
    with pytest.raises(TrainingError, match="another training run"):
        train_dpo(start, pairs, tmp_path, dpo_settings("dpo", **QUICK, beta=0.2))
    again = train_dpo(start, pairs, tmp_path, dpo_settings("dpo", **QUICK))
    assert again.steps == 2


def test_align_ddpo_reads_a_pairs_file(world, tmp_path):
    start, pairs, images = world
    write_pairs(images / "mine.jsonl", pairs)
    result = align_ddpo(str(start), images / "mine.jsonl", tmp_path, "ddpo-release", QUICK)
    assert (result.pairs, result.steps) == (8, 2)
