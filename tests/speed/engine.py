"""Samples per second of the transformers engine on a tiny LLaVA: 512 images, 32 new tokens, greedy, batch 1, 8 and 32.

    OMP_NUM_THREADS=1 python tests/speed/engine.py

The model has the size of the one on which the peers were timed (vision and text 2 layers x 64, 56-pixel images). Every
row says whether the text equals that of batch 1; start-up is the time to import, load and encode a first prompt.
"""

import sys
import tempfile
import time
from pathlib import Path

SEED = 0
IMAGES, NEW_TOKENS, BATCH_SIZES = 512, 32, (1, 8, 32)


def main(images: int = IMAGES) -> list[dict[str, object]]:
    """One row per batch size: samples/s, ratio to batch 1, and whether the text is identical."""
    begin = time.perf_counter()
    import numpy as np
    from PIL import Image

    from evalkit.engines.transformers import TransformersEngine
    from evalkit.images import ImageFile
    from evalkit.sampling import Sampling
    from evalkit.schema import Prompt

    imported = time.perf_counter() - begin
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tiny_models import save_tiny

    random = np.random.default_rng(SEED)
    sampling = Sampling(max_new_tokens=NEW_TOKENS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = save_tiny("llava", folder / "model", size=56, patch=14, hidden=64)
        prompts = []
        for i in range(images):
            pixels = random.integers(0, 256, (96, 128, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
            prompts.append(Prompt(f"{i}", "Describe the image.", (ImageFile(folder, f"{i}.png"),)))
        begin = time.perf_counter()
        engine = TransformersEngine(checkpoint, dtype="float32")
        list(engine.generate(prompts[:1], Sampling(max_new_tokens=1)))
        start_up = imported + time.perf_counter() - begin
        rows: list[dict[str, object]] = []
        reference: dict[str, str | None] = {}
        first_rate = 0.0
        for size in BATCH_SIZES:
            engine.batch_size = size
            begin = time.perf_counter()
            texts = {response.prompt_id: response.text for response in engine.generate(prompts, sampling)}
            rate = images / (time.perf_counter() - begin)
            reference, first_rate = reference or texts, first_rate or rate
            rows.append(
                {
                    "batch": size,
                    "samples_per_second": round(rate, 1),
                    "ratio": round(rate / first_rate, 2),
                    "identical_to_batch_1": texts == reference,
                    "start_up_seconds": round(start_up, 2),
                }
            )
    return rows


if __name__ == "__main__":
    for row in main():
        print("  ".join(f"{name} {value}" for name, value in row.items()))
