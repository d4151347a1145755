"""Checks of what the numbers cannot show: degenerate text, one-sided answers, silence that looks like honesty.

An empty caption holds no hallucinated object, so a collapsed model gets a perfect rate; a model that answers "No" to
everything gets two thirds of AMBER right. Every run is checked for such things. A *flag* is a plain sentence; one that
`disqualifies` keeps the run from being ranked above any run without.

Shares are of the responses that exist (generation failures have no text and are counted in `coverage`).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from evalkit.metrics import Metric, sum_counts
from evalkit.schema import Json

T = TypeVar("T")

NOTE_SHARE = 0.05  # from here on a kind of degenerate text is worth a line
DISQUALIFYING_SHARE = 0.20  # from here on it moves a rate by more than alignment methods do
ONE_SIDED_SHARE = 0.95  # yes/no questions are 34-50 % "yes" in the benchmarks there are
SILENT_QUALITY = 10.0  # percent; a model that hallucinates nothing and covers less than this says nothing
FEWEST = 10  # below so many responses a share says little
LOOP_WORDS = 12
LOOP_GRAM = 4

_YES_NO_QUESTION = re.compile(
    r"\s*(is|are|was|were|do|does|did|can|could|has|have|had|will|would|should)\b", re.IGNORECASE
)
_REFUSAL = re.compile(
    r"\b(i'?m sorry|i am sorry|i apologi[sz]e|as an ai\b|i can ?not|i can'?t"
    r"|i('?m| am) (unable|not able)|unable to (see|view|process|describe|provide)"
    r"|no image (was|is|has been) (provided|attached|uploaded))",
    re.IGNORECASE,
)
# One of these is in every ASCII text that _REFUSAL matches; looking for them takes a tenth of the time.
_REFUSAL_WORDS = ("sorry", "apologi", "as an ai", "i can", "unable", "not able", "no image")
_REFUSAL_WINDOW = 120  # characters; a refusal comes first, "I can't tell the colour" at the end is not a refusal
_FUNCTION_WORDS = {
    "en": "the of and is are in on with to it that this there which",
    "de": "der das und ist ein eine mit auf dem nicht sind auch",
    "fr": "le la les des et est une dans sur avec un du qui sont",
    "es": "el los las una y es en que un del se muy",
    "pt": "o os uma e em com que um da na são dos",
    "it": "il gli una e di che un nel della sono su è",
    "nl": "de het een en op met zijn er dat aan",
}  # no word of another language that English has too: "No, no dog." is not Portuguese
_LANGUAGES_OF = {
    word: tuple(language for language, words in _FUNCTION_WORDS.items() if word in words.split())
    for word in " ".join(_FUNCTION_WORDS.values()).split()
}
_KNOWN_WORDS = frozenset(_LANGUAGES_OF)
_KNOWN_ASCII = {word.encode(): word for word in _KNOWN_WORDS if word.isascii()}
_LOWERED_LETTERS = bytes(ord(chr(code).lower()) if code < 128 and chr(code).isalpha() else 32 for code in range(256))


@dataclass(frozen=True, slots=True)
class Flag:
    """A warning about a run: its kind, a plain sentence, and whether it keeps the run from being ranked."""

    kind: str
    text: str
    disqualifies: bool = False


def check_samples(
    rows: Sequence[Mapping[str, Json]],
    metrics: Sequence[Metric] = (),
    baselines: Mapping[str, Mapping[str, float | None]] | None = None,
    sums: Mapping[str, float] | None = None,
    n_scored: int | None = None,
) -> dict[str, Json]:
    """All checks of a run, as JSON for `metrics.json`.

    Args:
        rows: samples as in records.jsonl: `question`, `prompt`, `response`, `score`.
        metrics: of the run; with them a run that is good because it is silent is found.
        baselines: what constant answers reach, name -> metric -> value.
        sums: of the counts of the scored samples, where somebody has them already.
        n_scored: how many are scored, likewise.
    Returns:
        shares    "empty", "repeated", "truncated", "refused", "off_language", "identical" -> 0..1, None without text
        answers   {"questions", "yes", "no", "other"} over yes/no questions, None without any
        words     {"mean", "p5", "median", "p95"} words per response, None without text
        coverage  scored samples / all samples
        flags     [{"kind", "text", "disqualifies"}]
    """
    spoken = _spoken(rows)
    if sums is None or n_scored is None:
        scored = [counts for row in rows if (counts := row["score"]["counts"]) is not None]
        sums, n_scored = sum_counts(scored), len(scored)
    shares = _shares(spoken)
    answers = _answers(spoken)
    coverage = n_scored / len(rows) if rows else None
    values = {metric.name: metric.value(sums) for metric in metrics}
    flags = [
        *_share_flags(shares),
        *_answer_flags(answers, spoken.total()),
        *_coverage_flags(coverage),
        *_silence_flags(metrics, values),
        *_baseline_flags(metrics, values, baselines or {}),
    ]
    return {
        "shares": shares,
        "answers": answers,
        "words": _word_counts(spoken),
        "coverage": coverage,
        "flags": [asdict(flag) for flag in flags],
    }


def flags_of(checks: Mapping[str, Json]) -> list[Flag]:
    """The flags of a stored check."""
    return [Flag(**flag) for flag in checks.get("flags", [])]


def disqualified(checks: Mapping[str, Json]) -> bool:
    """Whether a run must not be ranked above runs without such a flag."""
    return any(flag.disqualifies for flag in flags_of(checks))


def is_empty(text: str) -> bool:
    """No letter or digit in it: "", ".", "!!!"."""
    return not any(character.isalnum() for character in text)


def is_refusal(text: str) -> bool:
    """Whether a response begins with an apology or "I cannot"."""
    start = text[:_REFUSAL_WINDOW]
    if start.isascii():
        lowered = start.lower()
        if not any(words in lowered for words in _REFUSAL_WORDS):
            return False
    return _REFUSAL.search(start.replace("’", "'")) is not None


def is_repeated(text: str) -> bool:
    """Whether a response runs in a loop.

    Half of its word 4-grams have been seen before in it, or its last words are one phrase three times in a row.
    """
    words = text.lower().split()
    if len(words) < LOOP_WORDS:
        return False
    count = len(words) - LOOP_GRAM + 1
    if len(set(words[:count])) <= count / 2:  # else more than half of the 4-grams begin with a word of their own
        grams = set(zip(*(words[start:] for start in range(LOOP_GRAM)), strict=False))
        if len(grams) <= count / 2:
            return True
    periods = range(LOOP_WORDS // 3, len(words) // 3 + 1)
    last = words[-1]
    return any(words[-p:] == words[-2 * p : -p] == words[-3 * p : -2 * p] for p in periods if words[-1 - p] == last)


@lru_cache(maxsize=1024)
def language_of(text: str) -> str | None:
    """Script of most letters, or of Latin letters the language by two different function words; None if unsure."""
    if not text.isascii():
        scripts = Counter(_script(character) for character in text if character.isalpha())
        script = scripts.most_common(1)[0][0] if scripts else "LATIN"
        if script != "LATIN":
            return script.lower()
        words = set(re.findall(r"[^\W\d_]+", text.lower())) & _KNOWN_WORDS
    else:
        spelled = set(text.encode().translate(_LOWERED_LETTERS).split())
        words = {_KNOWN_ASCII[word] for word in spelled & _KNOWN_ASCII.keys()}
    hits: dict[str, int] = {}
    for word in words:
        for language in _LANGUAGES_OF[word]:
            hits[language] = hits.get(language, 0) + 1
    best = max(hits.values(), default=0)
    leading = [language for language, count in hits.items() if count == best]
    return leading[0] if best >= 2 and len(leading) == 1 else None


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    word = unicodedata.name(character, "UNKNOWN").split()[0]
    return "CJK" if word in ("HIRAGANA", "KATAKANA", "HANGUL") else word


def yes_or_no(text: str) -> str:
    """Reading of an answer by its first word: "yes", "no" or "other"."""
    word = re.search(r"[^\W\d_]+", text)
    return word.group().lower() if word and word.group().lower() in ("yes", "no") else "other"


def is_yes_no_question(question: str) -> bool:
    """Whether a question opens with is, are, does, ..."""
    return _YES_NO_QUESTION.match(question) is not None


_Spoken = tuple[str, str, str, bool]  # question, prompt, response, whether it was cut at the token limit


def _spoken(rows: Sequence[Mapping[str, Json]]) -> Counter[_Spoken]:
    """What the checks read of the responses that exist; yes/no answers are few, many times."""
    return Counter(
        [
            (question := row["question"], str(row.get("prompt") or question), text, response.get("finish") == "length")
            for row in rows
            if (text := (response := row["response"])["text"]) is not None
        ]
    )


def _shares(spoken: Counter[_Spoken]) -> dict[str, float | None]:
    texts = _counted((text, count) for (_, _, text, _), count in spoken.items())
    open_ended = _Remembered(lambda question: not is_yes_no_question(question))
    free = _counted((text.strip(), count) for (asked, _, text, _), count in spoken.items() if open_ended[asked])
    return {
        "empty": _share(texts, is_empty),
        "repeated": _share(texts, is_repeated),
        "truncated": _share(spoken, lambda one: one[3]),
        "refused": _share(texts, is_refusal),
        "off_language": _share(spoken, lambda one: _off_language(one[1], one[2])),
        "identical": max(free.values()) / free.total() if free.total() >= FEWEST else None,
    }


def _counted(parts: Iterable[tuple[str, int]]) -> Counter[str]:
    """How often each text comes up in all."""
    counted: Counter[str] = Counter()
    for text, count in parts:
        counted[text] += count
    return counted


def _share(counted: Counter[T], test: Callable[[T], bool]) -> float | None:
    """Share of the things counted that pass."""
    total = counted.total()
    return sum(count for thing, count in counted.items() if test(thing)) / total if total else None


def _off_language(prompt: str, text: str) -> bool:
    """Whether prompt and response are in two languages."""
    asked, answered = language_of(prompt), language_of(text)
    return asked is not None and answered is not None and asked != answered


def _answers(spoken: Counter[_Spoken]) -> dict[str, float] | None:
    closed = _Remembered(is_yes_no_question)
    texts = _counted((text, count) for (asked, _, text, _), count in spoken.items() if closed[asked])
    total = texts.total()
    if not total:
        return None
    read: Counter[str] = Counter()
    for text, count in texts.items():
        read[yes_or_no(text)] += count
    return {"questions": total, **{answer: read[answer] / total for answer in ("yes", "no", "other")}}


class _Remembered(dict[str, bool]):
    """Readings of texts, each text read once."""

    def __init__(self, read: Callable[[str], bool]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, text: str) -> bool:
        return self.setdefault(text, self._read(text))


def _word_counts(spoken: Counter[_Spoken]) -> dict[str, float] | None:
    if not spoken:
        return None
    lengths = np.repeat([len(text.split()) for _, _, text, _ in spoken], list(spoken.values()))
    low, middle, high = np.quantile(lengths, [0.05, 0.5, 0.95]).tolist()
    return {"mean": lengths.mean().item(), "p5": low, "median": middle, "p95": high}


_SENTENCES = {
    "empty": "{share} of the responses are empty: an empty response cannot hallucinate",
    "repeated": "{share} of the responses run in a loop",
    "truncated": "{share} of the responses were cut at the token limit",
    "refused": "{share} of the responses refuse to answer",
    "off_language": "{share} of the responses are in another language than the question",
    "identical": "{share} of the free-text responses are one and the same text",
}


def _share_flags(shares: Mapping[str, float | None]) -> list[Flag]:
    return [
        Flag(kind, _SENTENCES[kind].format(share=_percent(share)), kind != "truncated" and share >= DISQUALIFYING_SHARE)
        for kind, share in shares.items()
        if share is not None and share >= NOTE_SHARE and not (kind == "identical" and share < DISQUALIFYING_SHARE)
    ]


def _answer_flags(answers: Mapping[str, float] | None, responses: int) -> list[Flag]:
    """Of benchmarks that mostly ask yes/no questions; elsewhere "no" may be the right answer to the few there are."""
    if answers is None or answers["questions"] < max(FEWEST, responses / 2):
        return []
    flags = [
        Flag(
            "one_sided", f"answers {answer.capitalize()!r} to {_percent(answers[answer])} of the yes/no questions", True
        )
        for answer in ("yes", "no")
        if answers[answer] >= ONE_SIDED_SHARE
    ]
    if answers["other"] >= NOTE_SHARE:
        text = f"{_percent(answers['other'])} of the answers to yes/no questions begin with neither word"
        flags.append(Flag("unread_answers", text))
    return flags


def _coverage_flags(coverage: float | None) -> list[Flag]:
    if coverage is None or coverage > 1 - NOTE_SHARE:
        return []
    text = f"only {_percent(coverage)} of the samples were scored: the number describes those alone"
    return [Flag("coverage", text, coverage <= 1 - DISQUALIFYING_SHARE)]


def _silence_flags(metrics: Sequence[Metric], values: Mapping[str, float | None]) -> list[Flag]:
    """Nothing hallucinated because nothing is said: every rate at its best, and a quality near zero."""
    rates = [values[metric.name] for metric in metrics if metric.role == "rate" and metric.higher_is_better is False]
    poor = [
        metric.name
        for metric in metrics
        if metric.role == "quality" and metric.unit == "percent" and metric.higher_is_better
        if (value := values[metric.name]) is not None and value <= SILENT_QUALITY
    ]
    if not rates or any(rates) or not poor:
        return []
    shown = ", ".join(f"{name} {values[name]:.1f}" for name in poor)
    return [Flag("silent", f"hallucinates nothing because it says next to nothing ({shown})", True)]


def _baseline_flags(
    metrics: Sequence[Metric],
    values: Mapping[str, float | None],
    baselines: Mapping[str, Mapping[str, float | None]],
) -> list[Flag]:
    """Constant answers that do as well as the run: everywhere (disqualifies), or on its first quality metric.

    The first only: somewhere down the list a constant answer is always perfect, as constant "yes" has full recall.
    """
    flags = []
    for name, reached in baselines.items():
        shared = [
            (metric, value, constant)
            for metric in metrics
            if metric.higher_is_better is not None
            and (value := values[metric.name]) is not None
            and (constant := reached.get(metric.name)) is not None
        ]
        beaten = [
            (metric, value, constant)
            for metric, value, constant in shared
            if (constant >= value) == metric.higher_is_better or constant == value
        ]
        if shared and len(beaten) == len(shared):
            flags.append(Flag("baseline", f"no better than a constant model ({name}) on any metric", True))
            continue
        first = next((entry for entry in shared if entry[0].role == "quality" and not entry[0].detail), None)
        if first in beaten and first is not None:
            metric, value, constant = first
            text = f"{metric.name} {value:.1f} is no better than a constant model's {constant:.1f} ({name})"
            flags.append(Flag("baseline", text))
    return flags


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
