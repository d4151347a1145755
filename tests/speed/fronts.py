"""Speed of fronts: 1,000 responses cut and scored at every cut, and four stored fronts of 500 responses read.

    python tests/speed/fronts.py

CPU seconds of one core, after the responses themselves were scored (which loads the language data). Promised: at most
2 s per scorer, and 1 s for what the dashboard reads.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
SHARED = ROOT.parent / "shared"
ASSETS = Path(os.environ.setdefault("EVALKIT_ASSETS", str(SHARED / "assets")))
os.environ.setdefault("NLTK_DATA", str(ASSETS / "nltk_data"))

from benchmarks.amber import AMBER  # noqa: E402
from benchmarks.chair import CHAIR  # noqa: E402
from benchmarks.object_halbench import ObjectHalBench  # noqa: E402
from evalkit.analysis.front import measure  # noqa: E402
from evalkit.analysis.front_file import read_fronts, write_fronts  # noqa: E402
from evalkit.benchmark import Benchmark  # noqa: E402
from evalkit.reports.pictures.canvas import SvgCanvas  # noqa: E402
from evalkit.reports.pictures.fronts import HEIGHT, WIDTH, draw  # noqa: E402
from evalkit.runs.run import Run  # noqa: E402
from evalkit.schema import Item, Prompt, Response, Sample  # noqa: E402
from tests.speed.chair import opera_captions  # noqa: E402


def scorers() -> dict[str, Benchmark]:
    """Every scorer that has a truncation front."""
    references = ASSETS / "chair" / "coco_gt_objects.json"
    return {
        "CHAIR pos_lemma": CHAIR(references=references),
        "CHAIR singularize": CHAIR(references=references, variant="singularize"),
        "AMBER generative": AMBER(similarity="identity", dimensions=["generative"], without_images=True),
        "Object HalBench lemma": ObjectHalBench(references=references, without_images=True, extractor="lemma"),
    }


def samples_of(benchmark: Benchmark, texts: list[str]) -> list[Sample]:
    """One scored sample per text, over the benchmark's own items in turn."""
    items = benchmark.items()
    found = []
    for index, text in enumerate(texts):
        own = items[index % len(items)]
        item = Item(str(index), own.question, None, own.reference, own.groups)
        found.append(Sample(item, Prompt(item.id, ""), Response(item.id, text), benchmark.score(item, text)))
    return found


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    texts = opera_captions()[:1000]
    print(f"{len(texts)} captions; CPU seconds, one core")
    chair: list[Sample] = []
    for name, benchmark in scorers().items():
        samples = samples_of(benchmark, texts)
        chair = chair or samples
        fronts = measure(benchmark, samples)
        cuts = ", ".join(f"{len(curve.cuts)} by {curve.name}" for curve in fronts[0].curves)
        took = seconds(lambda benchmark=benchmark, samples=samples: measure(benchmark, samples))
        intervals = seconds(lambda fronts=fronts: fronts[0].points)
        print(f"{name:<24}{took:6.2f} to cut and score ({cuts}), {intervals:5.2f} for intervals")
    benchmark = scorers()["CHAIR pos_lemma"]
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for index in range(4):
            path = Path(folder) / str(index)
            path.mkdir()
            (path / "records.jsonl").write_text("")
            write_fronts(path, "speed", measure(benchmark, chair[:500]))
            runs.append(Run({"benchmark": "chair", "label": str(index)}, [], path=path))

        def page() -> None:
            for run in runs:
                draw(SvgCanvas(WIDTH, HEIGHT), read_fronts(run)[0], run.label, [])

        print(f"{'four fronts of 500':<24}{seconds(page):6.2f} to read and draw, as the dashboard does")


if __name__ == "__main__":
    main()
