"""The worked example: are OPERA's three decoding methods different at n = 500?

    python docs/examples/opera.py GOLDEN ASSETS RUNS

GOLDEN  folder with chair/opera_captions/<model>.<method>.jsonl, the captions that OPERA's authors released
ASSETS  folder with chair/coco_gt_objects.json and chair/synonyms.txt
RUNS    where run directories go

Scores each file with CHAIR and prints the report and the comparison of every two methods of a model, with power.
"""

import json
import sys
from pathlib import Path

from evalkit.comparison import compare
from evalkit.comparison_report import comparison_report
from evalkit.report import table

from benchmarks.chair import CHAIR
from evalkit.engines.replay import ReplayEngine
from evalkit.harness import generate, plan, score

METRICS = ("chair_s", "chair_i", "recall")
METHODS = {"greedy": "greedy", "beam5": "beam 5", "ours": "OPERA"}


def score_captions(path: Path, assets: Path, runs: Path) -> Path:
    """Score one file of released captions; its image ids are the items."""
    model, method = path.stem.rsplit(".", 1)
    run_dir = runs / model / method
    if (run_dir / "metrics.json").exists():
        return run_dir
    ids = [json.loads(line)["image_id"] for line in path.read_text().splitlines()]
    id_file = runs / f"{path.stem}.ids.json"
    id_file.parent.mkdir(parents=True, exist_ok=True)
    id_file.write_text(json.dumps(sorted(ids)))
    benchmark = CHAIR(
        synonyms=assets / "chair" / "synonyms.txt",
        references=assets / "chair" / "coco_gt_objects.json",
        image_ids=id_file,
    )
    work = plan(benchmark, decoding_known=False)
    generate(work, ReplayEngine(path), run_dir, label=METHODS[method])
    score(work, run_dir)
    return run_dir


def main(golden: Path, assets: Path, runs: Path) -> None:
    """Print the report and the comparison of each model."""
    captions = golden / "chair" / "opera_captions"
    for model in sorted({path.stem.rsplit(".", 1)[0] for path in captions.glob("*.jsonl")}):
        folders = [score_captions(captions / f"{model}.{method}.jsonl", assets, runs) for method in METHODS]
        comparison = comparison_report(compare(*folders, against="all", metrics=METRICS), power=[3])
        sys.stdout.write(f"# {model}\n\n{table(folders)}\n\n{comparison}\n\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
