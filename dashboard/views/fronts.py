"""Fronts: up to four runs cut ever shorter on one pair of axes, and where each stands beside its base.

Everything is read from front.json; nothing is scored or resampled here.
"""

from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard.charts import COLOURS, fronts_chart
from dashboard.choices import choose, choose_several, explain_empty, put, say, start
from dashboard.frames.fronts import curves_frame
from dashboard.markup.fronts import key_html, standings_html
from dashboard.markup.samples import link
from dashboard.reading.fronts import Stored, fronts_of, has_front, placed_of
from dashboard.reading.runs import Contents
from evalkit.analysis.front import RunFront
from evalkit.analysis.leaderboard import boards
from evalkit.errors import EvalkitError
from evalkit.reports.markup import clean, escaped
from evalkit.runs.run import RunSummary
from evalkit.runs.signature import differences

MOST = 4
ABOUT = (
    "A line is one run's own responses, cut after every sentence; the large dot is all of them. The band is the 95 % "
    "interval. A method is worth its cost where its dot lies below the line of its base: what lies on the line is had "
    "for nothing, by stopping earlier."
)
ABOUT_ANSWERS = (
    "A line is one run's answers, a share of which is changed blindly: from one constant answer over its own (the "
    "large dot) to the other. What lies on the line of the base is had by a shifted threshold."
)


def show() -> None:
    """The page."""
    contents = start("Fronts")
    if not contents.runs:
        explain_empty(contents)
        return
    cut = [run for run in contents.runs if has_front(run)]
    if not cut:
        say("None of these runs has a front.json: `evalkit front RUN` makes it, and `evalkit score` does where it can.")
        return
    with st.sidebar:
        benchmark = choose("Benchmark", "benchmark", list(dict.fromkeys(run.benchmark for run in cut)))
        own = [run for run in cut if run.benchmark == benchmark]
        alike = max(boards(own, mark_best=False), key=lambda board: len(board.runs)).runs
        chosen = choose_several("Runs", "front", [run.name for run in own], [run.name for run in alike[:MOST]], MOST)
    if not chosen:
        say("Choose up to four runs.")
        return
    infos = [contents.run(name) for name in chosen]
    _check_alike(infos)
    fronts = _read(infos)
    if fronts:
        _show(contents, infos, fronts)


def _check_alike(infos: Sequence[RunSummary]) -> None:
    for other in infos[1:]:
        if fields := differences(infos[0].signature, other.signature):
            names = ", ".join(clean(one.field) for one in fields)
            say(f"{other.name} was not measured like {infos[0].name} ({names}): do not compare their lines.", "warning")


def _read(infos: Sequence[RunSummary]) -> dict[str, list[RunFront]]:
    """Name -> fronts; what cannot be read is said."""
    fronts = {}
    for info in infos:
        try:
            fronts[info.name] = fronts_of(info)
        except EvalkitError as error:
            say(str(error), "error")
    return fronts


def _show(contents: Contents, infos: Sequence[RunSummary], fronts: Mapping[str, Sequence[RunFront]]) -> None:
    kinds = {front.at.name: front for own in fronts.values() for front in own}
    with st.sidebar:
        at = choose("Held equal", "at", list(kinds)) if len(kinds) > 1 else next(iter(kinds))
        metric = choose("Metric", "metric", [known.name for known in kinds[at].compared])
        words = kinds[at].front.answers is None and st.toggle("Cut after words, too", key="words", bind="query-params")
    own = {name: front for name, all_ in fronts.items() for front in all_ if front.at.name == at}
    curves = curves_frame(own, metric)
    if curves.empty:
        say(f"{metric} is defined at no cut of these runs.")
        return
    colours = {clean(name): colour for name, colour in zip(own, COLOURS, strict=False)}
    st.html(key_html(colours))
    known = next(one for one in kinds[at].compared if one.name == metric)
    st.altair_chart(fronts_chart(curves, None, colours, kinds[at].at, known, words), alt="fronts of the runs")
    st.caption(ABOUT_ANSWERS if kinds[at].front.answers else ABOUT)
    _standings([info for info in infos if info.name in own], at)


def _standings(infos: Sequence[RunSummary], at: str) -> None:
    """Verdicts that are stored, and how to get one where none is."""
    st.subheader("Beside their bases", anchor=False)
    standings: dict[str, list[Stored]] = {}
    for info in infos:
        try:
            standings[info.name] = [stored for stored in placed_of(info) if stored.at == at]
        except EvalkitError as error:
            say(str(error), "error")
    for name, own in standings.items():
        for stored in own:
            if stored.sentence:
                st.html(f"<div><b>{escaped(name)}</b>: {escaped(stored.sentence)}</div>")
    put(standings_html(standings))
    if alone := [name for name, own in standings.items() if not own]:
        links = ", ".join(link("compare", name, base=name) for name in alone)
        st.html(
            f'<div class="hk-small">Not placed beside a base: {links}. The page Compare computes a verdict; '
            "<code>evalkit front RUN --base BASE</code> stores it.</div>"
        )


if __name__ == "__main__":
    show()
