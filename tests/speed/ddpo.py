"""A dense DPO step against TRL's DPOTrainer: CPU seconds per step and peak memory, same model, same pairs, same batch.

    OMP_NUM_THREADS=1 python tests/speed/ddpo.py

Each measurement is a process of its own (peak memory is its largest resident size, libraries included); the sides take
turns. Both train all weights but the vision tower, in float32, without gradient checkpointing. A step is everything
between two optimiser steps: batch, forward, backward, update. TRL computes reference log-probabilities in every step;
here they are computed once before training, which `first_epoch_ratio` counts: the ratio if there is one epoch only.
`bound_cpu_s`: the matrix products that a step cannot do without (the prompt with its image once a pair, both responses;
backward everywhere but in the tower) at the rate of one large product in the same process.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAIRS, BATCH, STEPS, ROUNDS = 16, 4, 8, 2
LIMIT = 0.7
SIDES = ("ours", "trl")
Row = dict[str, float | str]
PROMPTS = ("Describe the image.", "What does this image show? Please describe it in detail.")
SENTENCE = "There is a dog in the park next to a dining table, two chairs and a cup. "


def main(sizes: tuple[str, ...] = ("tiny", "20M"), rounds: int = ROUNDS) -> list[Row]:
    """One row per model size: seconds, megabytes and ratios."""
    rows: list[Row] = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            _process("build", size, folder)
            found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
            for number in range(rounds):
                for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                    found[side].append(json.loads(_process(side, size, folder).splitlines()[-1]))
        rows.append({"model": size, **_compare(found)})
    return rows


def show(rows: list[Row]) -> None:
    """Print the rows as a table, one figure a line: a model is a column."""
    for name in rows[0]:
        print(f"{name:<20}" + "".join(f"{row[name]:>12}" for row in rows))


def _compare(found: dict[str, list[dict[str, float]]]) -> Row:
    def best(side: str, what: str) -> float:
        return min(measured[what] for measured in found[side])

    ours, theirs = best("ours", "step"), best("trl", "step")
    once = best("ours", "reference")
    return {
        "step_cpu_s": round(ours, 4),
        "trl_step_cpu_s": round(theirs, 4),
        "bound_cpu_s": round(best("ours", "bound"), 4),
        "cpu_ratio": round(ours / theirs, 3),
        "first_epoch_ratio": round((ours + once / (PAIRS / BATCH)) / theirs, 3),
        "peak_mb": round(best("ours", "peak_mb")),
        "trl_peak_mb": round(best("trl", "peak_mb")),
        "memory_ratio": round(best("ours", "peak_mb") / best("trl", "peak_mb"), 3),
        "limit": LIMIT,
    }


def _process(what: str, size: str, folder: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, __file__, what, size, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{what} {size}: {done.stderr[-2000:]}")
    return done.stdout


# --- inside the processes -----------------------------------------------------------------------------------------


def build(size: str, folder: Path) -> None:
    """Model folder and pairs."""
    from PIL import Image
    from tiny_models import build_tiny

    from aligners.preference.pairs import Pair, write_pairs

    model, processor = build_tiny("llava") if size == "tiny" else _larger()
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    pairs = []
    for i in range(PAIRS):
        Image.effect_noise((160, 120), 60 + i).convert("RGB").save(folder / f"{i}.png")
        chosen = SENTENCE * (3 + i % 3)
        pairs.append(Pair(str(i), f"{i}.png", PROMPTS[i % 2], chosen.strip(), (chosen + "There is a car.").strip()))
    write_pairs(folder / "pairs.jsonl", pairs)


def _larger() -> tuple[Any, Any]:
    """A LLaVA of about 20 M parameters: hidden size 256, 6 layers, 32,000 entries, 64 image tokens."""
    import torch
    from tiny_models import llava
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(0)
    small, processor = llava(size=112, patch=14, hidden=64)
    text = LlamaConfig(
        vocab_size=32_000,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        pad_token_id=processor.tokenizer.pad_token_id,
        bos_token_id=processor.tokenizer.bos_token_id,
        eos_token_id=processor.tokenizer.eos_token_id,
    )
    config = LlavaConfig(
        vision_config=small.config.vision_config,
        text_config=text,
        image_token_index=small.config.image_token_index,
        vision_feature_layer=-1,
        image_seq_length=64,
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    return model, processor


def ours(folder: Path) -> dict[str, float]:
    """CPU seconds per step and of the reference pass, with this project."""
    from aligners.ddpo import dpo_settings, train_dpo
    from aligners.preference.pairs import read_pairs

    clock: list[float] = []
    reference = [time.process_time()]

    def progress(what: str, done: int, total: int) -> None:
        (clock if what == "training" else reference).append(time.process_time())

    settings = dpo_settings(
        "ddpo-paper", batch_size=BATCH, max_steps=STEPS, epochs=1, lora=False, save_steps=10**6, micro_batch_size=BATCH,
        learning_rate=1e-5,
    )  # fmt: skip
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as out:
        train_dpo(folder / "model", list(read_pairs(folder / "pairs.jsonl")), Path(out), settings,
                  progress=progress)  # fmt: skip
    spans = [later - earlier for earlier, later in pairwise(reference[1:])]
    # the reference pass is as many forward batches as it reported; the first span also holds loading and set-up
    once = statistics.median(spans) * (len(reference) - 1) if spans else reference[-1] - begin
    return {"step": _per_step(clock), "reference": once}


def trl(folder: Path) -> dict[str, float]:
    """CPU seconds per step with TRL."""
    import datasets
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    from aligners.preference.pairs import read_pairs

    clock: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.append(time.process_time())

    rows = [
        {
            "images": [Image.open(folder / str(pair.image)).convert("RGB")],
            "prompt": [{"role": "user", "content": pair.prompt}],
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
        }
        for pair in read_pairs(folder / "pairs.jsonl")
    ]
    model, reference = (
        AutoModelForImageTextToText.from_pretrained(folder / "model", dtype="float32") for _ in range(2)
    )
    model.get_encoder(modality="image").requires_grad_(False)
    with tempfile.TemporaryDirectory() as out:
        arguments = DPOConfig(
            output_dir=out, per_device_train_batch_size=BATCH, max_steps=STEPS, max_length=None, learning_rate=1e-5,
            use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no",
            logging_steps=1, disable_tqdm=True,
        )  # fmt: skip
        trainer = DPOTrainer(
            model=model, ref_model=reference, args=arguments, train_dataset=datasets.Dataset.from_list(rows),
            processing_class=AutoProcessor.from_pretrained(folder / "model"), callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    return {"step": _per_step(clock)}


def bound(folder: Path) -> float:
    """CPU seconds of a step's matrix products."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from aligners.preference.encoding import PairEncoder
    from aligners.preference.pairs import read_pairs
    from evalkit.engines.model.encoding import PromptEncoder

    model = AutoModelForImageTextToText.from_pretrained(folder / "model", dtype="float32")
    encoder = PairEncoder(PromptEncoder(AutoProcessor.from_pretrained(folder / "model")), 0)
    text, head = model.config.text_config, model.get_output_embeddings()
    image = model.config.image_seq_length
    forward = backward = 0.0
    for pair in read_pairs(folder / "pairs.jsonl"):
        row = encoder.tokenize(pair)
        prompt = encoder.prompt_tokens(row.prompt)
        context = prompt**2 / 2 + sum(len(ids) * (prompt + len(ids) / 2) for ids in (row.chosen_ids, row.rejected_ids))
        trained = 2.0 * _weights(model.get_decoder()) * (prompt + row.tokens) + 2.0 * head.weight.numel() * row.tokens
        trained += 4.0 * text.hidden_size * text.num_hidden_layers * context
        trained += 2.0 * _weights(model.model.multi_modal_projector) * image
        forward += trained + 2.0 * _weights(model.get_encoder(modality="image")) * image
        backward += 2.0 * trained
    return (forward + backward) / PAIRS * BATCH / _rate()


def _weights(module: Any) -> int:
    from torch import nn

    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d))


def _rate(side: int = 1024) -> float:
    """Operations a CPU second of one large matrix product, float32."""
    import torch

    one = torch.randn(side, side)
    seconds = []
    for _ in range(8):
        begin = time.process_time()
        one @ one
        seconds.append(time.process_time() - begin)
    return 2.0 * side**3 / statistics.median(seconds)


def _per_step(clock: list[float]) -> float:
    """Median over the steps after the second one."""
    return statistics.median(later - earlier for earlier, later in pairwise(clock[1:]))


def _inside(what: str, size: str, folder: Path) -> None:
    if what == "build":
        build(size, folder)
        return
    measured = ours(folder) if what == "ours" else trl(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    least = {"bound": bound(folder)} if what == "ours" else {}
    print(json.dumps(measured | least | {"peak_mb": peak}))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        _inside(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    else:
        show(main())
