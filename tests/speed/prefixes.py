"""Questions about one image read together, against every prompt read whole: LLaVA, 576 image tokens, one batch size.

    OMP_NUM_THREADS=1 python tests/speed/prefixes.py

Both sides are the same engine in the same process, in turn; a ratio is the median over the turns. Seconds are those of
the processor. Beside each ratio stands the one that the floating-point operations allow (tower, prefix and tails,
without encoding, decoding of text and journals), and what they say for the shape of LLaVA-1.5-7B.
"""

import inspect
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

IMAGE, PATCH, TOKENS, BATCH, TURNS = 336, 14, 576, 16, 2
OBJECTS = ("dog", "cat", "chair", "car", "dining table", "cup", "traffic light", "bench", "clock")


@dataclass(frozen=True, slots=True)
class Case:
    """Some questions about each of some images.

    limit  ratio that must be reached
    """

    name: str
    images: int
    questions: int
    new_tokens: int
    samples: int
    limit: float


CASES = (
    Case("AMBER, 14 questions", 2, 14, 2, 1, 6.0),
    Case("POPE, 6 questions", 4, 6, 2, 1, 3.0),
    Case("RLAIF labeling, 45 questions", 1, 45, 1, 1, 10.0),
    Case("8 samples of 32 tokens", 2, 1, 32, 8, 2.0),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a tower and a language model, for counting operations."""

    tower_layers: int
    tower_width: int
    tower_inner: int
    layers: int
    width: int
    inner: int
    projections: int  # matrices of an MLP
    vocabulary: int


TINY = Shape(4, 128, 256, 6, 256, 512, 3, 400)
LLAVA_7B = Shape(24, 1024, 4096, 32, 4096, 11008, 3, 32064)


def main(cases: Sequence[Case] = CASES, turns: int = TURNS) -> list[dict[str, Any]]:
    """Measure, print, return the rows."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        engine = build()
        print(f"batch {BATCH}, {TOKENS} image tokens, greedy but for the samples; CPU seconds")
        print(f"{'':<30}{'whole':>8}{'shared':>8}{'ratio':>7}{'limit':>7}{'FLOPs':>7}{'at 7B':>7}  identical")
        rows = [shown(measure(engine, case, Path(name), turns)) for case in cases]
        parts = {"shared": shares(engine, Path(name), True), "whole": shares(engine, Path(name), False)}
    for name, part in parts.items():
        text = ", ".join(f"{what} {share:.0%}" for what, share in part.items())
        print(f"AMBER's questions, {name}: {text}")
    print("FLOPs: the ratio that operations allow; at 7B it is counted, not measured")
    return rows


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Print a row as soon as it is there."""
    print(
        f"{row['name']:<30}{row['whole']:>8.2f}{row['shared']:>8.2f}{row['ratio']:>7.1f}{row['limit']:>7.1f}"
        f"{row['bound']:>7.1f}{row['bound_7b']:>7.1f}  {row['identical']}",
        flush=True,
    )
    return row


def build() -> Any:
    """An engine on the model of the prototype: a tower of 4 layers x 128, a language model of 6 layers x 256."""
    from evalkit.engines.transformers import TransformersEngine
    from tests.tiny_models import build_tiny

    sizes = {"text": TINY.width, "layers": TINY.layers, "tower": TINY.tower_layers}
    model, processor = build_tiny("llava", size=IMAGE, patch=PATCH, hidden=TINY.tower_width, **sizes)
    return TransformersEngine.from_live(model, processor, name="tiny", batch_size=BATCH)


def ask(folder: Path, case: Case) -> list[Any]:
    """The prompts of a case; images are written on the way."""
    import numpy as np
    from PIL import Image

    from evalkit.images import ImageFile
    from evalkit.schema import Prompt

    random = np.random.default_rng(0)
    prompts = []
    for i in range(case.images):
        if not (folder / f"{i}.jpg").exists():
            Image.fromarray(random.integers(0, 256, (480, 640, 3), dtype=np.uint8)).save(folder / f"{i}.jpg")
        for k in range(case.questions):
            text = f"Is there a {OBJECTS[k % len(OBJECTS)]} number {k} in the image?"
            prompts.append(Prompt(f"{i}-{k}", text, (ImageFile(folder, f"{i}.jpg"),)))
    return prompts


def measure(engine: Any, case: Case, folder: Path, turns: int) -> dict[str, Any]:
    """One row of the table."""
    from evalkit.sampling import Sampling

    prompts = ask(folder, case)
    sampling = Sampling(max_new_tokens=case.new_tokens, n=case.samples, temperature=1.0 if case.samples > 1 else 0.0)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    texts: dict[bool, dict[Any, Any]] = {}
    for share in (True, False):
        run(engine, prompts[:2], sampling, share)  # warm
    for _ in range(turns):
        for share in (False, True):
            begin = time.process_time()
            texts[share] = run(engine, prompts, sampling, share)
            seconds[share].append(time.process_time() - begin)
    length = TOKENS + 20  # about what the template and a question take
    same = sum(texts[True][key] == text for key, text in texts[False].items())
    return {
        "name": case.name,
        "whole": median(seconds[False]),
        "shared": median(seconds[True]),
        "ratio": median(a / b for a, b in zip(seconds[False], seconds[True], strict=True)),
        "limit": case.limit,
        "bound": bound(TINY, case, length),
        "bound_7b": bound(LLAVA_7B, case, length),
        "identical": f"{same}/{len(texts[False])}",
    }


def run(engine: Any, prompts: Sequence[Any], sampling: Any, share: bool) -> dict[Any, Any]:
    """Token ids by (prompt, sample)."""
    engine.share_prefixes = share
    return {(found.prompt_id, found.sample): found.token_ids for found in engine.generate(prompts, sampling)}


def shares(engine: Any, folder: Path, share: bool) -> dict[str, float]:
    """Where the processor's time goes: tower, reading of prompts, new tokens, the rest."""
    from evalkit.sampling import Sampling

    seconds = {"tower": 0.0, "prefill": 0.0, "decode": 0.0}
    with clocked(engine.model, seconds):
        begin = time.process_time()
        run(engine, ask(folder, CASES[0]), Sampling(max_new_tokens=2), share)
        whole = time.process_time() - begin
    seconds["prefill"] -= seconds["tower"]
    return {name: value / whole for name, value in seconds.items()} | {"rest": 1 - sum(seconds.values()) / whole}


@contextmanager
def clocked(model: Any, seconds: dict[str, float]) -> Iterator[None]:
    """Add up the processor's time in the tower, in calls with many columns, and in those with one.

    One more token goes through the model, or through its text model and head alone.
    """
    inside: list[str] = []

    def timed(name: str, work: Any, *args: Any, **keywords: Any) -> Any:
        counts = not inside or (name == "tower" and inside[-1] != "tower")
        inside.append(name)
        begin = time.process_time()
        found = work(*args, **keywords)
        inside.pop()
        if counts:
            seconds[name] += time.process_time() - begin
        return found

    def by_columns(work: Any) -> Any:
        def forward(*args: Any, **keywords: Any) -> Any:
            first = keywords.get("input_ids", args[0] if args else None)
            one = first is None or first.shape[1] == 1
            return timed("decode" if one else "prefill", work, *args, **keywords)

        forward.__signature__ = inspect.signature(work)  # type: ignore[attr-defined]
        return forward

    tower = model.model.vision_tower
    parts = (model, model.get_decoder(), model.get_output_embeddings())
    inner = tower.forward
    tower.forward = lambda *args, **keywords: timed("tower", inner, *args, **keywords)
    for part in parts:
        part.forward = by_columns(part.forward)
    try:
        yield
    finally:
        for part in (tower, *parts):
            del part.forward


def bound(shape: Shape, case: Case, length: int) -> float:
    """Floating-point operations of whole prompts over those of shared ones."""
    tower = layer(shape.tower_width, shape.tower_inner, 2, TOKENS + 1, TOKENS + 1) * shape.tower_layers
    rows = case.questions * case.samples

    def read(columns: int, context: int) -> float:
        return layer(shape.width, shape.inner, shape.projections, columns, context) * shape.layers

    head = 2.0 * shape.width * shape.vocabulary
    new = sum(read(1, length + step) + head for step in range(1, case.new_tokens)) * rows
    whole = rows * (tower + read(length, length) + head) + new
    tail = 20
    shared = tower + read(length - tail, length - tail) + case.questions * (read(tail, length) + head) + new
    return whole / shared


def layer(width: int, inner: int, projections: int, columns: int, context: int) -> float:
    """Operations of a transformer layer for so many columns; masked scores are counted too."""
    return columns * (2.0 * (4 * width * width + projections * width * inner) + 4.0 * context * width)


if __name__ == "__main__":
    main()
