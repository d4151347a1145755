"""Speed of the dashboard's pages on generated data: 300 runs; a run of 15,220 samples; memory.

Measured on the server through AppTest (the browser's drawing comes on top). The run opened first is read from disk.
`python -m tests.speed.dashboard compare` prints the rows of `evalkit compare` alone.
EVALKIT_SPEED_CLOCK=cpu measures processor time instead, for a machine that is busy with other work.
"""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from streamlit.testing.v1 import AppTest

from dashboard.reading.shown import ENVIRONMENT, Shown
from evalkit.annotation.draw import draw_study
from evalkit.annotation.journal import journal_path
from evalkit.annotation.study import TYPES, Study, read_study, write_study
from evalkit.metrics import sum_counts
from evalkit.reports.pages.site import write_site
from evalkit.runs.checksums import MADE_FROM, digest, manifest_digest, sealed, with_own_sum
from evalkit.runs.records import MANIFEST, RECORDS, write_json
from evalkit.runs.records import METRICS as METRICS_FILE
from evalkit.runs.run import load_run

CHROMIUM = Path("/usr/bin/chromium")
APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
RUNS, SAMPLES, GENERATIVE = 300, 15_220, 1_004
STUDY_ITEMS = 10_000
LIMITS = {
    "overview of 300 runs": 2.0,
    "open a run of 15,220 samples": 2.0,
    "next page": 0.5,
    "evalkit compare, 2 of them, CPU": 1.0,
    "evalkit compare, 20 of them, CPU": 5.0,
    "open a study of 10,000 items": 2.0,
    "site of 15,220 samples, opened": 2.0,
    "the site beyond its images": 10.0,
    "peak memory": 1.0,
}
CLOCK = time.process_time if os.environ.get("EVALKIT_SPEED_CLOCK") == "cpu" else time.perf_counter
OBJECTS = ("dog", "cat", "chair", "cup", "table", "car", "tree", "person", "bird", "kite", "book", "clock")
METRICS = [
    {"name": "chair", "formula": "100 * wrong / mentions", "higher_is_better": False, "role": "rate"},
    {"name": "cover", "formula": "100 * covered / truth", "higher_is_better": True},
    {"name": "accuracy", "formula": "100 * right / questions", "higher_is_better": True},
]


def main(only_compare: bool = False) -> list[dict[str, Any]]:
    """Measure, print, return rows {"what", "value", "unit", "limit"}; the limit is None where none is set."""
    folder = Path(tempfile.mkdtemp(prefix="evalkit-speed-"))
    try:
        rows = _rows(measure_compare(folder)) if only_compare else measure(folder)
    finally:
        shutil.rmtree(folder)
    if CLOCK is time.process_time:
        print("processor time; the site's opening in wall time")
    for row in rows:
        limit = "" if row["limit"] is None else f"limit {row['limit']:g}"
        print(f"{row['what']:<32} {row['value']:8.2f} {row['unit']:<6}{limit}".rstrip())
    return rows


def measure(folder: Path) -> list[dict[str, Any]]:
    """All figures over data generated in a folder."""
    os.environ[ENVIRONMENT] = Shown((write_many(folder / "many"),)).as_text()
    _page("live")  # imports are paid once, before
    overview = _timed(AppTest.from_file(str(APP), default_timeout=300).run)
    os.environ[ENVIRONMENT] = Shown((write_big(folder / "big"),)).as_text()
    app = _page("live")
    opening = _timed(lambda: app.switch_page("views/samples.py").run())
    following = max(_timed(lambda: _next(app)) for _ in range(5))
    filtered = _timed(lambda: app.text_input(key="text").set_value("kite").run())
    compared = _timed(lambda: app.switch_page("views/compare.py").run())
    assert not app.exception, [error.message for error in app.exception]
    study = write_study_of(folder / "study")
    os.environ[ENVIRONMENT] = Shown((folder / "big",), study=study.folder).as_text()
    annotating = _timed(lambda: _annotate(study.tokens["anna"]))
    weight, showing = measure_site(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    values = {
        "overview of 300 runs": (overview, "s"),
        "open a run of 15,220 samples": (opening, "s"),
        "next page": (following, "s"),
        "search its text": (filtered, "s"),
        "compare two such runs": (compared, "s"),
        **measure_compare(folder),
        "open a study of 10,000 items": (annotating, "s"),
        "the site beyond its images": (weight, "MB"),
        "site of 15,220 samples, opened": (showing, "s"),
        "peak memory": (peak, "GiB"),
    }
    return _rows(values)


def measure_compare(folder: Path) -> dict[str, tuple[float | None, str]]:
    """`evalkit compare` by itself: name -> (value, unit)."""
    return {
        "evalkit compare, 2 of them, CPU": (compare_command(folder / "big", 2), "s"),
        "evalkit compare, 20 of them, CPU": (compare_command(folder / "big", 20), "s"),
        "bound: their bytes hashed and read": (read_only(folder / "big", 2), "s"),
    }


def _rows(values: dict[str, tuple[float | None, str]]) -> list[dict[str, Any]]:
    return [
        {"what": what, "value": value, "unit": unit, "limit": LIMITS.get(what)}
        for what, (value, unit) in values.items()
        if value is not None
    ]


def compare_command(folder: Path, runs: int) -> float:
    """Seconds of the processor for `evalkit compare` of so many runs, its start included."""
    folders = [folder / f"checkpoint{number}" / "big" for number in range(runs)]
    for number, run in enumerate(folders):
        if not run.exists():
            write_run(run, "big", number, SAMPLES, GENERATIVE)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "evalkit", "compare", *map(str, folders)]
    subprocess.run(command, cwd=APP.parents[1], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read_only(folder: Path, runs: int) -> float:
    """Seconds of the processor to hash and decode the records of so many runs."""
    files = [folder / f"checkpoint{number}" / "big" / "records.jsonl" for number in range(runs)]
    begin = time.process_time()
    for file in files:
        data = file.read_bytes()
        hashlib.sha256(data).digest()
        assert len([msgspec.json.decode(line) for line in data.splitlines()]) == SAMPLES
    return time.process_time() - begin


def write_study_of(folder: Path) -> Study:
    """A study of 10,000 items, 9,000 of which one annotator has answered."""
    run = folder / "run"
    write_run(run, "toy", 7, STUDY_ITEMS, STUDY_ITEMS)
    study = draw_study(folder / "study", [load_run(run)], "mark", TYPES["rlhf-v"], annotators=["anna"])
    write_study(study, "")
    study = read_study(folder / "study")
    lines = [
        {
            "n": number,
            "action": "answer",
            "item": item.key,
            "hashes": item.hashes,
            "follows": 0,
            "answer": {"spans": []},
        }
        for number, item in enumerate(study.assigned("anna")[: STUDY_ITEMS * 9 // 10], 1)
    ]
    journal_path(study, "anna").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return study


def _annotate(token: str) -> None:
    app = AppTest.from_file(str(APP), default_timeout=300)
    app.query_params["token"] = token
    app.run()
    assert not app.exception, [error.message for error in app.exception]
    assert "Annotate" not in [title.value for title in app.title], "the token was not taken"


def measure_site(folder: Path) -> tuple[float, float | None]:
    """(megabytes beyond the images, seconds until a browser shows the first samples; None without chromium)."""
    run = load_run(next(path.parent for path in sorted((folder / "big").rglob("records.jsonl"))))
    write_site([run], folder / "site", [folder])
    files = [path for path in (folder / "site").rglob("*") if path.is_file() and path.parent.name != "images"]
    weight = sum(path.stat().st_size for path in files) / 1e6
    if not CHROMIUM.exists() or find_spec("playwright") is None:
        return weight, None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        begin = time.perf_counter()
        page.goto((folder / "site" / "1.html").as_uri())
        page.wait_for_selector(".sample")
        showing = time.perf_counter() - begin
        browser.close()
    return weight, showing


def _page(name: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=300).run()
    app.switch_page(f"views/{name}.py").run()
    assert not app.exception, [error.message for error in app.exception]
    return app


def _next(app: AppTest) -> None:
    pager = app.get("pagination")[0]
    pager.set_value(pager.value + 1).run()


def _timed(work: Any) -> float:
    begin = CLOCK()
    work()
    return CLOCK() - begin


def write_many(folder: Path) -> Path:
    """300 runs of 100 samples: 60 checkpoints on 5 benchmarks."""
    for number in range(RUNS):
        write_run(folder / f"checkpoint{number // 5}" / f"b{number % 5}", f"b{number % 5}", number, 100, 50)
    return folder


def write_big(folder: Path) -> Path:
    """Two runs with as many samples as AMBER has queries."""
    for number in range(2):
        write_run(folder / f"checkpoint{number}" / "big", "big", number, SAMPLES, GENERATIVE)
    return folder


def write_run(folder: Path, benchmark: str, seed: int, samples: int, generative: int) -> None:
    """A run directory as the harness leaves it."""
    folder.mkdir(parents=True)
    chance = Random(seed)
    rows = [_caption(index, chance) if index < generative else _answer(index, chance) for index in range(samples)]
    lines = b"".join(map(sealed, rows))
    (folder / "records.jsonl").write_bytes(lines)
    value = chance.uniform(5, 40)
    interval = {"value": value, "low": value - 3, "high": value + 3, "method": "expanded"}
    manifest = {
        "schema": 1,
        "benchmark": benchmark,
        "label": f"checkpoint{seed}",
        "items": samples,
        "model": {"model": f"m{seed}"},
        "sampling": {"temperature": 0.0, "n": 1},
        "metrics": METRICS,
        "ids": "1",
        MADE_FROM: {RECORDS: digest(lines)},
    }
    write_json(folder / MANIFEST, manifest)
    results = {
        "n_scored": samples,
        "n_total": samples,
        "failures": {},
        "sums": sum_counts(row["score"]["counts"] for row in rows),
        "metrics": {metric["name"]: interval for metric in METRICS},
        "groups": {},
        "baselines": None,
        "checks": {"words": {"mean": 40.0}, "flags": []},
        MADE_FROM: {MANIFEST: manifest_digest(manifest), RECORDS: digest(lines)},
    }
    write_json(folder / METRICS_FILE, with_own_sum(results))


def _caption(index: int, chance: Random) -> dict[str, Any]:
    said = chance.sample(OBJECTS, 6)
    truth = chance.sample(OBJECTS, 6)
    text = " ".join(f"There is a {name} somewhere in this image, clearly visible." for name in said)
    findings = [
        {"start": text.index(name), "end": text.index(name) + len(name), "label": label, "note": name}
        for name in said
        for label in ["correct" if name in truth else "hallucinated"]
    ]
    wrong = sum(finding["label"] == "hallucinated" for finding in findings)
    counts = {"mentions": 6, "wrong": wrong, "covered": 6 - wrong, "truth": 6}
    details = {"nouns": said, "covered": [], "missed": truth, "hit": []}
    return _record(
        index, "Describe this image.", text, {"truth": truth, "hallu": list(OBJECTS)}, counts, findings, details
    )


def _answer(index: int, chance: Random) -> dict[str, Any]:
    question = f"Is there a {chance.choice(OBJECTS)} in this image?"
    counts = {"questions": 1, "right": chance.randint(0, 1)}
    return _record(index, question, chance.choice(("Yes", "No")), {"truth": "yes"}, counts, [], {"read_as": "yes"})


def _record(
    index: int, question: str, text: str, reference: Any, counts: Any, findings: Any, details: Any
) -> dict[str, Any]:
    return {
        "id": str(index),
        "sample": 0,
        "question": question,
        "prompt": question,
        "image": {"folder": "/data/amber/images", "name": f"AMBER_{index % 1004}.jpg"},
        "groups": {"dimension": ("existence", "attribute", "relation")[index % 3]},
        "cluster": str(index % 1004),
        "reference": reference,
        "response": {"text": text, "failure": None, "finish": "stop", "tokens": len(text) // 4},
        "verdict": None,
        "score": {"counts": counts, "failure": None, "findings": findings, "details": details},
    }


if __name__ == "__main__":
    main(only_compare=sys.argv[1:] == ["compare"])
