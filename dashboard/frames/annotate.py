"""What the page Annotate shows of an item, as data for the component, which shows texts as text, never as HTML."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.frames.live import span_text
from evalkit.annotation.journal import Completion, State
from evalkit.annotation.segments import changed_segments, words
from evalkit.annotation.study import Study, StudyItem
from evalkit.reports.markup import clean
from evalkit.schema import Json

_JOINERS = "\u200c\u200d\ufe0e\ufe0f"  # hidden characters that a script or an emoji needs


@dataclass(frozen=True)
class Place:
    """Where an annotator is: the item shown, its number from 1 among `total`, whether there is one before and after."""

    item: StudyItem
    number: int
    total: int


def place_of(items: Sequence[StudyItem], state: State, asked: str | None) -> Place | None:
    """The item that was asked for, else the first that nothing stands for, else the last; None without items."""
    if not items:
        return None
    keys = [item.key for item in items]
    if asked in keys:
        number = keys.index(asked)
    else:
        number = next((n for n, key in enumerate(keys) if state.latest(key) is None), len(keys) - 1)
    return Place(items[number], number + 1, len(keys))


def next_open(items: Sequence[StudyItem], state: State, after: str) -> str | None:
    """Key of the next item that nothing stands for, from behind `after`, then from the start; None if there is none."""
    keys = [item.key for item in items]
    start = keys.index(after) + 1 if after in keys else 0
    return next((key for key in [*keys[start:], *keys[:start]] if state.latest(key) is None), None)


def pieces(text: str) -> list[list[Json]]:
    """A response cut for the component: [text as shown, start, end] for a word, [text as shown] for what lies between.

    Positions are code points of the response: the browser never counts characters.
    """
    parts: list[list[Json]] = []
    place = 0
    for start, end in words(text):
        if start > place:
            parts.append([_shown(text[place:start])])
        parts.append([_shown(text[start:end]), start, end])
        place = end
    return [*parts, [_shown(text[place:])]] if place < len(text) else parts


def _shown(text: str) -> str:
    """Text without characters that hide or turn it; line breaks and joiners stay."""
    if text.isprintable():
        return text
    return "".join(c if c in _JOINERS or c == "\n" or unicodedata.category(c)[0] == "M" else clean(c) for c in text)


def payload(
    study: Study,
    annotator: str,
    place: Place,
    state: State,
    completion: Completion,
    *,
    undone: Mapping[str, Json] | None = None,
    draft: str | None = None,
    image: str | None = None,
    message: Mapping[str, Json] | None = None,
) -> dict[str, Any]:
    """All that the component shows of an item.

    Args:
        undone: the answer that was just taken back, to go on from.
        draft: corrected text that the component reported while it is written; its segments go back.
        image: data URL of the image, None without one.
        message: what became of the last thing said: {"text", "kind": "done" | "error" | "stale"}.
    """
    item, line = place.item, state.latest(place.item.key)
    show = set(study.show)
    return {
        "task": study.task,
        "drafts": f"evalkit/{study.name}/{annotator}/{item.key}/{line.n if line else 0}",
        "item": item.key,
        "number": place.number,
        "total": place.total,
        "done": completion.done + completion.skipped,
        "left": "" if completion.seconds_left is None else span_text(completion.seconds_left),
        "line": line.n if line else 0,
        "last": last_said(state),
        "answer": undone if undone is not None else None if line is None else line.answer,
        "reason": "" if line is None else line.reason,
        "prompt": _shown(item.prompt),
        "responses": [pieces(text) for text in item.texts],
        "text": item.texts[0] if study.task == "correct" else "",
        "types": list(study.types),
        "image": image,
        "message": dict(message) if message else None,
        "name": clean(item.image["name"]) if item.image else "",
        "objects": [clean(name) for name in item.objects] if "reference" in show else [],
        "boxes": boxes(item.boxes) if "boxes" in show else [],
        "found": [[f["start"], f["end"]] for f in item.findings if f.get("label") == "hallucinated"]
        if "findings" in show
        else [],
        "draft": draft_segments(item.texts[0], draft) if study.task == "correct" else None,
    }


def last_said(state: State) -> dict[str, Json] | None:
    """The latest line that stands: {"item", "undoes"}; None before there is one."""
    standing = [lines[-1] for lines in state.lines.values() if lines]
    latest = max(standing, key=lambda line: line.n, default=None)
    return None if latest is None else {"item": latest.item, "undoes": latest.n}


def draft_segments(text: str, draft: str | None) -> dict[str, Any] | None:
    """What a text that is being written changes so far: {"of": the text, "segments": [[start, old, new], ...]}."""
    if draft is None:
        return None
    segments = changed_segments(text, draft)
    return {"of": draft, "segments": [[s.start, text[s.start : s.end], draft[s.to_start : s.to_end]] for s in segments]}


def boxes(rows: Sequence[Mapping[str, Json]]) -> list[dict[str, Any]]:
    """Boxes whose numbers are shares of the image; others are left out."""
    shares = []
    for row in rows:
        numbers = [row.get(name) for name in ("x", "y", "width", "height")]
        if all(isinstance(n, int | float) and 0 <= n <= 1 for n in numbers):
            shares.append({"object": clean(row.get("object", "")), "at": [round(100 * n, 2) for n in numbers]})  # type: ignore[operator]
    return shares
