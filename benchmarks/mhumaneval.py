"""MHumanEval: what people mark as hallucinated in open answers (RLHF-V, Yu et al. 2024, arXiv:2312.00849).

Item        a response that people have read; in the papers 146: all 96 of MMHal-Bench and 50 of Object HalBench
Reference   marked segments, one per line: item, model, annotator, response_sha256, start, end, type; a line without a
            span says that the annotator found nothing. The annotation page writes such files
all         responses with a marked segment / responses, in %; object, position, number, attribute, action, other:
            with one of that type. A response counts once per type; "all" also holds types without a column
segments    marked segments per response, and per 100 words

Several annotators: the majority per response and type; where they are divided, the response leaves that rate alone.
Their agreement (Krippendorff's alpha with interval) stands in the `official` block: there is no script of the authors,
and their labels, guideline and the ids of the 50 items were never released. Rates by other people do not carry over.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from evalkit.benchmark import Benchmark, Front, Rating, content_digest
from evalkit.errors import DataError
from evalkit.files.fields import field
from evalkit.files.rows import Row, read_rows
from evalkit.formats.keys import key_text
from evalkit.metrics import Metric
from evalkit.sampling import Sampling
from evalkit.schema import Finding, Item, Json, Sample, Score
from evalkit.statistics.raters import krippendorff

TYPES = ("object", "position", "number", "attribute", "action", "other")
ALL = "all"

METRICS = (
    *(
        Metric(name, f"100 * {name}_marked / {name}_decided", False, role="rate", detail=name in TYPES[3:])
        for name in (ALL, *TYPES)
    ),
    Metric("segments", "segments / responses", False, unit="points", role="rate"),
    Metric("segments_per_100_words", "100 * segments / words", False, unit="points", role="rate"),
    Metric("length", "words / responses", None, unit="words", role="length"),
)


@dataclass(frozen=True, slots=True)
class Segment:
    """One marked span [start, end) of a response, or a clean response (no span, no type)."""

    where: str
    item: str
    annotator: str
    response_sha256: str
    start: int | None
    end: int | None
    type: str | None


def read_segments(path: Path) -> list[Segment]:
    """All lines of a file of marked segments.

    Raises:
        DataError: if a line lacks a field, has an unknown type or half a span, or a clean response is also marked.
    """
    segments = [_segment(row) for row in read_rows(path)]
    clean = {_reading(segment): segment for segment in segments if segment.start is None}
    for segment in segments:
        if segment.start is not None and _reading(segment) in clean:
            raise DataError(
                f"{segment.where}: {segment.annotator!r} marked item {segment.item!r}, and called it clean at "
                f"{clean[_reading(segment)].where}"
            )
    return segments


def _reading(segment: Segment) -> tuple[str, str, str]:
    return segment.item, segment.response_sha256, segment.annotator


def _segment(row: Row) -> Segment:
    item = key_text(row.fields.get("item"), f"{row.where}: 'item'")
    annotator, digest = field(row, "annotator", str), field(row, "response_sha256", str)
    start, end, kind = (row.fields.get(name) for name in ("start", "end", "type"))
    if (start, end, kind) == (None, None, None):
        return Segment(row.where, item, annotator, digest, None, None, None)
    if type(start) is not int or type(end) is not int or not 0 <= start < end:
        raise DataError(f"{row.where}: a span needs 0 <= start < end, found {start!r} and {end!r}")
    if kind not in TYPES:
        raise DataError(f"{row.where}: 'type' must be one of {', '.join(TYPES)}, found {kind!r}")
    return Segment(row.where, item, annotator, digest, start, end, kind)


def sha256_of(response: str) -> str:
    """Hash by which labels and responses find each other."""
    return hashlib.sha256(response.encode("utf-8", errors="surrogatepass")).hexdigest()


def majority(votes: Sequence[bool]) -> bool | None:
    """What most say; None where they are divided.

    >>> majority([True, True, False]), majority([True, False])
    (True, None)
    """
    yes = sum(votes)
    return None if 2 * yes == len(votes) else 2 * yes > len(votes)


class MHumanEval(Benchmark):
    """The benchmark; see the module for what it measures."""

    name = "mhumaneval"
    metrics: Sequence[Metric] = METRICS
    sampling = Sampling(max_new_tokens=1024)
    rating = Rating("all_marked")
    open_items = True

    def __init__(self, segments: Path, questions: Path | None = None) -> None:
        """
        Args:
            segments: what people marked, one segment a line.
            questions: rows with id and question, to show; without it items are known by their ids alone.
        """
        self.segments, self.questions = segments, questions

    @cached_property
    def _readings(self) -> Mapping[tuple[str, str], Mapping[str, list[Segment]]]:
        """(item, hash of the response) -> annotator -> segments."""
        readings: dict[tuple[str, str], dict[str, list[Segment]]] = defaultdict(lambda: defaultdict(list))
        for segment in read_segments(self.segments):
            readings[segment.item, segment.response_sha256][segment.annotator].append(segment)
        return readings

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        texts: dict[str, str] = {}
        if self.questions is not None:
            for row in read_rows(self.questions):
                texts[key_text(row.fields.get("id"), f"{row.where}: 'id'")] = field(row, "question", str)
        names = dict.fromkeys(item for item, _ in self._readings)
        return tuple(Item(name, texts.get(name, ""), None, {"image_id": name}) for name in names)

    def items(self) -> Sequence[Item]:
        """The labelled items in the file's order.

        Raises:
            DataError: if a file is missing or malformed.
        """
        return self._items

    def settings(self) -> Mapping[str, str]:
        """Who labelled, and a hash of what they said."""
        rows = [segment for readings in self._readings.values() for own in readings.values() for segment in own]
        lines = sorted(f"{s.item}\t{s.response_sha256}\t{s.annotator}\t{s.start}\t{s.end}\t{s.type}" for s in rows)
        digest = content_digest(lines)
        return {"labels": digest, "annotators": str(len({s.annotator for s in rows}))}

    def score(self, item: Item, response: str, reply: str | None = None) -> Score:
        """Rates of one response by the majority of those who read it.

        Raises:
            DataError: if the labels were made for another response, or mark beyond its end.
        """
        readings = self._readings.get((item.id, sha256_of(response)))
        if readings is None:
            raise DataError(
                f"{self.segments}: item {item.id!r} was labelled with another response than {response[:60]!r}"
            )
        marked = {name: [s for s in own if s.start is not None] for name, own in readings.items()}
        for segments in marked.values():
            for segment in segments:
                if segment.end is not None and segment.end > len(response):
                    raise DataError(f"{segment.where}: marks up to {segment.end}, the response has {len(response)}")
        findings = {(s.start, s.end, str(s.type)) for own in marked.values() for s in own if s.start is not None}
        spans = tuple(Finding(start, end, "hallucinated", kind) for start, end, kind in sorted(findings) if end)
        return Score(_counts(response, list(marked.values())), spans, {"annotators": len(marked)})

    def fronts(self) -> Sequence[Front]:
        """Responses cut short, compared at equal length: what a response leaves out, nobody has marked."""
        return (Front("length", (ALL, "object", "segments")),)

    def count_cuts(self, sample: Sample, ends: Sequence[int]) -> Sequence[Mapping[str, float]]:
        """Cuts with the marks of the whole response that end in the kept text."""
        response = sample.response.text or ""
        readings = self._readings[sample.item.id, sha256_of(response)].values()
        return [
            _counts(response[:end], [[s for s in own if s.end is not None and s.end <= end] for own in readings])
            for end in ends
        ]

    def official(self, samples: Sequence[Sample]) -> Mapping[str, Json]:
        """Agreement of the annotators over the responses at hand, by type; there is no script of the authors."""
        keys = [(s.item.id, sha256_of(s.response.text)) for s in samples if s.response.text is not None]
        readings = [self._readings[key] for key in keys if key in self._readings]
        names = sorted({name for own in readings for name in own})
        if len(names) < 2:
            return {"annotators": names}
        clusters = [item for item, _ in keys]
        alphas = {}
        for kind in (ALL, *TYPES):
            labels = [[_has(own[name], kind) if name in own else None for own in readings] for name in names]
            alphas[kind] = krippendorff(labels, clusters).as_dict()
        return {"annotators": names, "agreement_alpha": alphas}


def _counts(text: str, marked: Sequence[Sequence[Segment]]) -> dict[str, float]:
    """Summable counts of a text from what each of its annotators marked."""
    counts: dict[str, float] = {"responses": 1, "words": len(text.split())}
    counts["segments"] = sum(map(len, marked)) / len(marked)
    for kind in (ALL, *TYPES):
        voted = majority([_has(own, kind) for own in marked])
        counts[f"{kind}_decided"] = int(voted is not None)
        counts[f"{kind}_marked"] = int(bool(voted))
    return counts


def _has(segments: Sequence[Segment], kind: str) -> bool:
    return any(segment.type is not None and kind in (ALL, segment.type) for segment in segments)
