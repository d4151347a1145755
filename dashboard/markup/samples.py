"""Escaped HTML of a sample: the response with its findings, objects, counts, a verdict (`evalkit.reports.markup`)."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any
from urllib.parse import urlencode

from dashboard.frames.records import noted_objects, present_objects
from evalkit.reports.markup import STYLE, attribute, escaped, legend, marked
from evalkit.reports.templating import rendered
from evalkit.runs.run import boxes_present
from evalkit.schema import Json, Record

LONGEST_DIFF = 4000  # words; beyond it a comparison of two texts is not worth its time

PAGE_STYLE = (
    STYLE
    + """
[data-testid=stMainBlockContainer] { padding-left: 2.5rem; padding-right: 2.5rem; }
.hk-card { border: 1px solid rgba(128,128,128,.35); border-radius: 8px; padding: .7rem .9rem; margin-bottom: .2rem; }
.hk-card h4 .hk-small { font-weight: 400; }
.hk-card h4 { margin: 0 0 .35rem 0; padding: 0; font-size: 1rem; overflow-wrap: anywhere; }
.hk-small { font-size: .85rem; opacity: .75; overflow-wrap: anywhere; }
.hk-label { font-size: .78rem; opacity: .7; margin: .5rem 0 .1rem 0; }
.hk-chip { display: inline-block; border: 1px solid rgba(128,128,128,.5); border-radius: 10px; padding: 0 .5rem;
  margin: 0 .25rem .25rem 0; font-size: .85rem; overflow-wrap: anywhere; }
.hk-chip-named { border-color: #2ea043; background: rgba(46,160,67,.15); }
.hk-chip-missed { opacity: .7; border-style: dashed; }
.hk-chip-wrong { border-color: #e53935; background: rgba(229,57,53,.18); }
.hk-notice { border-left: 4px solid #1e88e5; background: rgba(30,136,229,.10); border-radius: 4px; padding: .5rem .8rem;
  overflow-wrap: anywhere; }
.hk-notice-warning { border-color: #f0a020; background: rgba(240,160,32,.12); }
.hk-notice-error { border-color: #e53935; background: rgba(229,57,53,.10); }
.hk-scroll { overflow-x: auto; }
table.hk-table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
table.hk-table th { text-align: right; font-weight: 600; border-bottom: 2px solid rgba(128,128,128,.5);
  padding: .3rem .6rem; white-space: nowrap; }
table.hk-table td { text-align: right; border-bottom: 1px solid rgba(128,128,128,.22); padding: .3rem .6rem;
  vertical-align: top; }
table.hk-table th:first-child, table.hk-table td:first-child { text-align: left; overflow-wrap: anywhere; }
table.hk-table td.hk-whole { white-space: nowrap; }
table.hk-table td.hk-left, table.hk-table th.hk-left { text-align: left; }
table.hk-table tr.hk-published td { font-style: italic; opacity: .85; }
table.hk-table tr.hk-flagged td:not(:first-child) { opacity: .75; }
table.hk-table tr.hk-flagged .hk-limits { opacity: 1; }
table.hk-table .hk-limits { font-size: .78rem; opacity: .7; white-space: nowrap; }
table.hk-board td, table.hk-board th { padding-left: .4rem; padding-right: .4rem; }
table.hk-board td:not(:first-child) .hk-limits { display: block; }
table.hk-table .hk-tag { font-size: .72rem; border: 1px solid; border-radius: 4px; padding: 0 .3rem; opacity: .9;
  font-style: normal; white-space: nowrap; }
table.hk-table .hk-tag-flag { border-color: #e53935; background: rgba(229,57,53,.22); opacity: 1; }
a.hk-link, a.hk-link:visited { color: inherit !important; text-decoration: underline; }
.hk-key { display: inline-block; margin-right: 1rem; overflow-wrap: anywhere; }
.hk-dot { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%; margin-right: .35rem; }
.hk-better { color: color-mix(in srgb, #2a9440 62%, currentColor); font-weight: 600; }
.hk-worse { color: color-mix(in srgb, #e53935 68%, currentColor); font-weight: 600; }
[data-testid=stCaptionContainer] { color: inherit; opacity: .8; }
[data-testid^=stBaseButton] kbd { color: inherit; opacity: .85; }
[data-testid=stSkipToContent] { background-color: #0958a6 !important; color: #fff !important; }
[data-testid=stMultiSelectTagsContainer] [role=group] > * { background-color: #0958a6 !important; }
.hk-frame { overflow: auto; max-height: 78vh; border-radius: 8px; }
.hk-canvas { position: relative; }
.hk-canvas img { display: block; width: 100%; }
.hk-box { position: absolute; box-sizing: border-box; border: 2px solid #1e88e5; border-radius: 2px; }
.hk-box span { position: absolute; left: 0; top: 0; font-size: .7rem; line-height: 1.3; background: #0b5cad;
  color: #fff; padding: 0 .25rem; white-space: nowrap; }
pre.hk-raw { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .82rem; margin: 0; background: none; }
"""
)


def notice(text: str, kind: str = "info") -> str:
    """A box with a sentence that may hold untrusted words; kind "info", "warning" or "error"."""
    return f'<div class="hk-notice hk-notice-{kind}">{escaped(text)}</div>'


def link(page: str, text: str, **parameters: str) -> str:
    """A link to a page in a certain state, as HTML."""
    query = urlencode({name: value for name, value in parameters.items() if value})
    return f'<a class="hk-link" href="{attribute(f"{page}?{query}")}" target="_self">{escaped(text)}</a>'


def box_classes(row: Record) -> dict[str, str]:
    """A class for each object that has a box: a mention of it and its boxes share the number."""
    objects = dict.fromkeys(str(box["object"]) for box in boxes_present(row))
    return {name: f"hk-o{number}" for number, name in enumerate(objects)}


def picture_html(row: Record, picture: bytes, zoom: int, boxes: bool) -> str:
    """The image, as wide as its place times `zoom`, with boxes over it; a mention under the pointer lights its boxes.

    Nothing is fetched: the picture is part of the page, and the lighting is a rule of style.
    """
    classes = box_classes(row)
    drawn = [
        {
            "name": box["object"],
            "lit": classes[str(box["object"])],
            "at": [100 * box[side] for side in ("x", "y", "width", "height")],
        }
        for box in (boxes_present(row) if boxes else [])
    ]
    data = base64.b64encode(picture).decode("ascii")
    names = sorted(set(classes.values())) if boxes else []
    return rendered("dashboard.markup", "picture.html", data=data, zoom=100 * zoom, boxes=drawn, names=names)


def response_html(row: Record, changed: Sequence[tuple[int, int]] = ()) -> str:
    """The response with its findings marked, or the failure that stands in its place."""
    text = row["response"]["text"]
    if text is None:
        return notice(f"no response: {row['response'].get('failure')}", "error")
    findings = row["score"].get("findings") or []
    body = (
        marked(text, findings, changed, box_classes(row))
        if text.strip()
        else '<span class="hk-small">(empty response)</span>'
    )
    failure = row["score"].get("failure")
    note = notice(f"not scored: {failure}", "warning") if failure else ""
    return f'<div class="hk-text">{body}</div>{note}'


def legend_html(rows: Sequence[Record], changed: bool = False) -> str:
    """The colours that occur."""
    labels = dict.fromkeys(f["label"] for row in rows for f in row["score"].get("findings") or [])
    return f'<div class="hk-small">{legend(labels, changed)}</div>' if labels or changed else ""


def objects_html(row: Record) -> str:
    """Reference objects and the hallucinated ones as chips; "" where a record lists none.

    Which were named and which missed is told by findings alone: a judge's benchmark has none.
    """
    present = present_objects(row)
    named = noted_objects(row, "correct", "covered")
    wrong = dict.fromkeys(noted_objects(row, "hallucinated"))
    has_findings = bool(row["score"].get("findings"))
    chips = [_chip(name, "named" if name in named else "missed" if has_findings else "present") for name in present]
    parts = []
    if chips:
        note = " (dashed: not mentioned)" if has_findings else ""
        parts.append(f'<div class="hk-label">in the image{note}</div><div>{"".join(chips)}</div>')
    if wrong:
        shown = "".join(_chip(name, "wrong") for name in wrong)
        parts.append(f'<div class="hk-label">hallucinated</div><div>{shown}</div>')
    return "".join(parts)


def _chip(name: str, kind: str) -> str:
    return f'<span class="hk-chip hk-chip-{kind}">{escaped(name)}</span>'


def errors_html(run: str, rows: Sequence[Mapping[Any, Any]]) -> str:
    """Errors by kind as chips that lead to their samples; rows of `dashboard.frames.errors.errors_table`."""
    chips = "".join(
        f'<span class="hk-chip hk-chip-wrong">{link("samples", str(row["kind"]), run=run, kind=str(row["kind"]))} '
        f'<b>{row["errors"]:,}</b> <span class="hk-small">in {escaped(row["share"])} % of responses</span></span>'
        for row in rows
    )
    return f'<div class="hk-label">errors by kind</div><div>{chips}</div>'


def key_values_html(values: Mapping[str, Json]) -> str:
    """Names and values in a small table; nested values as JSON."""
    rows = "".join(
        f'<tr><td>{escaped(name)}</td><td class="hk-left">{escaped(value_text(value))}</td></tr>'
        for name, value in values.items()
    )
    return f'<div class="hk-scroll"><table class="hk-table">{rows}</table></div>'


def raw_html(text: str) -> str:
    """A raw text as it is."""
    return f'<pre class="hk-raw">{escaped(text)}</pre>'


def value_text(value: Json) -> str:
    """A value for display: four digits of a number, nested values as JSON."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


_WORDS = re.compile(r"\w+|[^\w\s]")


def differing_words(text: str, other: str) -> list[tuple[int, int]]:
    """Spans of `text` whose words `other` does not have at that place (longest matching blocks of words).

    >>> text = "A dog and a cat."
    >>> [text[start:end] for start, end in differing_words(text, "A dog and a red bird.")]
    ['cat']
    """
    ours, theirs = list(_WORDS.finditer(text)), [match.group() for match in _WORDS.finditer(other)]
    if len(ours) > LONGEST_DIFF or len(theirs) > LONGEST_DIFF:
        return []
    matcher = SequenceMatcher(None, [match.group() for match in ours], theirs, autojunk=False)
    return [
        (ours[first].start(), ours[last - 1].end())
        for kind, first, last, _, _ in matcher.get_opcodes()
        if kind in ("replace", "delete")
    ]
