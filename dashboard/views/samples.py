"""Samples: every response with what is hallucinated in it, beside other checkpoints' on the same image."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from dashboard.choices import choose_run, choose_several, explain_empty, opened, put, say, start
from dashboard.exports import samples_csv, samples_jsonl
from dashboard.frames.compare import changes_against
from dashboard.frames.samples import SORTS, Filters, group_names, ordered, samples_frame, selected
from dashboard.markup.samples import (
    differing_words,
    key_values_html,
    legend_html,
    objects_html,
    picture_html,
    raw_html,
    response_html,
)
from dashboard.reading.cache import remembered
from dashboard.reading.flags import Key, read_flags, write_flag
from dashboard.reading.runs import Contents
from dashboard.reading.shown import Shown
from dashboard.whole_run import show_errors, show_whole_run
from evalkit.errors import EvalkitError
from evalkit.reports.markup import clean, escaped
from evalkit.reports.pages.thumbnails import thumbnail
from evalkit.runs.run import Run, RunSummary, boxes_present
from evalkit.schema import Record

PAGE_SIZE = 20
WIDTH = 800  # pixels of an image that is not zoomed
ZOOMS = {"1×": 1, "2×": 2, "4×": 4}
SHOW = ("all", "hallucinated", "clean", "failed", "flagged")
CHANGES = ("all", "better", "worse", "unchanged", "reworded")


def show() -> None:
    """The page."""
    contents = start("Samples")
    if not contents.runs:
        explain_empty(contents)
        return
    with st.sidebar:
        chosen = choose_run(contents)
    if chosen is None:
        return
    info, run = chosen
    frame = remembered("samples", [run], lambda: samples_frame(run))
    others = [other for other in contents.runs if other.benchmark == info.benchmark and other.name != info.name]
    with st.sidebar:
        beside = _beside(others)
        lines = _filtered(contents, info, run, frame, others)
    show_errors(info, run)
    if st.toggle("Truncation front and scenes", key="whole", bind="query-params"):
        show_whole_run(info, run, beside)
    if lines.empty:
        say(f"None of the {len(frame):,} samples pass these filters.")
        return
    _browse(info, run, lines, beside)


# --- filters ------------------------------------------------------------------------------------------------------


def _beside(others: Sequence[RunSummary]) -> list[tuple[RunSummary, Run]]:
    if not others:
        return []
    names = choose_several("Beside it", "beside", [other.name for other in others], [], 3)
    by_name = {other.name: other for other in others}
    pairs = [(by_name[name], opened(by_name[name])) for name in names]
    return [(other, run) for other, run in pairs if run is not None]


def _filtered(
    contents: Contents, info: RunSummary, run: Run, frame: pd.DataFrame, others: Sequence[RunSummary]
) -> pd.DataFrame:
    """Lines that pass the filters in the sidebar, sorted."""
    show_only = st.segmented_control("Show", SHOW, default="all", key="show", bind="query-params") or "all"
    text = st.text_input("Text", key="text", bind="query-params", icon=":material/search:") or ""
    groups = _group_filters(run, frame)
    kind = _option("Kind of error", "kind", sorted({name for own in frame["kinds"] for name in own}))
    object_name = _option("Hallucinated object", "object", sorted({name for own in frame["objects"] for name in own}))
    present = st.text_input("Object in the image", key="present", bind="query-params") or ""
    left, right = st.columns(2)
    at_least = left.number_input("Words from", 0, 100_000, 0, key="from", bind="query-params")
    at_most = right.number_input("to (0: any)", 0, 100_000, 0, key="to", bind="query-params")
    change, changes = _change(contents, run, others)
    sort = st.selectbox("Order", list(SORTS), key="sort", bind="query-params")
    flagged = {(name, sample) for own, name, sample in _flags() if own == info.name}
    words = (int(at_least), int(at_most))
    filters = Filters(show_only, text, groups, object_name, kind, present, *words, change, flagged)
    return ordered(selected(frame, filters, run.rows, changes), sort)


def _group_filters(run: Run, frame: pd.DataFrame) -> dict[str, str]:
    names = remembered("groups", [run], lambda: group_names(run))
    filters = {}
    for name in map(clean, names):
        values = sorted(set(frame[f"group:{name}"]) - {""})
        if 1 < len(values) <= 100:
            value = _option(_plain(name).capitalize(), f"group_{name}", values)
            if value:
                filters[name] = value
    return filters


def _plain(text: str) -> str:
    """A word of a run as a label: labels are Markdown, so everything but letters and digits goes."""
    return "".join(character if character.isalnum() else " " for character in text).strip() or "group"


def _option(label: str, key: str, values: Sequence[str]) -> str:
    """A select box over values that may be left open; "" for open."""
    if not values:
        return ""
    chosen = st.selectbox(label, list(values), index=None, key=key, bind="query-params", placeholder="any")
    return str(chosen or "")


def _change(contents: Contents, run: Run, others: Sequence[RunSummary]) -> tuple[str, list[str]]:
    if not others:
        return "", []
    name = _option("Changed against", "against", [other.name for other in others])
    if not name:
        return "", []
    change = st.segmented_control("Change", CHANGES, default="all", key="change", bind="query-params")
    other = opened(contents.run(name))
    if other is None or change in (None, "all"):
        return "", []
    return change, remembered("changes", [run, other], lambda: changes_against(run, other))


# --- list and sample ----------------------------------------------------------------------------------------------


def _browse(info: RunSummary, run: Run, lines: pd.DataFrame, beside: Sequence[tuple[RunSummary, Run]]) -> None:
    places = [int(place) for place in lines["place"]]
    at = _position(run, places)
    left, right = st.columns([0.3, 0.7], gap="medium")
    with left:
        _list(run, lines, places, at)
        _export(info, run, places)
    with right:
        row = run.rows[places[at]]
        _buttons(info, run, places, at)
        _sample(info, row, beside)


def _position(run: Run, places: Sequence[int]) -> int:
    """Index, among the lines shown, of the sample that the URL names; the first one without.

    The URL forgets a sample that is not among them; this is said unless it was open here before the filters changed.
    """
    asked, sample = st.query_params.get("id"), st.query_params.get("sample", "0")
    if asked is None:
        return 0
    for index, place in enumerate(places):
        row = run.rows[place]
        if str(row["sample"]) == sample and clean(row["id"]) == asked:
            st.session_state["open_sample"] = asked, sample
            return index
    if st.session_state.get("open_sample") != (asked, sample):
        say("The sample in this address does not pass the filters.", "warning")
    for name in ("id", "sample"):
        st.query_params.pop(name, None)
    return 0


def _go(run: Run, place: int) -> None:
    """Put a sample into the URL."""
    row = run.rows[place]
    st.query_params["id"] = clean(row["id"])
    if row["sample"]:
        st.query_params["sample"] = str(row["sample"])
    elif "sample" in st.query_params:
        del st.query_params["sample"]


def _list(run: Run, lines: pd.DataFrame, places: Sequence[int], at: int) -> None:
    """The page of the list that holds the open sample."""
    pages, page = -(-len(places) // PAGE_SIZE), at // PAGE_SIZE
    first = page * PAGE_SIZE
    shown = lines.iloc[first : first + PAGE_SIZE]
    table = pd.DataFrame(
        {
            "id": shown["id"],
            "wrong": shown["hallucinated"],
            "response": shown["response"].mask(shown["failed"] != "", "⚠ failed: " + shown["failed"]),
        }
    )
    key = f"list_{at}_{len(places)}"

    def picked() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        if rows:
            _go(run, places[first + rows[0]])

    st.dataframe(
        table,
        hide_index=True,
        height=38 + 35 * len(shown),
        on_select=picked,
        selection_mode="single-row",
        selection_default={"selection": {"rows": [at - first]}},
        key=key,
        column_config={
            "id": st.column_config.TextColumn("id", width=70),
            "wrong": st.column_config.NumberColumn("wrong", width=50, help="hallucinated mentions; 1: a wrong answer"),
        },
        alt="samples that pass the filters",
    )
    if pages > 1:
        turner = f"page_{page}_{pages}"  # a new widget per page: the open sample decides which page is shown

        def turned() -> None:
            _go(run, places[(st.session_state[turner] - 1) * PAGE_SIZE])

        st.pagination(pages, default=page + 1, key=turner, on_change=turned)


def _buttons(info: RunSummary, run: Run, places: Sequence[int], at: int) -> None:
    row = run.rows[places[at]]
    key: Key = (info.name, str(row["id"]), int(row["sample"]))
    flagged = key in _flags()
    line = st.container(horizontal=True, vertical_alignment="center")
    line.button("Previous", shortcut="Left", disabled=at == 0, on_click=_go, args=(run, places[max(0, at - 1)]))
    line.button(
        "Next",
        shortcut="Right",
        disabled=at + 1 == len(places),
        on_click=_go,
        args=(run, places[min(len(places) - 1, at + 1)]),
    )
    line.button(
        "Unflag" if flagged else "Flag",
        icon=":material/flag:",
        shortcut="F",
        type="primary" if flagged else "secondary",
        on_click=_flag,
        args=(key, not flagged),
    )
    line.html(
        f'<div class="hk-small">{at + 1:,} of {len(places):,}'
        f"{'' if len(places) == len(run.rows) else f' (of {len(run.rows):,} samples)'}</div>",
        width="content",
    )


def _sample(info: RunSummary, row: Record, beside: Sequence[tuple[RunSummary, Run]]) -> None:
    picture, text = st.columns([0.45, 0.55], gap="medium")
    with picture:
        _picture(row)
        put(objects_html(row))
    with text:
        st.html(f'<div class="hk-label">prompt</div><div class="hk-text">{escaped(row.get("prompt", ""))}</div>')
        rows = [(info, row)]
        for other, run in beside:
            match = _row_of(run, row)
            if match is None:
                say(f"{other.name} has no such sample.", "warning")
            else:
                rows.append((other, match))
        for index, (own, shown) in enumerate(rows):
            _response(own, shown, rows[0][1] if index else (rows[1][1] if len(rows) > 1 else None))
        put(legend_html([shown for _, shown in rows], changed=len(rows) > 1))
        for own, shown in rows:
            _details(own, shown, expanded=False, named=len(rows) > 1)


def _picture(row: Record) -> None:
    """The image with the boxes of its reference objects, where the record has them."""
    image = row.get("image")
    has_boxes = bool(boxes_present(row))
    line = st.container(horizontal=True)
    zoom = line.segmented_control("Zoom", list(ZOOMS), default="1×", key="zoom", bind="query-params") or "1×"
    boxes = has_boxes and line.toggle("Boxes", value=True, key="boxes", bind="query-params")
    try:
        picture = thumbnail(image, WIDTH * ZOOMS[zoom], Shown.from_environment().images)
    except EvalkitError as error:
        say(str(error), "warning")
        return
    put(picture_html(row, picture, ZOOMS[zoom], boxes))
    if image is not None:
        put(f'<div class="hk-small">{escaped(clean(image["name"]))}</div>')


def _row_of(run: Run, row: Record) -> Record | None:
    index = remembered("index", [run], lambda: {(own["id"], own["sample"]): own for own in run.rows})
    return index.get((row["id"], row["sample"]))


def _response(info: RunSummary, row: Record, against: Record | None) -> None:
    text = row["response"]["text"]
    other = against["response"]["text"] if against is not None else None
    changed = differing_words(text, other) if text and other is not None else []
    facts = [row["response"].get("finish"), f"{len((text or '').split())} words"]
    if row["response"].get("tokens") is not None:
        facts.append(f"{row['response']['tokens']} tokens")
    shown = " · ".join(escaped(fact) for fact in facts if fact)
    st.html(
        f'<div class="hk-card"><h4>{escaped(info.label)} <span class="hk-small">{shown}</span></h4>'
        f"{response_html(row, changed)}</div>"
    )


def _details(info: RunSummary, row: Record, expanded: bool, named: bool) -> None:
    """Counts, verdict, what the benchmark kept."""
    title = f"Counts and verdict, {_plain(info.label)}" if named else "Counts, verdict, reference"
    with st.expander(title, expanded=expanded):
        counts = row["score"].get("counts")
        if counts:
            st.html('<div class="hk-label">counts</div>' + key_values_html(counts))
        verdict = row.get("verdict")
        if verdict:
            attempts = verdict.get("attempts") or []
            st.html('<div class="hk-label">judge, as it said</div>' + raw_html(str(verdict.get("reply"))))
            if verdict.get("failure") or verdict.get("unreadable"):
                say(f"judge: {verdict.get('failure') or verdict.get('unreadable')}", "warning")
            if isinstance(attempts, list) and len(attempts) > 1:
                st.html(
                    '<div class="hk-label">all attempts</div>'
                    + key_values_html({str(n): attempt for n, attempt in enumerate(attempts, 1)})
                )
        for name in ("details", "reference", "groups"):
            values = row["score"].get(name) if name == "details" else row.get(name)
            if isinstance(values, dict) and values:
                st.html(f'<div class="hk-label">{name}</div>' + key_values_html(values))
        st.html('<div class="hk-label">signature</div>' + raw_html(info.signature.long()))


# --- flags and export ---------------------------------------------------------------------------------------------


def _flags() -> set[Key]:
    own: set[Key] = st.session_state.setdefault("flags", read_flags(Shown.from_environment().folders[0]))
    return own


def _flag(key: Key, flagged: bool) -> None:
    own = _flags()
    if flagged:
        own.add(key)
    else:
        own.discard(key)
    try:
        write_flag(Shown.from_environment().folders[0], key, flagged)
    except EvalkitError as error:
        st.toast(f"kept for this session only: {type(error).__name__}", icon=":material/warning:")


def _export(info: RunSummary, run: Run, places: Sequence[int]) -> None:
    rows = [run.rows[place] for place in places]
    name = _plain(info.name).replace(" ", "-")
    line = st.container(horizontal=True)
    line.download_button(
        f"CSV ({len(rows):,})",
        lambda: samples_csv(rows, info.name),
        f"{name}.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )
    line.download_button(
        f"JSONL ({len(rows):,})",
        lambda: samples_jsonl(rows),
        f"{name}.jsonl",
        "application/jsonl",
        icon=":material/download:",
        on_click="ignore",
    )


if __name__ == "__main__":
    show()
