"""What a run says as a whole, beside its samples: errors by kind, truncation front, over-generalisation."""

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from dashboard.charts import COLOURS, fronts_chart
from dashboard.choices import say
from dashboard.frames.errors import errors_table
from dashboard.frames.fronts import curves_frame, points_frame
from dashboard.frames.objects import scenes_table
from dashboard.markup.fronts import key_html
from dashboard.markup.samples import errors_html
from dashboard.reading.cache import remembered
from evalkit.analysis.front import RunFront
from evalkit.analysis.front_file import read_fronts, stored_standings
from evalkit.analysis.standing import Placed, place
from evalkit.errors import EvalkitError
from evalkit.reports.markup import clean, escaped
from evalkit.runs.run import Run, RunSummary


def show_errors(info: RunSummary, run: Run) -> None:
    """Errors by kind; each kind leads to its samples."""
    table = remembered("errors", [run], lambda: errors_table(run))
    if not table.empty:
        st.html(errors_html(info.name, table.to_dict("records")))


def show_whole_run(info: RunSummary, run: Run, beside: Sequence[tuple[RunSummary, Run]]) -> None:
    """Front and scenes of a run, where it has them."""
    fronts = _fronts(info, run, beside)
    scenes = show_scenes(run)
    if not fronts and not scenes:
        say("This run has no truncation front and knows no scenes: `evalkit front RUN` makes the first.")


def _fronts(info: RunSummary, run: Run, beside: Sequence[tuple[RunSummary, Run]]) -> bool:
    """The run's own responses cut short with the runs beside it, and where it stands beside its base."""
    try:
        fronts, standings = remembered("own_fronts", [run], lambda: (read_fronts(run), stored_standings(run)))
    except EvalkitError as error:
        say(str(error), "warning")
        return True
    for front in fronts:
        if front.front.answers is None:
            _front(info, run, front, beside)
    for row in standings:
        _standing(info, row)
    return any(front.front.answers is None for front in fronts) or bool(standings)


def _front(info: RunSummary, run: Run, front: RunFront, beside: Sequence[tuple[RunSummary, Run]]) -> None:
    others = {other.label if other.label != info.label else other.name: own for other, own in beside}
    runs = [run, *others.values()]
    placed = remembered("placed", runs, lambda: place(front, info.label, others))
    st.subheader("If it stopped earlier", anchor=False)
    st.caption("The line: this run's own responses cut after 1, 2, … sentences. What lies below it hallucinates less.")
    for one in placed:
        st.html(f"<div>{escaped(one.other)}: {escaped(one.sentence())}</div>")
    draw_front(front, info.label, placed)


def draw_front(front: RunFront, base: str, placed: Sequence[Placed]) -> None:
    """A front with the runs beside it: the headline metric against what is held equal."""
    metric, base = front.compared[0], clean(base)
    curves, points = curves_frame({base: front}, metric.name), points_frame(placed, metric.name)
    if curves.empty:
        return
    colours = {base: "#7F7F7F"} | dict(zip(points["run"], COLOURS, strict=False))
    way = "shifted blindly" if front.front.answers else "cut ever later (dashed: after words)"
    st.html(key_html({f"{base}, {way}": colours[base]} | {name: colours[name] for name in points["run"]}))
    st.altair_chart(fronts_chart(curves, points, colours, front.at, metric, words=True), alt=f"the front of {base}")


def _standing(info: RunSummary, row: Mapping[str, object]) -> None:
    sentence = row.get("sentence") or row.get("verdict")
    if sentence:
        st.html(f"<div>{escaped(info.label)} beside {escaped(row['base'])}: {escaped(sentence)}</div>")


def show_scenes(run: Run) -> bool:
    """Over-generalisation, for runs that know the scenes of their images; whether this one does."""
    table: pd.DataFrame = remembered("scenes", [run], lambda: scenes_table(run))
    if table.empty:
        return False
    st.subheader("By scene", anchor=False)
    st.caption(
        "Mean hallucination rate (%) of each scene's ten most frequent objects, on all images and the scene's own; the "
        "difference in points with its 95 % interval. After RLHF-V; scenes are words in the images' captions."
    )
    st.dataframe(table, hide_index=True, key="scenes", alt="hallucination of the objects that a scene suggests")
    return True
