"""What an annotator says of one item, checked: it comes from a browser or a file and may hold anything.

    mark     {"spans": [[start, end, type], ...]}; no span says that the response is clean
    correct  {"text": corrected, "segments": [[start, end, to_start, to_end, type], ...]}; an unchanged text is accepted
    compare  {"less_hallucinated": C, "better": C, "wrong": [[response, start, end, type], ...]}, C one of CHOICES

Positions are code points of the response as the study keeps it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any, Literal, get_args

from evalkit.annotation.segments import Segment, apply_segments, changed_segments
from evalkit.errors import DataError
from evalkit.schema import Json

Task = Literal["mark", "correct", "compare"]
TASKS: tuple[Task, ...] = get_args(Task)
CHOICES = ("first", "second", "tie")
QUESTIONS = ("less_hallucinated", "better")
LONGEST_TEXT = 100_000  # characters of a corrected response
MOST_SPANS = 2_000


def checked_answer(task: Task, answer: Json, texts: Sequence[str], types: Sequence[str]) -> dict[str, Any]:
    """An answer in the form above, spans sorted, segments computed from the two texts.

    Args:
        answer: as it came in; of `correct`: "text", and "types" (one for each changed segment) or "segments".
        texts: the item's responses, one, or two for compare.
        types: the study's types.
    Raises:
        DataError: if it is of another form, a position lies outside of the response, or a type is missing.
    """
    if not isinstance(answer, Mapping):
        raise DataError(f"an answer must be an object, got {answer!r:.60}")
    if task == "mark":
        spans = _spans(answer.get("spans"), [texts[0]], types, with_response=False)
        return {"spans": spans}
    if task == "correct":
        return _correction(answer, texts[0], types)
    chosen = {question: _choice(answer, question) for question in QUESTIONS}
    return {**chosen, "wrong": _spans(answer.get("wrong", []), texts, types, with_response=True)}


def segments_of(answer: Mapping[str, Json]) -> list[Segment]:
    """Segments of a correction."""
    return [Segment(*segment) for segment in answer["segments"]]


def types_of(task: Task, answer: Mapping[str, Json], response: int = 0) -> set[str]:
    """The types of hallucination that an answer finds in a response; empty for a clean one."""
    if task == "mark":
        return {str(span[2]) for span in answer["spans"]}
    if task == "correct":
        return {segment.type for segment in segments_of(answer)}
    return {str(span[3]) for span in answer["wrong"] if span[0] == response}


def _choice(answer: Mapping[str, Json], question: str) -> str:
    value = answer.get(question)
    if value not in CHOICES:
        raise DataError(f"{question} must be one of {', '.join(CHOICES)}, got {value!r:.60}")
    return str(value)


def _correction(answer: Mapping[str, Json], text: str, types: Sequence[str]) -> dict[str, Any]:
    corrected = answer.get("text")
    if not isinstance(corrected, str) or len(corrected) > LONGEST_TEXT:
        raise DataError(f"a corrected response must be a text of at most {LONGEST_TEXT:,} characters")
    if not corrected.strip():
        raise DataError("the corrected response is empty; skip the item if nothing of it is true")
    stored = answer.get("segments")
    segments = changed_segments(text, corrected) if stored is None else _stored_segments(stored, text, corrected)
    named = answer.get("types", []) if stored is None else [segment[-1] for segment in answer["segments"]]
    if not isinstance(named, list) or len(named) != len(segments):
        raise DataError(f"the correction changes {len(segments)} segments, each needs a type; got {named!r:.80}")
    typed = [replace(segment, type=_type(name, types)) for segment, name in zip(segments, named, strict=True)]
    return {"text": corrected, "segments": [list(astuple(segment)) for segment in typed]}


def _stored_segments(stored: Json, text: str, corrected: str) -> list[Segment]:
    """Segments that a journal keeps, if they turn one text into the other."""
    if not isinstance(stored, list) or not all(isinstance(segment, list) and len(segment) == 5 for segment in stored):
        raise DataError(f"segments are lists [start, end, to_start, to_end, type], got {stored!r:.60}")
    places = [segment[:4] for segment in stored]
    if any(type(place) is not int or place < 0 for row in places for place in row):
        raise DataError(f"positions of a segment must be whole numbers, got {stored!r:.60}")
    segments = [Segment(*row) for row in places]
    if apply_segments(text, corrected, segments) != corrected:
        raise DataError("the segments do not turn the response into the corrected text")
    return segments


def _type(value: Json, types: Sequence[str]) -> str:
    if value not in types:
        raise DataError(f"type must be one of {', '.join(types)}, got {value!r:.60}")
    return str(value)


def _spans(value: Json, texts: Sequence[str], types: Sequence[str], with_response: bool) -> list[list[Json]]:
    if not isinstance(value, list) or len(value) > MOST_SPANS:
        raise DataError(f"expected a list of at most {MOST_SPANS:,} spans, got {value!r:.60}")
    distinct = {_span(span, texts, types, with_response) for span in value}
    return [list(span) for span in sorted(distinct)]


def _span(value: Json, texts: Sequence[str], types: Sequence[str], with_response: bool) -> tuple[int | str, ...]:
    if not isinstance(value, list | tuple) or len(value) != 3 + with_response:
        raise DataError(
            f"a span is {'[response, start, end, type]' if with_response else '[start, end, type]'}, got {value!r:.60}"
        )
    response = value[0] if with_response else 0
    start, end, kind = value[-3:]
    if any(type(number) is not int for number in (response, start, end)) or response not in range(len(texts)):
        raise DataError(f"positions of a span must be whole numbers, got {value!r:.60}")
    if not 0 <= start < end <= len(texts[response]):
        raise DataError(f"span {start}-{end} lies outside of the response, which has {len(texts[response])} characters")
    return (*((response,) if with_response else ()), start, end, _type(kind, types))
