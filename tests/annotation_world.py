"""A small study for tests: two runs over drawn images, and a folder to annotate in."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from evalkit.annotation.answers import Task
from evalkit.annotation.draw import draw_study
from evalkit.annotation.guideline import default_guideline
from evalkit.annotation.study import TYPES, Study, write_study
from evalkit.metrics import Metric
from evalkit.runs.records import write_json
from evalkit.runs.run import load_run

METRIC = Metric("rate", "100 * hallucinated_responses / responses", higher_is_better=False, role="rate")
BASE = {
    "1": "🐶 A red dog sits on a sofa.",
    "2": "A cat and a bird.",
    "3": "Two cups on a table.",
    "4": "A man rides a horse.",
}
OTHER = {
    "1": "🐶 A black dog sits on a sofa.",
    "2": "A cat.",
    "3": "Three cups on a table.",
    "4": "A man rides a horse.",
}


def write_run(folder: Path, label: str, responses: Mapping[str, str], images: Path, **more: Any) -> Path:
    """A scored run over one drawn image per item; `more` replaces fields of every record."""
    folder.mkdir(parents=True)
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for place, (name, text) in enumerate(responses.items()):
        image = images / f"{name}.png"
        if not image.exists():
            Image.new("RGB", (64, 48), (40 * place % 256, 90, 120)).save(image)
        rows.append(record(name, text, images) | more)
    manifest = {
        "schema": 1, "evalkit": "0", "benchmark": "toy", "label": label, "model": {"model": label},
        "sampling": {"n": 1}, "settings": {}, "judge": None, "prompts": "0", "images": "0", "ids": "0",
        "items": len(rows), "versions": {}, "metrics": [METRIC.as_dict()], "signature": "toy",
    }  # fmt: skip
    write_json(folder / "run.json", manifest)
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    value = {"value": 50.0, "low": 1.0, "high": 99.0, "method": "expanded"}
    results = {"n_scored": len(rows), "n_total": len(rows), "failures": {}, "metrics": {"rate": value}, "groups": {},
               "checks": {}}  # fmt: skip
    write_json(folder / "metrics.json", results)
    return folder


def record(name: str, text: str, images: Path) -> dict[str, Any]:
    """One line of records.jsonl; the dog of item 1 counts as hallucinated."""
    start = text.find("dog")
    findings = [{"start": start, "end": start + 3, "label": "hallucinated", "note": "dog"}] if start >= 0 else []
    return {
        "id": name, "sample": 0, "question": "Describe.", "prompt": "Describe.",
        "image": {"folder": str(images), "name": f"{name}.png"}, "groups": {"kind": "odd" if int(name) % 2 else "even"},
        "cluster": name, "reference": {"objects": ["sofa"]},
        "response": {"text": text, "failure": None, "finish": "stop", "tokens": 5}, "verdict": None,
        "score": {"counts": {"responses": 1, "hallucinated_responses": len(findings)}, "failure": None,
                  "findings": findings, "details": {}},
    }  # fmt: skip


def make_study(
    folder: Path,
    task: Task = "mark",
    annotators: Sequence[str] = ("anna",),
    runs: Sequence[Mapping[str, str]] = (),
    **settings: Any,
) -> Study:
    """A study over the runs "base" (and, to compare, "other"), written below `folder`."""
    texts = runs or ([BASE, OTHER] if task == "compare" else [BASE])
    paths = [folder / "runs" / name for name in ("base", "other", "third")[: len(texts)]]
    for path, responses in zip(paths, texts, strict=True):
        if not path.exists():
            write_run(path, path.name, responses, folder / "images")
    types = settings.pop("types", TYPES["rlhf-v"])
    study = draw_study(
        folder / "study", [load_run(path) for path in paths], task, types, annotators=annotators, **settings
    )
    write_study(study, default_guideline(task, types))
    return study
