"""Run directories whose every text is a payload: labels, ids, questions, responses, notes, verdicts, file names."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from evalkit.metrics import Metric
from evalkit.runs.records import write_json

PAYLOADS: list[str] = json.loads((Path(__file__).parent / "dashboard" / "hostile.json").read_text("utf-8"))
METRICS = [
    Metric("rate", "100 * wrong / responses", higher_is_better=False, role="rate"),
    Metric("recall", "100 * named / responses", higher_is_better=True),
]


def write_hostile(folder: Path) -> Path:
    """Two runs of the same items, an unfinished one, an alignment; returns the folder of all of it."""
    images = folder / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (40, 30), "teal").save(images / "a.png")
    for number in (0, 1):
        write_run(folder / "runs" / f"run{number} <b>x&", PAYLOADS, images, shift=number)
    _write_unfinished(folder / "runs" / "going '\"><img src=x onerror=window.hit=1>")
    _write_alignment(folder / "aligned ![x](http:)")
    return folder


def write_run(folder: Path, payloads: list[str], images: Path, shift: int = 0) -> Path:
    """One item per payload; `shift` moves the responses, so that two runs differ in all of them."""
    folder.mkdir(parents=True)
    rows = [
        _row(index, payload, payloads[(index + shift) % len(payloads)], images)
        for index, payload in enumerate(payloads)
    ]
    wrong = sum(row["score"]["counts"]["wrong"] for row in rows)
    write_json(folder / "run.json", _manifest(payloads[shift], len(rows)))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "records.jsonl").write_text(lines)
    write_json(folder / "metrics.json", _results(rows, wrong))
    return folder


def _row(index: int, payload: str, response: str, images: Path) -> dict[str, Any]:
    name = "a.png" if index % 2 else payload
    finding = {"start": 0, "end": max(1, len(response) // 2), "label": "hallucinated", "note": payload}
    odd = {"start": 1, "end": 10**6, "label": payload, "note": payload}
    verdict = {"id": str(index), "sample": 0, "key": payload, "reply": payload, "attempts": [{"raw": payload}] * 2}
    return {
        "id": f"{index} {payload}",
        "sample": 0,
        "question": payload,
        "prompt": payload,
        "image": {"folder": str(images), "name": name},
        "groups": {"kind": f"{payload[:40]}{index % 3}", payload[:30]: f"v{index % 2}"} if index < 3 else {},
        "cluster": str(index),
        "reference": {"objects": [payload, "dog"]},
        "response": {"text": response, "failure": None, "finish": payload, "tokens": 3},
        "verdict": verdict,
        "score": {
            "counts": {"responses": 1, "wrong": (index + len(response)) % 2, "named": 1},
            "failure": None,
            "findings": [finding, odd],
            "details": {payload: payload, "extracted": [payload]},
        },
    }


def _manifest(label: str, items: int) -> dict[str, Any]:
    return {
        "schema": 1,
        "evalkit": "0.1.0",
        "benchmark": "<script>window.hit=1</script>",
        "label": label,
        "model": {"model": label, "engine": "scripted"},
        "sampling": {"temperature": 0.0, "max_new_tokens": 8, "n": 1},
        "settings": {"data": "![x](http://beacon.invalid/s.png)"},
        "judge": {"model": "<img src=x onerror=window.hit=1>"},
        "prompts": "0",
        "images": "0",
        "ids": "0",
        "items": items,
        "versions": {},
        "metrics": [metric.as_dict() for metric in METRICS],
        "signature": "x|y:<img src=x onerror=window.hit=1>",
    }


def _results(rows: list[dict[str, Any]], wrong: int) -> dict[str, Any]:
    text = "<img src=x onerror=window.hit=1> ![x](http://beacon.invalid/flag.png)"
    value = {"value": 100 * wrong / len(rows), "low": 1.0, "high": 99.0, "method": "expanded"}
    return {
        "n_scored": len(rows),
        "n_total": len(rows),
        "failures": {text: 1},
        "metrics": {"rate": value, "recall": value},
        "groups": {},
        "baselines": {text: {"rate": 1.0}},
        "checks": {"words": {"mean": 3.0}, "flags": [{"kind": text, "text": text, "disqualifies": False}]},
    }


def _write_unfinished(folder: Path) -> None:
    folder.mkdir(parents=True)
    manifest = _manifest("<svg onload=window.hit=1>", 2 * len(PAYLOADS))
    write_json(folder / "run.json", {key: value for key, value in manifest.items() if key != "metrics"})
    rows = [{"id": payload, "sample": 0, "text": payload, "finish": "stop"} for payload in PAYLOADS]
    (folder / "responses.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_alignment(folder: Path) -> None:
    folder.mkdir(parents=True)
    write_json(folder / "card.json", {payload: payload for payload in PAYLOADS[:40] if "\ud800" not in payload})
    steps = [{"step": step, "loss": 1 / step, PAYLOADS[step % 20]: step} for step in range(1, 30)]
    (folder / "training.jsonl").write_text("".join(json.dumps(row) + "\n" for row in steps))
    pairs = [
        {"id": str(n), "image": payload, "prompt": payload, "chosen": payload, "rejected": PAYLOADS[n - 1], "meta": {}}
        for n, payload in enumerate(PAYLOADS)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
