"""AMBER's yes/no questions: counts and metrics of an answer, under several readings side by side.

"No" is the positive class: precision asks how many of the answers "No" were right, recall how many of the questions
with the truth "no" were answered so. An answer that is neither yes nor no is wrong, and not a "No".
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from benchmarks.yes_no import Reading, read_exact, read_first_sentence, read_substring, read_word
from evalkit.formats.given import check_answer
from evalkit.metrics import Metric
from evalkit.schema import Score

# suffix of counts and metrics -> how an answer is read
READINGS: Mapping[str, Reading] = {
    "": read_exact,
    "_word": read_word,
    "_substring": read_substring,
    "_first_sentence": read_first_sentence,
}


def f1_formula(suffix: str) -> str:
    """F1 as a formula over counts; 2PR / (P + R) with P = found_no / said_no and R = found_no / no_questions."""
    return f"200 * found_no{suffix} / (said_no{suffix} + no_questions)"


def answer_metrics(suffix: str) -> tuple[Metric, ...]:
    """The metrics of the questions under one reading of the answers; the exact one (no suffix) is AMBER's."""
    metrics = (
        Metric(f"accuracy{suffix}", f"100 * correct{suffix} / questions", higher_is_better=True),
        Metric(f"precision{suffix}", f"100 * found_no{suffix} / said_no{suffix}", higher_is_better=True),
        Metric(f"recall{suffix}", f"100 * found_no{suffix} / no_questions", higher_is_better=True),
        Metric(f"f1{suffix}", f1_formula(suffix), higher_is_better=True),
        Metric(f"share_no{suffix}", f"100 * said_no{suffix} / questions", higher_is_better=None),
        Metric(f"unread{suffix}", f"100 * unread{suffix} / questions", higher_is_better=None),
    )
    return tuple(replace(metric, detail=bool(suffix)) for metric in metrics)


def score_answer(response: str, truth: str) -> Score:
    """Score one answer to a yes/no question under every reading.

    Counts: questions, no_questions (of which "no" is right); for every suffix in READINGS correct, said_no, found_no
    (said, and right) and unread (neither yes nor no: wrong, and not a no).

    >>> counts = score_answer("No.", "no").counts
    >>> counts["correct"], counts["unread"], counts["correct_word"]
    (0, 1, 1)
    """
    check_answer(response, truth, ("yes", "no"), "amber")
    answers = _read(response)
    counts: dict[str, float] = {"questions": 1, "no_questions": int(truth == "no")}
    for suffix, answer in answers.items():
        counts[f"correct{suffix}"] = int(answer == truth)
        counts[f"said_no{suffix}"] = int(answer == "no")
        counts[f"found_no{suffix}"] = int(answer == "no" == truth)
        counts[f"unread{suffix}"] = int(answer is None)
    return Score(counts, details={"read_as": {suffix.lstrip("_") or "exact": a for suffix, a in answers.items()}})


@lru_cache(maxsize=10_000)
def _read(response: str) -> Mapping[str, str | None]:
    """Suffix -> the answer under that reading; models say few different things."""
    return {suffix: read(response) for suffix, read in READINGS.items()}
