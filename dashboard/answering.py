"""Answering the items of a study, one at a time: what is said goes into a journal before the next one comes."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard.annotator import annotator as component
from dashboard.choices import say
from dashboard.frames.annotate import next_open, payload, place_of
from dashboard.reading.shown import Shown
from evalkit.annotation.journal import Completion, StaleAnswerError, completion, read_state, skip, submit, undo
from evalkit.annotation.study import ADJUDICATOR, Study, StudyItem
from evalkit.errors import EvalkitError
from evalkit.reports.pages.thumbnails import thumbnail

IMAGE_WIDTH = 1600  # pixels, so that there is something to zoom into
KEY = "annotator"


@st.fragment  # type: ignore[untyped-decorator]
def answer_items(study: Study, who: str, items: Sequence[StudyItem]) -> None:
    """Show the item that the address names, or the first open one, and take what is said of it into `who`'s journal."""
    try:
        state = read_state(study, who)
    except EvalkitError as error:
        say(str(error), "error")
        return
    place = place_of(items, state, st.session_state.get("item", st.query_params.get("item")))
    if place is None:
        say("No item of this study is yours.")
        return
    if who == ADJUDICATOR:
        done = sum(state.latest(item.key) is not None for item in items)
        own = Completion(done, 0, len(items), None)
    else:
        own = completion(study, who, state)
    item = place.item
    draft = st.session_state.get("draft") or {}
    undone = st.session_state.get("undone") or {}
    data = payload(
        study,
        who,
        place,
        state,
        own,
        undone=undone.get(item.key),
        draft=draft.get("text") if draft.get("item") == item.key else None,
        image=_image(item),
        message=_message(study, who, own.done + own.skipped == own.total),
    )
    component(KEY, data, lambda: _said(study, who, items), _drafted)


def _message(study: Study, who: str, finished: bool) -> Mapping[str, Any] | None:
    said: Mapping[str, Any] | None = st.session_state.pop("said", None)
    if finished and (said is None or said["kind"] == "done"):
        return {"text": "All items are done. Thank you! You can still go back and change an answer.", "kind": "done"}
    return said


def _image(item: StudyItem) -> str | None:
    """The item's image as a data URL: nothing has to be fetched, and nobody else can fetch it."""
    if item.image is None:
        return None
    try:
        picture = thumbnail(item.image, IMAGE_WIDTH, Shown.from_environment().images)
    except EvalkitError:
        return None  # the component says so, by the image's name
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode("ascii")


def _drafted() -> None:
    """Keep the text that is being written, so that its segments are shown."""
    draft = (st.session_state.get(KEY) or {}).get("draft")
    if isinstance(draft, Mapping) and isinstance(draft.get("text"), str):
        st.session_state["draft"] = {"item": draft.get("item"), "text": draft["text"][:200_000]}


def _said(study: Study, who: str, items: Sequence[StudyItem]) -> None:
    """Do what the component asked for; what became of it is shown with the next item."""
    said = (st.session_state.get(KEY) or {}).get("said")
    if not isinstance(said, Mapping):
        return
    try:
        message = _do(study, who, items, said)
        st.session_state["said"] = {"text": message, "kind": "done"} if message else None
    except StaleAnswerError as error:
        st.session_state["said"] = {"text": str(error), "kind": "stale"}
    except EvalkitError as error:
        st.session_state["said"] = {"text": f"Not saved: {error}", "kind": "error"}


def _do(study: Study, who: str, items: Sequence[StudyItem], said: Mapping[str, Any]) -> str:
    """Carry out one action; returns what to say of it.

    Raises:
        EvalkitError: if it cannot be done; nothing was recorded then.
    """
    key, action = str(said.get("item", "")), said.get("action")
    if key not in {item.key for item in items}:
        raise StaleAnswerError(f"item {key!r:.60} is not yours")
    _open(key)  # where it goes on if this fails
    follows, seconds = _number(said.get("follows")), said.get("seconds")
    spent = float(seconds) if isinstance(seconds, int | float) else None
    if action == "go":
        keys = [item.key for item in items]
        at = keys.index(key) + (1 if _number(said.get("by")) > 0 else -1)
        _open(keys[min(len(keys) - 1, max(0, at))])
        return ""
    if action == "undo":
        before = read_state(study, who).latest(key)
        undo(study, who, key, _number(said.get("undoes")))
        st.session_state["undone"] = {key: before.answer} if before is not None else {}
        _open(key)
        return "Taken back."
    if action == "skip":
        line = skip(study, who, key, str(said.get("reason", "")), follows, spent)
    elif action == "answer":
        line = submit(study, who, key, said.get("answer"), follows, spent)
    else:
        raise StaleAnswerError(f"unknown action {action!r:.40}")
    state = read_state(study, who)
    st.session_state["undone"] = {}
    _open(next_open(items, state, key) or key)
    return f"Saved ({line.n})."


def _number(value: object) -> int:
    return value if type(value) is int else 0


def _open(key: str) -> None:
    st.session_state["item"] = key
    st.query_params["item"] = key
