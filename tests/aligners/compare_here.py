"""Models in shards against the same models whole: every weight, every buffer, a forward pass; started by torchrun.

compare_here.py OUT        the second process writes OUT: by model, what is equal
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from shard_on_cpus import shard_on_cpus
from tiny_models import QWEN_TOKENS, build_tiny, qwen2_5_vl_model, tiny_tokenizer
from transformers import TrainingArguments

from aligners.training.processes.sharding import (
    constructed,
    gathered,
    reshard,
    shard,
    sharding_accelerator,
    skeleton_of,
)
from aligners.training.processes.shared import computed_once, process_rank
from evalkit.engines.model.original_llava.identity import FixedIdentity
from evalkit.process.ending import end_process


def qwen(tied: bool) -> tuple[Any, dict[str, Any]]:
    """Qwen2.5-VL and a question about an image of 4 x 4 patches."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer("<|image_pad|>", **QWEN_TOKENS)
    model = qwen2_5_vl_model(tokenizer, tied=tied).eval()
    image = [tokenizer.vision_start_token_id, *[tokenizer.image_token_id] * 4, tokenizer.vision_end_token_id]
    ids = torch.tensor([[*image, *range(10, 20)]])
    pixels = torch.randn(16, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(1))
    kinds = (ids == tokenizer.image_token_id).int()
    return model, {
        "input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels,
        "image_grid_thw": torch.tensor([[1, 4, 4]]), "mm_token_type_ids": kinds,
    }  # fmt: skip


def projected_once() -> tuple[Any, dict[str, Any]]:
    """LLaVA whose second projector layer is the identity, held as buffers that are saved."""
    model, _ = build_tiny("llava")
    projector = model.model.multi_modal_projector
    projector.linear_2 = FixedIdentity(projector.linear_2)
    return model, {"input_ids": torch.arange(10, 20)[None]}


MODELS = {"qwen2_5_vl": lambda: qwen(False), "qwen2_5_vl, tied": lambda: qwen(True), "llava, identity": projected_once}
shard_on_cpus()
accelerator = sharding_accelerator(TrainingArguments(use_cpu=True, report_to="none"))
equal: dict[str, dict[str, bool]] = {}
for name, build in MODELS.items():
    whole, inputs = build()
    given, _ = build()
    with torch.no_grad():
        logits = whole(**inputs).logits
    skeleton = computed_once(lambda model=given: skeleton_of(model))
    sharded = shard(given, skeleton if process_rank() == 0 else constructed(skeleton), accelerator)
    with torch.no_grad():
        logits_of_shards = sharded(**inputs).logits
    reshard(sharded)
    weights = {key: gathered(value) for key, value in sharded.named_parameters()}
    buffers = dict(sharded.named_buffers())
    tied = [one.get_output_embeddings().weight is one.get_input_embeddings().weight for one in (whole, sharded)]
    equal[name] = {
        "tied": tied == [name.endswith("tied")] * 2,
        "names": weights.keys() == dict(whole.named_parameters()).keys(),
        "weights": all(torch.equal(weights[key], value) for key, value in whole.named_parameters()),
        "buffers": all(torch.equal(buffers[key], value) for key, value in whole.named_buffers()),
        "logits": torch.allclose(logits, logits_of_shards, atol=1e-5),
    }
if process_rank() == 1:  # the one that was sent everything
    Path(sys.argv[1]).write_text(json.dumps(equal))
end_process()
