"""Speed of fronts: 1,000 responses cut and scored at every cut, and the dashboard's page with four fronts of 500.

    python tests/speed/fronts.py

CPU seconds of one core, after the responses themselves were scored (which loads the language data). Promised: at most
2 s per scorer, and 1 s for the page. Where cuts share one reading, the ratio is to scoring every cut text on its own in
the same minutes; its bound is 1.
"""

import gzip
import json
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

from streamlit.testing.v1 import AppTest  # noqa: E402

from benchmarks.amber import AMBER  # noqa: E402
from benchmarks.chair import CHAIR  # noqa: E402
from benchmarks.object_halbench import ObjectHalBench  # noqa: E402
from dashboard.reading.shown import ENVIRONMENT, Shown  # noqa: E402
from evalkit.analysis.front import measure  # noqa: E402
from evalkit.analysis.front_file import read_fronts, write_fronts  # noqa: E402
from evalkit.analysis.standing import place, placed_json  # noqa: E402
from evalkit.benchmark import Benchmark  # noqa: E402
from evalkit.harness.stages import score  # noqa: E402
from evalkit.harness.stored import import_run  # noqa: E402
from evalkit.runs.run import Run, load_run  # noqa: E402
from evalkit.schema import Item, Prompt, Response, Sample  # noqa: E402
from tests.speed.__main__ import LEFT_OUT  # noqa: E402
from tests.speed.chair import GOLDEN, opera_captions  # noqa: E402

APP = ROOT / "dashboard" / "app.py"
RESPONSES, IN_A_RUN, RUNS = 1000, 500, 4
LIMITS = {"scorer": 2.0, "page": 1.0}


def captions() -> list[str]:
    """Captions that OPERA released, else those of less-is-more."""
    if (GOLDEN / "chair" / "opera_captions").is_dir():
        return opera_captions()
    files = sorted((ASSETS / "released" / "less-is-more").glob("*.jsonl.gz"))
    return [row["text"] for path in files for row in read_released(path)]


def read_released(path: Path) -> list[dict[str, str]]:
    """Rows of a packed file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def scorers() -> dict[str, Benchmark]:
    """Every scorer that has a truncation front."""
    references = ASSETS / "chair" / "coco_gt_objects.json"
    return {
        "CHAIR pos_lemma": CHAIR(references=references),
        "CHAIR singularize": CHAIR(references=references, variant="singularize"),
        "AMBER generative": AMBER(similarity="identity", dimensions=["generative"], without_images=True),
        "Object HalBench lemma": ObjectHalBench(references=references, without_images=True, extractor="lemma"),
        "Object HalBench judged": ObjectHalBench(
            references=references, without_images=True, analyser="nltk", prompt="own"
        ),
    }


def samples_of(benchmark: Benchmark, texts: list[str]) -> list[Sample]:
    """One scored sample per text, over the benchmark's own items in turn."""
    items = benchmark.items()
    samples = []
    for index, text in enumerate(texts):
        own = items[index % len(items)]
        item = Item(str(index), own.question, None, own.reference, own.groups)
        scored = benchmark.score(item, text, reply_of(benchmark, text))
        samples.append(Sample(item, Prompt(item.id, ""), Response(item.id, text), scored))
    return samples


def reply_of(benchmark: Benchmark, text: str) -> str | None:
    """What an extractor would list that names every object by its word; None where nobody is asked."""
    if not isinstance(benchmark, ObjectHalBench) or benchmark.extractor == "lemma":
        return None
    return json.dumps(list(dict.fromkeys(mention.word for mention in benchmark.table.finder.find(text).mentions)))


def apart(benchmark: Benchmark) -> Benchmark:
    """The benchmark, every cut of which is a text like any other."""
    benchmark.count_cuts = lambda sample, ends: Benchmark.count_cuts(benchmark, sample, ends)  # type: ignore[method-assign]
    return benchmark


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> int:
    """Measure and print; LEFT_OUT where there are no captions or no official files."""
    texts = captions()[:RESPONSES]
    if len(texts) < RESPONSES or not (ASSETS / "chair" / "coco_gt_objects.json").exists():
        print("needs EVALKIT_ASSETS with the official files, and captions below it or in EVALKIT_GOLDEN")
        return LEFT_OUT
    print(f"{len(texts)} captions; CPU seconds, one core")
    columns = f"{'limit':>7}{'each cut alone':>16}{'ratio':>7}{'bound':>7}{'intervals':>11}{'cuts':>8}"
    print(f"{'':<24}{'cut and score':>14}{columns}")
    for name, benchmark in scorers().items():
        print(scorer_line(name, benchmark, texts), flush=True)
    first, again = dashboard_page(texts)
    print(f"page of {RUNS} fronts of {IN_A_RUN}: {first:.2f} to open, {again:.2f} again, limit {LIMITS['page']:g}")
    return 0


def scorer_line(name: str, benchmark: Benchmark, texts: list[str]) -> str:
    """Measured: all cuts of the texts, the same cuts scored one by one, intervals of all points."""
    samples = samples_of(benchmark, texts)
    (front,) = measure(benchmark, samples)
    together = min(seconds(lambda: measure(benchmark, samples)) for _ in range(2))
    intervals = seconds(lambda: front.points)
    cuts = "+".join(str(len(curve.cuts)) for curve in front.curves)
    ratio = f"{'':>30}"
    if isinstance(benchmark, AMBER):
        alone = min(seconds(lambda: measure(apart(benchmark), samples)) for _ in range(2))
        ratio = f"{alone:>16.2f}{together / alone:>7.2f}{1:>7g}"
    return f"{name:<24}{together:>14.2f}{LIMITS['scorer']:>7g}{ratio}{intervals:>11.2f}{cuts:>8}"


def dashboard_page(texts: list[str]) -> tuple[float, float]:
    """Seconds until the dashboard's page Fronts is there, with its files read for the first time, and again."""
    with tempfile.TemporaryDirectory() as folder:
        for index in range(RUNS):
            write_run(Path(folder), f"run{index}", texts[index : index + IN_A_RUN])
        place_beside_the_first([load_run(Path(folder) / "runs" / f"run{index}" / "chair") for index in range(RUNS)])
        os.environ[ENVIRONMENT] = Shown((Path(folder) / "runs",)).as_text()
        app = AppTest.from_file(str(APP), default_timeout=300).run()
        app.switch_page("views/live.py").run()  # imports are paid once, before
        first = seconds(lambda: app.switch_page("views/fronts.py").run())
        assert not app.exception, [error.message for error in app.exception]
        assert len(app.get("vega_lite_chart")) == 1
        return first, seconds(app.run)


def write_run(folder: Path, name: str, texts: list[str]) -> None:
    """A scored run of CHAIR whose captions are these."""
    benchmark = scorers()["CHAIR singularize"]
    rows = [{"image_id": int(item.id), "caption": text} for item, text in zip(benchmark.items(), texts, strict=False)]
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = folder / "runs" / name / "chair"
    score(import_run(benchmark, [path], run, name), run)


def place_beside_the_first(runs: list[Run]) -> None:
    """Let every run stand beside the first one, as `evalkit front` leaves it."""
    (front,) = read_fronts(runs[0])
    for run in runs[1:]:
        beside = [placed_json(placed) for placed in place(front, runs[0].label, {run.label: run})]
        write_fronts(run.folder, str(run.signature), read_fronts(run), beside)


if __name__ == "__main__":
    sys.exit(main())
