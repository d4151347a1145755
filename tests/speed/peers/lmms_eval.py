"""Side by side with lmms-eval 0.7.3 (its llava_hf class): one tiny LLaVA, greedy, one thread.

    make speed-peers        SIZES="IMAGES TURNS BATCH_SIZE ..." make speed-peers for another amount of work

Captions of 32 new tokens, one an image; and POPE's questions, six an image, of 2 new tokens: the word and the end. Both
programs are run in turns, with 8 prompts and with some 500. Start-up is the run with 8, from start to end; the rate is
that of the longer run, from the first image opened to the first response scored (both tasks note these moments).
lmms-eval takes batch size 1 only. Of each run the best of the turns counts. Wall time depends on what else the machine
does, the CPU time of a process hardly. Fails if a response is not lmms-eval's.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PEER = ROOT / os.environ.get("LMMS_VENV", ".venv-lmms") / "bin" / "lmms-eval"
IMAGES, FEW, TURNS, BATCH_SIZES = 512, 8, 2, (1, 8, 32)
NEW_TOKENS = {"captions": 32, "pope": 2}
LIMITS = {
    "captions": "batch 1 at least 1.00, batch 32 at least 14",
    "pope": "batch 1 at least 1.00, batch 32 at least 20",
}
SEED, STAMPS = 0, "stamps"
TASK = """task: tinycap
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
test_split: test
output_type: generate_until
doc_to_visual: !function functions.visual
doc_to_text: !function functions.text
doc_to_target: question
process_results: !function functions.results
generation_kwargs:
  max_new_tokens: {tokens}
  temperature: 0
  do_sample: false
metric_list:
  - metric: length
    aggregation: mean
    higher_is_better: true
"""


class Cost(NamedTuple):
    """Seconds of one process."""

    wall: float
    cpu: float


class Row(NamedTuple):
    """One program at one batch size: seconds to start, samples per second (by wall time, by CPU time)."""

    what: str
    start_up: Cost
    rate: Cost
    identical: int


def main(images: int = IMAGES, turns: int = TURNS, *batch_sizes: int) -> list[Row]:
    """Measure and print both tasks; of each the first row is lmms-eval's."""
    sys.path[:0] = [str(ROOT)]
    from tests.speed.peers.captions import QUESTIONS
    from tests.speed.peers.older_checkpoint import save_for_both

    if not PEER.exists():
        raise SystemExit("no lmms-eval: make speed-peers")
    rows = []
    for asked, questions in QUESTIONS.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save_for_both(folder / "model")
            count = -(-images // len(questions))
            write_images(folder / "images", count)
            write_task(folder, questions, count, NEW_TOKENS[asked])
            rows += side_by_side(folder, asked, count * len(questions), turns, batch_sizes or BATCH_SIZES)
    return rows


def side_by_side(folder: Path, asked: str, prompts: int, turns: int, batch_sizes: Sequence[int]) -> list[Row]:
    """The rows of one task.

    Raises:
        SystemExit: if a text is not lmms-eval's.
    """
    runs: dict[str, Callable[[int, Path], dict[str, str]]] = {"lmms-eval, batch 1": peer(folder)}
    for size in batch_sizes:
        runs[f"evalkit, batch {size}"] = ours(folder, asked, size)
    costs: dict[tuple[str, int], list[Cost]] = {}
    texts: dict[str, dict[str, str]] = {}
    loads = []
    for _ in range(turns):
        for count in (FEW, prompts):
            for what, run in runs.items():
                loads.append(os.getloadavg()[0])
                whole, part, texts[what] = timed(run, count, folder / f"out{len(loads)}")
                costs.setdefault((what, count), []).append(whole if count == FEW else part)
    rows = [row(what, costs, texts) for what in runs]
    show(asked, rows, prompts, turns, loads)
    if different := explain(texts):
        raise SystemExit(different)
    return rows


def write_images(folder: Path, images: int) -> None:
    """Random images, 128 x 96."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    random = np.random.default_rng(SEED)
    for i in range(images):
        Image.fromarray(random.integers(0, 256, (96, 128, 3), dtype=np.uint8)).save(folder / f"{i}.png")


def write_task(folder: Path, questions: Sequence[str], images: int, tokens: int) -> None:
    """The task folder of lmms-eval, with its rows."""
    (folder / "tasks").mkdir()
    paths = [str(folder / "images" / f"{i}.png") for i in range(images)]
    rows = [{"path": path, "question": question} for path in paths for question in questions]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
    (folder / "tasks" / "tinycap.yaml").write_text(TASK.format(rows=folder / "rows.jsonl", tokens=tokens))
    (folder / "tasks" / "functions.py").write_text((HERE / "lmms_task.py").read_text())


def peer(folder: Path) -> Callable[[int, Path], dict[str, str]]:
    """Runs lmms-eval on so many prompts; returns id -> text."""

    def run(prompts: int, out: Path) -> dict[str, str]:
        model = f"pretrained={folder / 'model'},device=cpu,device_map=cpu"
        command = [str(PEER), "--model", "llava_hf", "--model_args", model, "--include_path", str(folder / "tasks")]
        command += ["--tasks", "tinycap", "--batch_size", "1", "--log_samples", "--output_path", str(out)]
        log = call([*command, "--limit", str(prompts)], folder, folder)
        found = list(out.rglob("*samples_tinycap.jsonl"))
        if len(found) != 1:  # it exits with 0 after an error
            raise SystemExit(f"lmms-eval wrote no samples:\n{log}")
        rows = [json.loads(line) for line in found[0].read_text().splitlines()]
        return {str(line["doc_id"]): line["filtered_resps"] for line in rows}

    return run


def ours(folder: Path, asked: str, batch_size: int) -> Callable[[int, Path], dict[str, str]]:
    """Runs `evalkit run` on so many prompts at a batch size; returns id -> text."""
    task = "tests.speed.peers.captions:Captions"

    def run(prompts: int, out: Path) -> dict[str, str]:
        command = [sys.executable, "-m", "evalkit", "run", "--model", str(folder / "model"), "--tasks", task]
        command += ["--set", f"{task}.images={folder / 'images'}", "--batch-size", str(batch_size), "--device", "cpu"]
        command += ["--set", f"{task}.asked={asked}", "--max-new-tokens", str(NEW_TOKENS[asked])]
        command += ["--output-path", str(out), "--limit", str(prompts)]
        call(command, ROOT, folder)
        rows = [json.loads(line) for line in (out / "model/captions/responses.jsonl").read_text().splitlines()]
        return {line["id"]: line["text"] for line in rows}

    return run


def call(command: Sequence[str], where: Path, folder: Path) -> str:
    """Run a program in the folder `where`, offline, on one core; what it printed.

    Raises:
        SystemExit: if it fails.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        **dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "OMP_NUM_THREADS"), "1"),
        "STAMPS": str(folder / STAMPS),
        "HF_DATASETS_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{Path(command[0]).name} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def timed(run: Callable[[int, Path], dict[str, str]], prompts: int, out: Path) -> tuple[Cost, Cost, dict[str, str]]:
    """Seconds of the process that `run` starts, seconds of its generation, and its texts."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    texts = run(prompts, out)
    after, end = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(end - begin, cpu), generation(out.parent / STAMPS), texts


def generation(stamps: Path) -> Cost:
    """From the first image opened to the first response scored; the file is emptied for the next run."""
    moments: dict[str, Cost] = {}
    for line in stamps.read_text().splitlines():
        event, wall, cpu = line.split()
        moments.setdefault(event, Cost(float(wall), float(cpu)))
    stamps.unlink()
    return Cost(*(last - first for first, last in zip(moments["image"], moments["score"], strict=True)))


def best(costs: Sequence[Cost]) -> Cost:
    """The shortest wall time and the shortest CPU time."""
    return Cost(min(cost.wall for cost in costs), min(cost.cpu for cost in costs))


def row(what: str, costs: Mapping[tuple[str, int], Sequence[Cost]], texts: Mapping[str, Mapping[str, str]]) -> Row:
    """The figures of one program."""
    prompts = len(texts[what])
    few, many = best(costs[what, FEW]), best(costs[what, prompts])
    rate = Cost(prompts / many.wall, prompts / many.cpu)
    theirs = texts["lmms-eval, batch 1"]
    return Row(what, few, rate, sum(theirs[name].strip() == text.strip() for name, text in texts[what].items()))


def show(asked: str, rows: Sequence[Row], prompts: int, turns: int, loads: Sequence[float]) -> None:
    """Print the table, every row with its ratio to the first."""
    print(f"{asked}: {prompts} prompts, {NEW_TOKENS[asked]} new tokens, greedy, float32, one thread; best of {turns}\n")
    head = ("start-up, wall s (CPU s)", "ratio", "samples/s, wall (CPU)", "ratio", "identical text")
    print(f"{'':<20}" + "".join(f"{word:>25}" if "wall" in word else f"{word:>16}" for word in head))
    first = rows[0]
    for line in rows:
        start_up = f"{line.start_up.wall:.1f} ({line.start_up.cpu:.1f})"
        rate = f"{line.rate.wall:.1f} ({line.rate.cpu:.1f})"
        print(
            f"{line.what:<20}{start_up:>25}{ratio(line.start_up, first.start_up):>16}"
            f"{rate:>25}{ratio(line.rate, first.rate):>16}{line.identical:>12}/{prompts}"
        )
    print(f"limits: {LIMITS[asked]}; start-up at most 0.35")
    more = " (more where questions share an image, which is read once)" if asked == "pope" else ""
    print(f"bound of batch {(size := max(BATCH_SIZES))}: {size}, the weights read once for all rows{more}")
    print(f"load of the machine while measuring: {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores")


def ratio(ours: Cost, theirs: Cost) -> str:
    """By wall time, and by CPU time in parentheses."""
    return f"{ours.wall / theirs.wall:.2f} ({ours.cpu / theirs.cpu:.2f})"


def explain(texts: Mapping[str, Mapping[str, str]]) -> str:
    """The ids whose text is not lmms-eval's, with both texts; empty if there is none."""
    theirs = texts["lmms-eval, batch 1"]
    lines = [
        f"{what}: {name}: {text[:60]!r}, lmms-eval {theirs[name][:60]!r}"
        for what, found in texts.items()
        for name, text in found.items()
        if text.strip() != theirs[name].strip()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(*map(int, os.environ.get("SIZES", "").split()))
