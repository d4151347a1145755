"""How far annotators agree, where they do not, and how often one of them is right on items whose answer is known.

    response   unit: a response; label: whether it hallucinates; and for each type whether it holds one of that type
    word       unit: a word of a response; label: whether it is marked (mark and correct)
    question   unit: an item; label: first, second or tie (compare)

Words of one response are not independent: every interval is clustered by image.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from evalkit.annotation.answers import QUESTIONS, segments_of, types_of
from evalkit.annotation.journal import State
from evalkit.annotation.segments import words
from evalkit.annotation.study import Study, StudyItem
from evalkit.metrics import Metric
from evalkit.schema import Json
from evalkit.statistics.intervals import Interval, interval
from evalkit.statistics.raters import cohen, krippendorff

Answers = Mapping[str, Mapping[str, Json]]  # item key -> answer that stands


@dataclass(frozen=True)
class Reliability:
    """Agreement in one respect.

    what    "hallucinates", a type, "words marked", or a question
    units   how many at least two annotators labelled
    alpha   Krippendorff's, over all annotators
    kappas  (annotator, annotator) -> Cohen's
    """

    what: str
    units: int
    alpha: Interval
    kappas: Mapping[tuple[str, str], Interval]


@dataclass(frozen=True)
class Disagreement:
    """An item on which annotators differ: what each of them said."""

    item: StudyItem
    answers: Mapping[str, Mapping[str, Json]]


def reliability(
    study: Study, answers: Mapping[str, Answers], resamples: int = 2_000, seed: int = 0
) -> list[Reliability]:
    """Agreement in every respect that the task has, over items that two annotators or more answered.

    Args:
        answers: annotator -> what stands (`State.answers`).
    """
    items = [item for item in study.items if sum(item.key in own for own in answers.values()) > 1]
    return [
        _reliability(what, labels, clusters, resamples, seed)
        for what, labels, clusters in _respects(study, items, answers)
    ]


def _respects(
    study: Study, items: Sequence[StudyItem], answers: Mapping[str, Answers]
) -> list[tuple[str, dict[str, list[Hashable | None]], list[str]]]:
    """(what, annotator -> labels, clusters) of every respect."""
    clusters = [item.cluster for item in items]

    def labelled(label: object) -> dict[str, list[Hashable | None]]:
        return {
            name: [label(own[item.key]) if item.key in own else None for item in items]  # type: ignore[operator]
            for name, own in answers.items()
        }

    if study.task == "compare":
        return [(question, labelled(lambda answer, q=question: answer[q]), clusters) for question in QUESTIONS]
    respects = [("hallucinates", labelled(lambda answer: bool(types_of(study.task, answer))), clusters)]
    respects += [
        (kind, labelled(lambda answer, k=kind: k in types_of(study.task, answer)), clusters) for kind in study.types
    ]
    by_word: dict[str, list[Hashable | None]] = {}
    for name, own in answers.items():
        by_word[name] = [
            label
            for item in items
            for label in (
                marked_words(study, item, own[item.key]) if item.key in own else [None] * len(words(item.texts[0]))
            )
        ]
    return [*respects, ("words marked", by_word, [item.cluster for item in items for _ in words(item.texts[0])])]


def _reliability(
    what: str, labels: Mapping[str, list[Hashable | None]], clusters: Sequence[str], resamples: int, seed: int
) -> Reliability:
    rows = list(labels.values())
    units = sum(sum(label is not None for label in unit) > 1 for unit in zip(*rows, strict=True))
    kappas = {
        (first, second): cohen(labels[first], labels[second], clusters, resamples=resamples, seed=seed)
        for first, second in combinations(labels, 2)
        if any(a is not None and b is not None for a, b in zip(labels[first], labels[second], strict=True))
    }
    return Reliability(what, units, krippendorff(rows, clusters, resamples=resamples, seed=seed), kappas)


def marked_words(study: Study, item: StudyItem, answer: Mapping[str, Json]) -> list[bool]:
    """For each word of the first response whether the answer marks or changes it.

    A pure insertion changes no word: nothing that the response says was wrong there.
    """
    if study.task == "correct":
        spans = [(segment.start, segment.end) for segment in segments_of(answer)]
    else:
        spans = [(int(span[0]), int(span[1])) for span in answer["spans"]]
    return [any(start < last and first < end for start, end in spans) for first, last in words(item.texts[0])]


def disagreements(study: Study, answers: Mapping[str, Answers]) -> list[Disagreement]:
    """Items on which at least two annotators said different things, those with the most different answers first."""
    ranked = []
    for place, item in enumerate(study.items):
        own = {name: by_item[item.key] for name, by_item in answers.items() if item.key in by_item}
        distinct = {_essence(study, item, answer) for answer in own.values()}
        if len(distinct) > 1:
            ranked.append((-len(distinct), place, Disagreement(item, own)))
    return [entry for *_, entry in sorted(ranked, key=lambda row: row[:2])]


def _essence(study: Study, item: StudyItem, answer: Mapping[str, Json]) -> Hashable:
    """What two answers must share to agree: marked words and their types; the two choices of a comparison."""
    if study.task == "compare":
        return tuple(answer[question] for question in QUESTIONS)
    return tuple(marked_words(study, item, answer)), tuple(sorted(types_of(study.task, answer)))


def gold_accuracy(study: Study, states: Mapping[str, State]) -> dict[str, Interval]:
    """Annotator -> share of gold items answered as known, in percent, with its interval clustered by image.

    Right is: the same verdict on the response (hallucinates or not) and the same types; for comparisons the same
    response that hallucinates less.
    """
    metric = Metric("accuracy", "100 * right / items", higher_is_better=True)
    accuracies = {}
    for name, state in states.items():
        answered = [(key, answer) for key, answer in state.answers.items() if key in study.gold]
        rows = [{"right": int(_is_right(study, answer, study.gold[key])), "items": 1} for key, answer in answered]
        accuracies[name] = (
            interval(metric, rows, [study.item(key).cluster for key, _ in answered]) if rows else Interval(None)
        )
    return accuracies


def _is_right(study: Study, answer: Mapping[str, Json], known: Mapping[str, Json]) -> bool:
    if study.task == "compare":
        return bool(answer["less_hallucinated"] == known["less_hallucinated"])
    return types_of(study.task, answer) == types_of(study.task, known)
