"""Memory and pairs per second of a DPO step on a GPU: a LLaVA of the 7B shape, random weights, adapter and all weights.

    python tests/speed/gpu_training.py [--shape tiny]

The recipe of `align ddpo`: packed pairs, bfloat16 forward passes, AdamW; an adapter of rank 64 on a base in bfloat16,
or all weights in float32, each with activations kept and computed again. A row has a process of its own. PAIRS pairs of
PROMPT and RESPONSE tokens go through a step in micro-batches of one; the first step warms up.

peak_gib   most that torch held on the device at once
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.speed.gpu import GIB, LEFT_OUT, TEXT, Row, configuration, write_prompts  # noqa: E402

PAIRS, STEPS, RESPONSE_WORDS = 8, 3, 120
KINDS = ("adapter", "full")


def main(arguments: Sequence[str]) -> None:
    """Print a row for each way of training, or for the one asked for.

    Raises:
        SystemExit: with LEFT_OUT if there is no GPU; if a way of training fails.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=list(TEXT), default="7b", help="tiny runs on a CPU as well")
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--checkpointing", action="store_true")
    chosen = parser.parse_args(arguments)
    import torch

    if chosen.shape == "7b" and not torch.cuda.is_available():
        print("no CUDA device here; on a machine that has one: make speed-gpu")
        raise SystemExit(LEFT_OUT)
    if chosen.kind is not None:
        row = measure(chosen.kind, chosen.shape, chosen.checkpointing)
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{device}, torch {torch.__version__}; {PAIRS} pairs a step, one at a time", flush=True)
    for kind in KINDS:
        for flags in ([], ["--checkpointing"]):
            command = [sys.executable, "-P", __file__, "--shape", chosen.shape, "--kind", kind, *flags]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            short = "out of memory" if "OutOfMemoryError" in done.stderr else None
            if done.returncode and short is None:
                raise SystemExit(done.stderr)
            print(done.stdout.strip() if short is None else f"what {kind} {' '.join(flags)}  {short}", flush=True)


def measure(kind: str, shape: str, checkpointing: bool, pairs: int = PAIRS, steps: int = STEPS) -> Row:
    """Seconds and memory of the steps after the first."""
    import torch

    from aligners.training.policy import autocast, make_trainable
    from aligners.training.response_logps import measuring
    from aligners.training.settings import ModelSettings

    settings = ModelSettings(lora=kind == "adapter", lora_dropout=0.0, bf16=True)
    model, processor = build(shape, torch.bfloat16 if settings.lora else torch.float32)
    model = make_trainable(model, settings)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6, weight_decay=0.0)
    with tempfile.TemporaryDirectory() as folder, measuring(model):
        batches, objective, tokens = batches_of(model, processor, Path(folder), pairs)
        seconds = []
        for _ in range(steps + 1):
            begin = time.perf_counter()
            for batch in batches:
                with autocast(model, settings):
                    loss, _ = objective(model, batch)
                (loss / len(batches)).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begin)
    row: Row = {
        "what": f"{kind}{', recomputed' if checkpointing else ''}",
        "tokens_a_pair": tokens,
        "pairs_per_second": round(pairs / min(seconds[1:]), 3),
    }
    return row | ({"peak_gib": round(torch.cuda.max_memory_allocated() / GIB, 1)} if torch.cuda.is_available() else {})


def build(shape: str, dtype: Any) -> tuple[Any, Any]:
    """A model with random weights, on the GPU where there is one, and its processor."""
    import torch
    from transformers import LlavaForConditionalGeneration

    config, processor = configuration(shape)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return LlavaForConditionalGeneration._from_config(config, dtype=dtype), processor


def batches_of(model: Any, processor: Any, folder: Path, count: int) -> tuple[list[Any], Any, int]:
    """(batches of one pair on the device, loss function, tokens of a packed pair)."""
    import torch

    from aligners.ddpo import dpo_settings
    from aligners.preference.dpo import dpo_batch, dpo_objective, weighted_rows
    from aligners.preference.encoding import Layout, PairEncoder
    from aligners.preference.pairs import Pair
    from aligners.preference.reference_logps import PairLogps
    from aligners.training.response_logps import end_token
    from evalkit.engines.model.encoding import PromptEncoder

    prompts = PromptEncoder(processor)
    encoder = PairEncoder(prompts, end_token(prompts, model))
    said = " ".join(["There is a dog in the park."] * (RESPONSE_WORDS // 7))
    pairs = [
        Pair(prompt.id, prompt.images[0].name, prompt.text, said, f"{said} Is there a car?", folder=folder)
        for prompt in write_prompts(folder, count)
    ]
    tokens = [encoder.tokenize(pair) for pair in pairs]
    reference = [PairLogps(torch.zeros(len(t.chosen_ids)), torch.zeros(len(t.rejected_ids))) for t in tokens]
    settings = dpo_settings("ddpo-paper")
    rows = weighted_rows(tokens, reference, settings)
    device = next(model.parameters()).device
    batches = [dpo_batch([row], encoder, Layout.PACKED).to(device) for row in rows]
    length = int(batches[0].pairs.labels.shape[1])
    return batches, dpo_objective(settings, Layout.PACKED), length


if __name__ == "__main__":
    main(sys.argv[1:])
