"""The component that shows an item and takes an answer: HTML, CSS and JavaScript of ours, without a build step.

It knows no HTML of a run: texts come as data and become text nodes. It reports `said` ({"action": "answer" | "skip" |
"undo" | "go", ...}) and, while a correction is written, `draft` ({"item", "text"}). What was not submitted yet lies in
the browser's storage, by study, annotator, item and line, so that a reload or a server that died loses none of it.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import streamlit as st

NAME = "evalkit_annotator"


def annotator(key: str, data: Mapping[str, Any], said: Callable[[], None], drafted: Callable[[], None]) -> None:
    """Mount the component; `said` and `drafted` are called with its state in the session under `key`."""
    _component()(key=key, data=dict(data), on_said_change=said, on_draft_change=drafted)


@cache
def _component() -> Any:
    folder = files("dashboard.annotator")
    html, css, words, script = (
        folder.joinpath(name).read_text("utf-8")
        for name in ("annotator.html", "annotator.css", "words.js", "annotator.js")
    )
    return st.components.v2.component(NAME, html=html, css=css, js=f"{words}\n{script}")
