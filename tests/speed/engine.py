"""Samples per second of the transformers engine on a tiny LLaVA: 512 images, 32 new tokens, greedy, batch 1, 8 and 32.

    OMP_NUM_THREADS=1 python tests/speed/engine.py

The model has the size of the one on which other harnesses were timed (vision and text 2 layers x 64, 56-pixel images;
lmms-eval's llava_hf class: 16.5 samples/s and 14 s of start-up on one core). The first row is a plain loop as such
classes write it: one image after the other through processor and `model.generate`. Every row says how much faster than
that loop it is and whether its text is identical; start-up is the time to import, load and answer a first prompt.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evalkit.engines.transformers import TransformersEngine
    from evalkit.schema import Prompt

ROOT = Path(__file__).resolve().parents[2]
SEED = 0
IMAGES, NEW_TOKENS, BATCH_SIZES = 512, 32, (1, 8, 32)
LIMIT = 14.0  # of the largest batch
Rate = tuple[float, float]  # samples per second of time, and of the processor's time
Row = tuple[str, Rate, int]  # what, its rate, texts identical to the plain loop's


def main(images: int = IMAGES) -> list[Row]:
    """Measure, print a table, return its rows: the plain loop, then one per batch size."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from evalkit.sampling import Sampling

    with tempfile.TemporaryDirectory() as name:
        prompts, checkpoint = write_inputs(Path(name), images)
        begin = time.perf_counter()
        from evalkit.engines.transformers import TransformersEngine

        engine = TransformersEngine(checkpoint, dtype="float32")
        list(engine.generate(prompts[:1], Sampling(max_new_tokens=1)))
        start_up = time.perf_counter() - begin

        def batched(size: int) -> Mapping[str, str | None]:
            engine.batch_size = size
            sampling = Sampling(max_new_tokens=NEW_TOKENS)
            return {response.prompt_id: response.text for response in engine.generate(prompts, sampling)}

        texts, plain_rate = timed(lambda: plain_loop(engine, prompts), images)
        rows: list[Row] = [("plain loop", plain_rate, images)]
        for size in BATCH_SIZES:
            found, rate = timed(lambda size=size: batched(size), images)  # type: ignore[misc]
            rows.append((f"batch {size}", rate, sum(found[name] == text for name, text in texts.items())))
    print(f"{'':<16}{'samples/s (CPU)':>20}{'ratio (CPU)':>20}{'identical text':>18}")
    for what, rate, identical in rows:
        ratio = f"{rate[0] / plain_rate[0]:.2f} ({rate[1] / plain_rate[1]:.2f})"
        print(f"{what:<16}{f'{rate[0]:.1f} ({rate[1]:.1f})':>20}{ratio:>20}{f'{identical}/{images}':>18}")
    print(f"limit: {LIMIT:g} at batch {BATCH_SIZES[-1]}; bound: {BATCH_SIZES[-1]}, the weights read once for all rows")
    print(f"start-up: {start_up:.1f} s")
    return rows


def write_inputs(folder: Path, images: int) -> "tuple[list[Prompt], Path]":
    """Random 128 x 96 images with one question each, and a checkpoint (built apart: start-up is timed)."""
    import subprocess

    import numpy as np
    from PIL import Image

    from evalkit.images import ImageFile
    from evalkit.schema import Prompt

    build = f"from tiny_models import save_tiny; save_tiny('llava', {str(folder / 'model')!r}, size=56, hidden=64)"
    subprocess.run([sys.executable, "-c", build], check=True, cwd=ROOT / "tests", capture_output=True)
    random = np.random.default_rng(SEED)
    for i in range(images):
        Image.fromarray(random.integers(0, 256, (96, 128, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    prompts = [Prompt(f"{i}", "Describe the image.", (ImageFile(folder, f"{i}.png"),)) for i in range(images)]
    return prompts, folder / "model"


def plain_loop(engine: "TransformersEngine", prompts: "list[Prompt]") -> Mapping[str, str | None]:
    """The same responses by nothing but the libraries' own calls, one prompt after the other."""
    import torch

    processor, model = engine.encoder.processor, engine.model
    texts: dict[str, str | None] = {}
    for prompt in prompts:
        content = [{"type": "image"}, {"type": "text", "text": prompt.text}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(text=text, images=prompt.images[0].open(), return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=NEW_TOKENS,
                suppress_tokens=list(engine.encoder.placeholder_ids),
            )
        new = ids[0, inputs["input_ids"].shape[1] :]
        texts[prompt.id] = processor.tokenizer.decode(new, skip_special_tokens=True).strip()
    return texts


def timed(work: Callable[[], Mapping[str, str | None]], images: int) -> tuple[Mapping[str, str | None], Rate]:
    """(texts, images per second of time and of the processor's time)."""
    begin, cpu = time.perf_counter(), time.process_time()
    texts = work()
    return texts, (images / (time.perf_counter() - begin), images / (time.process_time() - cpu))


if __name__ == "__main__":
    main()
