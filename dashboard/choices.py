"""What several pages do: find the runs, let the viewer choose, keep the choice in the URL, say what went wrong."""

from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard.markup.samples import notice
from dashboard.reading.cache import open_run
from dashboard.reading.runs import Contents, find
from dashboard.reading.shown import Shown
from evalkit.errors import EvalkitError
from evalkit.reports.markup import clean, escaped
from evalkit.reports.pages.thumbnails import thumbnail
from evalkit.runs.run import Run, RunSummary


def start(title: str) -> Contents:
    """Head of a page: its title, and what could not be read."""
    st.title(title, anchor=False)
    contents = find(Shown.from_environment())
    if contents.problems:
        noun = "folder" if len(contents.problems) == 1 else "folders"
        with st.expander(f"{len(contents.problems)} {noun} could not be read", icon=":material/warning:"):
            for problem in contents.problems:
                st.html(notice(problem, "error"))
    return contents


def explain_empty(contents: Contents) -> None:
    """What to do where there is no scored run."""
    folders = ", ".join(str(folder) for folder in Shown.from_environment().folders)
    st.html(notice(f"No scored run at or below {folders}. `evalkit run --output-path {folders}` makes one."))
    if contents.unfinished:
        st.html(notice(f"{len(contents.unfinished)} not scored yet: see the page Live."))


def put(html: str) -> None:
    """HTML made by our own functions, if there is any."""
    if html:
        st.html(html)


def say(text: str, kind: str = "info") -> None:
    """A sentence that may hold untrusted words."""
    st.html(notice(text, kind))


def choose(label: str, parameter: str, options: Sequence[str]) -> str:
    """A select box whose value stands in the URL, also if it is the default: the default may change with new runs.

    The address wins where it changed since the page was drawn: a link, back, forward. Without one the last choice
    stays, on every page that asks for the same parameter.
    """
    key, kept = f"choice_{parameter}", f"kept_{parameter}"
    asked, last = st.query_params.get(parameter), st.session_state.get(kept)
    moved = asked not in (None, last)
    if moved and asked not in options:
        say(f"{asked!r} is no longer available; another {label.lower()} was chosen", "warning")
    wanted = (asked if moved else None, st.session_state.get(key), asked, last, options[0])
    st.session_state[key] = next(value for value in wanted if value in options)
    value: str = st.selectbox(label, options, key=key)
    st.session_state[kept] = value
    if asked != value:
        st.query_params[parameter] = value
    return value


def choose_several(label: str, parameter: str, options: Sequence[str], default: Sequence[str], most: int) -> list[str]:
    """As `choose`, for up to `most` values."""
    key, kept = f"choice_{parameter}", f"kept_{parameter}"
    asked, last = st.query_params.get_all(parameter), st.session_state.get(kept)
    if key not in st.session_state:
        wanted = asked or last or default
    else:
        wanted = st.session_state[key] if asked == last else asked
    known = list(dict.fromkeys(value for value in wanted if value in options))[:most]
    st.session_state[key] = known or (list(default) if wanted else [])
    values: list[str] = st.multiselect(label, options, key=key, max_selections=most)
    st.session_state[kept] = values
    if asked != values:
        st.query_params[parameter] = values
    return values


def choose_run(contents: Contents) -> tuple[RunSummary, Run] | None:
    """A run and its records; None, with the reason said, where it cannot be read."""
    info = contents.run(choose("Run", "run", [run.name for run in contents.runs]))
    run = opened(info)
    return None if run is None else (info, run)


def opened(info: RunSummary) -> Run | None:
    """Records of a run; None, with the reason said, where they cannot be read."""
    try:
        return open_run(info.folder)
    except EvalkitError as error:
        say(str(error), "error")
        return None


def show_image(image: Mapping[str, object] | None, width: int, named: bool = True) -> None:
    """A record's image with its name, or the sentence why there is none."""
    try:
        st.image(thumbnail(image, width, Shown.from_environment().images), width="stretch")
    except EvalkitError as error:
        say(str(error), "warning")
    if image is not None and named:
        st.html(f'<div class="hk-small">{escaped(clean(image["name"]))}</div>')
