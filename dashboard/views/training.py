"""Training: what an alignment did: its curves, its card, its preference pairs, its scores per iteration."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from dashboard.charts import curve, iteration_chart
from dashboard.choices import choose, say, show_image, start
from dashboard.frames.training import constants, curves, iteration_scores, iterations_table
from dashboard.markup.samples import differing_words, key_values_html, value_text
from dashboard.reading.alignments import Alignment, open_alignment
from dashboard.reading.cache import Row
from dashboard.reading.runs import Contents
from evalkit.errors import EvalkitError
from evalkit.reports.markup import clean, escaped, legend, marked
from evalkit.schema import Json

PAIRS_ON_A_PAGE = 5


def show() -> None:
    """The page."""
    contents = start("Training")
    if not contents.alignments:
        say(
            "No alignment here: a folder with training.jsonl or card.json, as `evalkit align` writes it. "
            "Name the folder that holds the checkpoints too: `evalkit dashboard RUNS CHECKPOINTS`."
        )
        return
    with st.sidebar:
        name = choose("Alignment", "alignment", list(contents.alignments))
    try:
        alignment = open_alignment(contents.alignments[name])
    except EvalkitError as error:
        say(str(error), "error")
        return
    _card(alignment)
    _curves(alignment)
    _iterations(contents, alignment)
    _pairs(alignment)


def _card(alignment: Alignment) -> None:
    card = alignment.card
    if not card:
        say("No card yet: it is written when training is finished.")
        return
    cost = card.get("cost") if isinstance(card.get("cost"), dict) else {}
    facts = {name: card.get(name) for name in ("method", "preset", "parent")} | dict(cost or {})
    tiles = "".join(
        f'<div class="hk-card" style="min-width:7rem"><div class="hk-small">{escaped(name)}</div>'
        f"<b>{escaped(_short(value))}</b></div>"
        for name, value in facts.items()
        if value is not None
    )
    st.html(f'<div style="display:flex;flex-wrap:wrap;gap:.6rem">{tiles}</div>')
    if card.get("selection"):
        say(f"This checkpoint was chosen among others on {card['selection']}.", "warning")
    with st.expander("Card", icon=":material/badge:"):
        st.html(key_values_html(card))


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return clean(value, 80)


def _curves(alignment: Alignment) -> None:
    if not alignment.steps:
        say("No training log (training.jsonl) here.")
        return
    pictures = curves(alignment.steps)
    for start_at in range(0, len(pictures), 2):
        columns = st.columns(2, gap="medium")
        for column, (title, points) in zip(columns, pictures[start_at : start_at + 2], strict=False):
            with column:
                st.html(f"<b>{escaped(title)}</b>")
                st.altair_chart(curve(points, title), alt=f"{title} over the steps")
    same = constants(alignment.steps) if len(alignment.steps) > 1 else {}
    if same:
        constant = " · ".join(f"{name} {_short(value)}" for name, value in same.items())
        st.html(f'<div class="hk-small">the same in every step: {escaped(constant)}</div>')


def _iterations(contents: Contents, alignment: Alignment) -> None:
    """What was noted of each iteration; scores of their checkpoints: runs of models that lie in this folder."""
    if alignment.iterations:
        st.subheader("Iterations", anchor=False)
        st.dataframe(iterations_table(alignment.iterations), hide_index=True, alt="numbers of each iteration")
    points = iteration_scores(contents.runs, alignment.path)
    if points.empty:
        return
    st.subheader("Scores per iteration", anchor=False)
    for benchmark, own in points.groupby("benchmark"):
        st.html(f"<b>{escaped(benchmark)}</b>")
        st.altair_chart(iteration_chart(own), alt=f"{benchmark} per iteration")


def _pairs(alignment: Alignment) -> None:
    pairs = alignment.pairs
    if not pairs:
        return
    st.subheader(f"Preference pairs ({len(pairs):,})", anchor=False)
    text = st.text_input("Text in prompt or response", key="text", bind="query-params", icon=":material/search:") or ""
    shown = [
        pair for pair in pairs if text.lower() in f"{pair['prompt']}\n{pair['chosen']}\n{pair['rejected']}".lower()
    ]
    if not shown:
        say("No pair contains this text.")
        return
    pages = -(-len(shown) // PAIRS_ON_A_PAGE)
    page = st.pagination(pages, key="page", bind="query-params") if pages > 1 else 1
    st.html(f'<div class="hk-small">{legend((), changed=True)} words that the other response does not have</div>')
    _show_pairs(shown[(page - 1) * PAIRS_ON_A_PAGE : page * PAIRS_ON_A_PAGE])


def _show_pairs(pairs: Sequence[Row]) -> None:
    for pair in pairs:
        picture, chosen, rejected = st.columns([0.2, 0.4, 0.4], gap="medium")
        with picture:
            show_image(_image(pair.get("image")), 320, named=False)
        for column, name, other in ((chosen, "chosen", "rejected"), (rejected, "rejected", "chosen")):
            body = marked(pair[name], [], differing_words(pair[name], pair[other]))
            column.html(f'<div class="hk-card"><h4>{name}</h4><div class="hk-text">{body}</div></div>')
        chosen.html(f'<div class="hk-small">{escaped(pair["prompt"])}</div>')
        if pair.get("meta"):
            rejected.html(f'<div class="hk-small">{escaped(_meta(pair["meta"]))}</div>')


def _meta(meta: Json) -> str:
    if not isinstance(meta, dict):
        return value_text(meta)
    return " · ".join(f"{name} {value_text(value)}" for name, value in meta.items())


def _image(name: object) -> dict[str, str] | None:
    """A pair's image as records name it."""
    if not isinstance(name, str) or not name:
        return None
    path = Path(name)
    return {"folder": str(path.parent), "name": path.name}


if __name__ == "__main__":
    show()
