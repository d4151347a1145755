"""Tokens per second and memory on a GPU: a LLaVA of the 7B shape, random bfloat16 weights, at batch 1, 8, 32 and 64.

    python tests/speed/gpu.py [--shape tiny] [--engine vllm]

No weights are downloaded or stored: the transformers engine gets a model that was built on the device, vLLM (where it
is installed) makes up its own. Each engine has a process of its own. A row is BATCHES batches of photograph-sized
images, no image twice, NEW_TOKENS greedy tokens each (the end token is suppressed), after one batch to warm up. The
time is that of `generate` as a run calls it, image files and prefill included. For vLLM a batch is the number of
requests in flight.

peak_gib    most that torch held on the device at once, weights included
device_gib  what the device had in use at the end: vLLM takes most of its memory beforehand, for a cache of its own
halved_to   there only if the batch did not fit into memory: the batch that did
"""

import argparse
import importlib.util
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.engines.base import Engine
    from evalkit.sampling import Sampling
    from evalkit.schema import Prompt, Response

ROOT = Path(__file__).resolve().parents[2]
ENGINES = ("transformers", "vllm")
SIZES, BATCHES, NEW_TOKENS = (1, 8, 32, 64), 3, 128
IMAGE_SIZE = (640, 480)
LEFT_OUT = 77  # exit status that tests/speed/__main__.py knows: cannot be measured here
GIB = 2**30
Row = dict[str, float | str]

VISION = {
    "7b": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
    },
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 56,
        "patch_size": 14,
    },
}
TEXT = {
    "7b": {
        "vocab_size": 32064,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
    },
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 1024,
    },
}


def main(arguments: Sequence[str]) -> None:
    """Print the rows of every engine, or of the one asked for.

    Raises:
        SystemExit: with LEFT_OUT if there is no GPU; if an engine fails.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=list(TEXT), default="7b", help="tiny runs on a CPU as well")
    parser.add_argument("--engine", choices=ENGINES)
    chosen = parser.parse_args(arguments)
    import torch

    if chosen.shape == "7b" and not torch.cuda.is_available():
        print("no CUDA device here; on a machine that has one: make speed-gpu")
        raise SystemExit(LEFT_OUT)
    if chosen.engine is not None:
        for row in measure(chosen.engine, chosen.shape):
            print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{device}, torch {torch.__version__}; {BATCHES} batches, {NEW_TOKENS} new tokens per response", flush=True)
    for engine in ENGINES:
        if importlib.util.find_spec(engine) is None:
            print(f"{engine} left out: not installed here", flush=True)
        else:
            command = [sys.executable, "-P", __file__, "--shape", chosen.shape, "--engine", engine]
            subprocess.run(command, check=True)


def measure(
    kind: str, shape: str, sizes: Sequence[int] = SIZES, batches: int = BATCHES, new_tokens: int = NEW_TOKENS
) -> Iterator[Row]:
    """A row for the start and one per batch size."""
    from evalkit.sampling import Sampling

    sampling = Sampling(max_new_tokens=new_tokens)
    with tempfile.TemporaryDirectory() as name:
        prompts = iter(write_prompts(Path(name), (batches + 1) * sum(sizes)))
        begin = time.perf_counter()
        engine = transformers_engine(shape) if kind == "transformers" else vllm_engine(shape, Path(name), max(sizes))
        try:
            yield {"what": f"{kind}, start", "seconds": round(time.perf_counter() - begin, 1)}
            first = None
            for size in sizes:
                batch = [next(prompts) for _ in range(size)]
                rest = [next(prompts) for _ in range(batches * size)]
                row, rate = measure_size(engine, batch, rest, sampling)
                first = first or rate
                yield {"what": f"{kind}, batch {size}", **row, "ratio": round(rate / first, 2)} | memory(kind)
        finally:
            engine.close()


def measure_size(
    engine: "Engine", batch: "list[Prompt]", rest: "list[Prompt]", sampling: "Sampling"
) -> tuple[Row, float]:
    """(row, tokens per second) of the prompts `rest` in batches as large as `batch`, which only warms up."""
    forget_peak()
    with shortages() as fitting:
        answer(engine, batch, len(batch), sampling)
    size = min([len(batch), *fitting])
    begin = time.perf_counter()
    responses = answer(engine, rest, size, sampling)  # text on the host: the device has finished
    rate = sum(response.tokens or 0 for response in responses) / (time.perf_counter() - begin)
    row: Row = {"tokens_per_second": round(rate, 1), "samples_per_second": round(rate / sampling.max_new_tokens, 2)}
    return row | ({"halved_to": size} if size < len(batch) else {}), rate


def answer(engine: Any, prompts: "list[Prompt]", size: int, sampling: "Sampling") -> "list[Response]":
    """Responses to all prompts, so many at once.

    Raises:
        SystemExit: if a prompt has none, or one of another length than asked for.
    """
    if hasattr(engine, "batch_size"):
        engine.batch_size = size
        responses = list(engine.generate(prompts, sampling))
    else:
        starts = range(0, len(prompts), size)
        responses = [r for start in starts for r in engine.generate(prompts[start : start + size], sampling)]
    for response in responses:
        if response.tokens != sampling.max_new_tokens:
            raise SystemExit(f"prompt {response.prompt_id}: {response.failure or f'{response.tokens} tokens'}")
    return responses


# --- model and images -------------------------------------------------------------------------------------------------


def transformers_engine(shape: str) -> "Engine":
    """The engine on a model with random weights that was built on the GPU, or without one on the CPU."""
    import torch
    from transformers import LlavaForConditionalGeneration

    from evalkit.engines.transformers import TransformersEngine

    config, processor = configuration(shape)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlavaForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    return never_ending(TransformersEngine.from_live(model.eval(), processor, name=shape))


def vllm_engine(shape: str, folder: Path, most: int) -> "Engine":
    """vLLM on a folder without weights; at most so many requests at once."""
    import torch

    from evalkit.engines.vllm import VLLMEngine

    config, processor = configuration(shape)
    config.architectures = ["LlavaForConditionalGeneration"]
    config.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    settings = {"load_format": "dummy", "max_model_len": 1024, "max_num_seqs": most}
    without_gpu = {} if torch.cuda.is_available() else {"enforce_eager": True}  # compiling takes minutes there
    return never_ending(VLLMEngine(folder / "model", dtype="bfloat16", **settings, **without_gpu))


def configuration(shape: str) -> tuple[Any, Any]:
    """Configuration of the model, and a processor with a small tokenizer."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    from tests.tiny_models import llava

    vision = VISION[shape]
    small, processor = llava(size=vision["image_size"], patch=vision["patch_size"])
    tokenizer = processor.tokenizer
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision),
        text_config=LlamaConfig(**TEXT[shape], **ids, tie_word_embeddings=False),
        image_token_index=small.config.image_token_index,
        image_seq_length=small.config.image_seq_length,
        tie_word_embeddings=False,
    )
    return config, processor


def never_ending(engine: Any) -> Any:
    """The engine, whose model cannot write the end token: every response has the length that is asked for."""
    encoder = engine.encoder
    encoder.placeholder_ids = (*encoder.placeholder_ids, encoder.tokenizer.eos_token_id)
    return engine


def write_prompts(folder: Path, count: int) -> "list[Prompt]":
    """A question each about so many different images of the size and weight of photographs."""
    import numpy as np
    from PIL import Image

    from evalkit.images import ImageFile
    from evalkit.schema import Prompt

    random = np.random.default_rng(0)
    for i in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        coarse.resize(IMAGE_SIZE, Image.Resampling.BICUBIC).save(folder / f"{i}.jpg", quality=90)
    return [Prompt(str(i), "Describe the image in detail.", (ImageFile(folder, f"{i}.jpg"),)) for i in range(count)]


# --- memory -----------------------------------------------------------------------------------------------------------


@contextmanager
def shortages() -> Iterator[list[int]]:
    """The batch sizes to which the transformers engine goes back when memory runs out, as it logs them."""
    found: list[int] = []
    log, handler = logging.getLogger("evalkit.engines.model.batching"), logging.Handler()
    handler.emit = lambda record: found.append(record.args[-1])  # type: ignore[method-assign,index,union-attr]
    log.addHandler(handler)
    try:
        yield found
    finally:
        log.removeHandler(handler)


def forget_peak() -> None:
    """Start a new measurement of the device's memory."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def memory(kind: str) -> Row:
    """GiB of the device's memory; nothing without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return {}
    if kind == "transformers":
        return {"peak_gib": round(torch.cuda.max_memory_allocated() / GIB, 1)}
    free, total = torch.cuda.mem_get_info()
    return {"device_gib": round((total - free) / GIB, 1)}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(sys.argv[1:])
