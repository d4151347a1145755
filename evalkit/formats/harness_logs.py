"""Per-sample logs of other harnesses, of any task: question, response, and the score that the harness gave.

    lmms-eval    <time>_samples_<task>.jsonl: each metric is a field with a number, or an object that holds one
    vlmevalkit   the table with a column hit or score (xlsx, csv, tsv, json)
    evalscope    reviews/<model>/<task>_<subset>.jsonl: sample_score.score.value.<metric>
    inspect      .eval, or its dumped JSON: scores.<scorer>.value (C, I, P, N or a number)

The number stands for itself: nothing is scored again. An item's id is a hash of its content, so that logs of two models
meet item by item whatever their order.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import DataError, UsageError
from evalkit.files.json_values import json_value
from evalkit.files.rows import Row, read_rows
from evalkit.formats.answers import INSPECT, LMMS_EVAL

_GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}  # inspect: correct, incorrect, partial, no answer
_HOLDS_SCORE = ("score", "acc", "accuracy", "correct", "exact_match", "hit", "is_correct")  # inside an object
_GROUPS = ("category", "l2_category", "l2-category", "subcategory", "subset", "split")
_LMMS_OWN = {
    *("doc_id", "doc_hash", "prompt_hash", "target_hash", "target", "arguments", "resps", "filtered_resps", "filter"),
    *("input", "input_media", "doc", "metrics", "question_id", "id", "image_id", "index", "token_counts", "submission"),
}


@dataclass(frozen=True, slots=True)
class LoggedSample:
    """One line of a log; exactly one of `text` and `failure` is set."""

    where: str
    id: str
    question: str
    text: str | None
    failure: str | None
    score: float
    groups: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class HarnessLog:
    """A log: which harness wrote it, of which task, and the metric whose scores it holds."""

    harness: str
    version: str
    task: str
    metric: str
    samples: tuple[LoggedSample, ...]


def read_log(path: Path, metric: str | None = None, task: str | None = None) -> HarnessLog:
    """All samples of a log.

    Args:
        metric: which of its metrics; None if there is only one.
        task: name of the task; None to read it off the file's name.
    Raises:
        DataError: if the file is not a log of a known harness, or a sample has no score; file and line are named.
        UsageError: if it holds several metrics and none was chosen, or not the chosen one.
    """
    rows = read_rows(path)
    harness = _harness(rows[0])
    names = _metrics(harness, rows[0])
    if not names:
        raise DataError(
            f"{rows[0].where}: a {harness} log without a score; found {', '.join(list(rows[0].fields)[:12])}"
        )
    if metric is None and len(names) > 1:
        raise UsageError(f"{path} holds several metrics, choose one with --metric: {', '.join(names)}")
    chosen = metric or names[0]
    if chosen not in names:
        raise UsageError(f"{path} holds no metric {chosen!r}; it has {', '.join(names)}")
    read = [_sample(harness, chosen, row) for row in rows]
    return HarnessLog(harness, _version(harness, path), task or _task(harness, path), chosen, _distinct(read))


def _harness(row: Row) -> str:
    fields = row.fields
    if isinstance(fields.get("sample_score"), dict):
        return "evalscope"
    if LMMS_EVAL.fits(fields):
        return "lmms-eval"
    if INSPECT.fits(fields) and isinstance(fields.get("scores"), dict):
        return "inspect"
    if "prediction" in fields and "index" in fields:
        return "vlmevalkit"
    raise DataError(
        f"{row.where}: no log of lmms-eval, VLMEvalKit, evalscope or inspect; found {', '.join(list(fields)[:12])}"
    )


def _metrics(harness: str, row: Row) -> list[str]:
    """Names of the metrics in a log, by its first row."""
    return [name for name, value in _scores(harness, row).items() if _number(value) is not None]


def _scores(harness: str, row: Row) -> Mapping[str, Any]:
    fields = row.fields
    if harness == "evalscope":
        score = fields["sample_score"].get("score")
        value = score.get("value") if isinstance(score, dict) else None
        return value if isinstance(value, dict) else {}
    if harness == "inspect":
        scores = fields.get("scores") or {}
        return {name: score.get("value") for name, score in scores.items() if isinstance(score, dict)}
    if harness == "vlmevalkit":
        return {name: fields.get(name) for name in ("hit", "score", "log_score") if name in fields}
    return {name: value for name, value in fields.items() if name not in _LMMS_OWN}


def _number(value: Any) -> float | None:
    """A score as a number: itself, a grade, or the one number of an object that holds a score."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        if value in _GRADES:
            return _GRADES[value]
        try:
            number = float(value)
        except ValueError:
            return None
        return number if math.isfinite(number) else None
    if isinstance(value, dict):
        held = [value[name] for name in _HOLDS_SCORE if isinstance(value.get(name), int | float)]
        return float(held[0]) if held else None
    return None


def _sample(harness: str, metric: str, row: Row) -> LoggedSample:
    scores = _scores(harness, row)
    score = _number(scores.get(metric))
    if score is None:
        raise DataError(f"{row.where}: {metric!r} is not a score: {scores.get(metric)!r:.60}")
    question, text, target = _content(harness, row)
    digest = hashlib.sha256(json.dumps([question, target], ensure_ascii=True).encode()).hexdigest()[:16]
    result = scores.get(metric)
    inside = result if isinstance(result, dict) else {}
    groups = {
        name: str(value)
        for fields in (inside, row.fields, row.fields.get("doc") or {})
        if isinstance(fields, dict)
        for name in _GROUPS
        if isinstance(value := fields.get(name), str) and value
    }
    failure = None if text is not None else "no response in the imported log"
    return LoggedSample(row.where, digest, question, text, failure, score, groups)


def _content(harness: str, row: Row) -> tuple[str, str | None, str]:
    """Question (with what names the image), response, target."""
    fields = row.fields
    if harness == "evalscope":
        score = fields["sample_score"].get("score") or {}
        text = score.get("prediction") or score.get("extracted_prediction")
        return _asked(fields.get("input")), text if isinstance(text, str) else None, str(fields.get("target", ""))
    if harness == "vlmevalkit":
        text = fields.get("prediction")
        image = fields.get("image_path") or fields.get("image_name") or fields.get("index")
        asked = f"{fields.get('question', '')} [{image}]"
        return asked, None if text is None else str(text), str(fields.get("answer", ""))
    answer = (INSPECT if harness == "inspect" else LMMS_EVAL).read(row)
    keys = " ".join(f"{kind} {value}" for kind, value in answer.keys if kind != "question")
    asked = next((value for kind, value in answer.keys if kind == "question"), "")
    return f"{asked} [{keys}]" if keys else asked, answer.text, str(fields.get("target", ""))


def _asked(question: Any) -> str:
    """A question as text; chat messages by their contents."""
    if isinstance(question, str):
        return question
    return json.dumps(question, ensure_ascii=False, sort_keys=True)


def _distinct(samples: Sequence[LoggedSample]) -> tuple[LoggedSample, ...]:
    """Items with the same content are told apart by a number, in the order of the log."""
    seen: Counter[str] = Counter()
    numbered = []
    for sample in samples:
        seen[sample.id] += 1
        name = sample.id if seen[sample.id] == 1 else f"{sample.id}-{seen[sample.id]}"
        numbered.append(
            LoggedSample(sample.where, name, sample.question, sample.text, sample.failure, sample.score, sample.groups)
        )
    return tuple(numbered)


def _task(harness: str, path: Path) -> str:
    """The task's name, as far as it can be read from the file's name."""
    stem = path.name.split(".")[0]
    if harness == "lmms-eval" and "samples_" in stem:
        stem = stem.partition("samples_")[2]
    return re.sub(r"[^\w.-]+", "_", stem) or harness


def _version(harness: str, path: Path) -> str:
    """The harness's version, if a file of results beside the log gives it, else "unknown"."""
    if harness != "lmms-eval" or "samples_" not in path.name:
        return "unknown"
    beside = path.with_name(path.name.partition("samples_")[0] + "results.json")
    try:
        results = json_value(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "unknown"
    names = ("lmms_eval_version", "git_hash") if isinstance(results, dict) else ()
    return next((str(results[name]) for name in names if results.get(name)), "unknown")
