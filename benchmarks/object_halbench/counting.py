"""Object HalBench in plain functions: what is read of a response, what is counted, and the authors' figures.

Nothing here opens a file or asks a model; `object_halbench.py` joins it with the data and the harness.
"""

import re
from collections.abc import Mapping, Sequence

from benchmarks.object_halbench.phrases import PhraseAnalyser, noun_runs
from benchmarks.object_halbench.words import NamedObject, ObjectTable
from evalkit.metrics import sum_counts
from evalkit.schema import Finding, Json, Score

SHORT_ANSWER = 3  # words; up to so many, the extractor is not asked


def answer_text(response: str) -> str:
    """A response as the authors read it: without every "Assistant:", stripped."""
    return response.replace("Assistant:", "").strip()


def is_short(answer: str) -> bool:
    """Whether an answer is too short for the extractor."""
    return len(answer.split()) <= SHORT_ANSWER


def object_names(phrase: str, table: ObjectTable, analyser: PhraseAnalyser) -> list[str]:
    """Object nouns of one extracted phrase: its double words alone if it has any, else its runs of nouns."""
    tokens = analyser.analyse(phrase)
    return table.double_words_in([token.lemma for token in tokens]) or noun_runs(tokens)


def scored(
    named: Sequence[NamedObject],
    answer: str,
    reference: frozenset[str],
    findings: Sequence[Finding],
    details: Mapping[str, Json],
) -> Score:
    hallucinated = _hallucinated(named, reference)
    return Score(
        counts=counts_of(named, answer, reference),
        findings=tuple(findings),
        details={
            **details,
            "mentions": [[one.word, one.category] for one in named],
            "hallucinated": [[one.word, one.category] for one in hallucinated],
            "hallucination_idxs": [one.index for one in hallucinated],
        },
    )


def counts_of(named: Sequence[NamedObject], answer: str, reference: frozenset[str]) -> Mapping[str, float]:
    """The summable counts of one description."""
    hallucinated = _hallucinated(named, reference)
    return {
        "responses": 1,
        "object_responses": int(bool(named)),
        "hallucinated_responses": int(bool(hallucinated)),
        "mentions": len(named),
        "hallucinated_mentions": len(hallucinated),
        "recalled_objects": len({one.category for one in named} & reference),
        "reference_objects": len(reference),
        "words": len(answer.split(" ")),
    }


def _hallucinated(named: Sequence[NamedObject], reference: frozenset[str]) -> list[NamedObject]:
    return [one for one in named if one.category not in reference]


def label(category: str, reference: frozenset[str]) -> str:
    return "correct" if category in reference else "hallucinated"


def occurrences(names: Sequence[str], response: str) -> list[re.Match[str]]:
    """Where a response holds one of the names, singular or plural, as whole words."""
    longest_first = sorted({name for name in names if name.strip()}, key=lambda name: (-len(name), name))
    if not longest_first:
        return []
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?:e?s)?(?!\w)"
    return list(re.finditer(pattern, response, re.IGNORECASE))


def disjoint(findings: Sequence[Finding]) -> list[Finding]:
    """Drop findings inside an earlier, longer one ("table" in "coffee table"); sorted by place."""
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (f.start - f.end, f.start)):
        if all(finding.end <= other.start or other.end <= finding.start for other in kept):
            kept.append(finding)
    return sorted(kept, key=lambda f: f.start)


def cut_counts(
    phrases: Mapping[str, Sequence[str]],
    response: str,
    ends: Sequence[int],
    reference: frozenset[str],
    table: ObjectTable,
) -> list[Mapping[str, float]]:
    """Counts of response[:end] for every end, with those nouns of the whole that the kept text names."""
    named, counts = first_ends(phrases, response), []
    for end in ends:
        answer = answer_text(response[:end])
        kept = [] if is_short(answer) else [noun for noun in phrases if named[noun] <= end]
        counts.append(counts_of(table.named(kept), answer, reference))
    return counts


def first_ends(phrases: Mapping[str, Sequence[str]], response: str) -> dict[str, int]:
    """Noun -> after how many characters of the response it has been named for the first time.

    A noun inside a longer one ("table" in "coffee table") is named there only if it stands nowhere else. One that the
    extractor put in other words than the response has no place, and counts with the whole response alone.

    >>> phrases = {"dining table": ["dining table"], "table": ["table"], "man": ["men"], "cat": ["kitty"]}
    >>> first_ends(phrases, "A dining table, two men, a table.")
    {'dining table': 14, 'table': 32, 'man': 23, 'cat': 33}

    Args:
        phrases: noun -> the phrases of the extractor that it came from.
    """
    spans = {
        noun: [match.span() for match in occurrences([*own, noun], response)] or [(0, len(response))]
        for noun, own in phrases.items()
    }
    every = [span for own in spans.values() for span in own if span != (0, len(response))]
    ends = {}
    for noun, own in spans.items():
        alone = [span for span in own if not any(_inside(span, other) for other in every)]
        ends[noun] = min(end for _, end in alone or own)
    return ends


def _inside(span: tuple[int, int], other: tuple[int, int]) -> bool:
    return other[0] <= span[0] and span[1] <= other[1] and span != other


def answer_places(response: str) -> Sequence[int]:
    """For each character of the answer text, its place in the response."""
    if "Assistant:" not in response:
        lead = len(response) - len(response.lstrip())
        return range(lead, lead + len(response.strip()))
    marks = {index for match in re.finditer("Assistant:", response) for index in range(*match.span())}
    kept = [index for index in range(len(response)) if index not in marks]
    text = "".join(response[index] for index in kept)
    lead = len(text) - len(text.lstrip())
    return kept[lead : lead + len(text.strip())]


def review_figures(counts: Sequence[Mapping[str, float]]) -> dict[str, Json]:
    """`overall_metrics` of the authors' review file, as fractions; None where their script divides by zero.

    Args:
        counts: of every scored sample.
    """
    sums = sum_counts(counts)

    def ratio(above: str, below: str) -> float | None:
        return sums.get(above, 0.0) / sums[below] if sums.get(below) else None

    chair_s_refine = ratio("hallucinated_responses", "object_responses")
    chair_i = ratio("hallucinated_mentions", "mentions")
    return {
        "CHAIRs": ratio("hallucinated_responses", "responses"),
        "CHAIRs_refine": chair_s_refine,
        "CHAIRi": chair_i,
        "obj_rec": ratio("recalled_objects", "reference_objects"),
        "sentence_num": float(sums.get("responses", 0)),
        "coco_sentence_num": float(sums.get("object_responses", 0)),
        "coco_word_count": float(sums.get("recalled_objects", 0)),
        "gt_word_count": float(sums.get("reference_objects", 0)),
        "avg_word_len": ratio("words", "responses"),
        "correct_rate": None if chair_s_refine is None else 1 - chair_s_refine,
        "object_correct_rate": None if chair_i is None else 1 - chair_i,
    }


def summary_figures(review: Mapping[str, Json]) -> dict[str, Json]:
    """What the authors' summary script prints: percent with two decimals, counts as they are."""

    def percent(name: str) -> str | None:
        return None if review[name] is None else f"{review[name] * 100:.2f}"

    length = review["avg_word_len"]
    return {
        "Response Hall": percent("CHAIRs_refine"),
        "Object Hall": percent("CHAIRi"),
        "Response Correct": percent("correct_rate"),
        "Object Correct": percent("object_correct_rate"),
        "Object Recall": percent("obj_rec"),
        "Average Length": None if length is None else f"{length:.2f}",
        "COCO Sent Number": review["coco_sentence_num"],
        "COCO Word Number": review["coco_word_count"],
        "GT Word Number": review["gt_word_count"],
    }
