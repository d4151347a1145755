"""Charts: Altair specifications from the tables. Colours are told apart without colour vision too."""

from collections.abc import Mapping

import altair as alt
import pandas as pd

from evalkit.metrics import Metric
from evalkit.reports.tables import arrow

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C564B", "#7F7F7F"]
SHARES = alt.Scale(scheme="orangered", domainMin=0)
MANY = 12  # above so many runs names are shown on hovering only


def trade_off_chart(points: pd.DataFrame, rate: Metric, quality: Metric, dark: bool = False) -> alt.LayerChart:
    """Hallucination against recall with the intervals of both: up and to the left is better; `dark`: the ground is."""
    scale, axis = alt.Scale(zero=False, nice=True), alt.Axis(tickCount=8)
    x = alt.X("x:Q", title=f"{arrow(rate)} ({rate.unit})", scale=scale, axis=axis)
    y = alt.Y("y:Q", title=f"{arrow(quality)} ({quality.unit})", scale=scale, axis=axis)
    colour = alt.Color("model:N", scale=alt.Scale(range=COLOURS), legend=None)
    tips = [
        alt.Tooltip("model:N"),
        alt.Tooltip("run:N"),
        alt.Tooltip("x:Q", title=rate.name, format=".1f"),
        alt.Tooltip("y:Q", title=quality.name, format=".1f"),
        alt.Tooltip("words:Q", title="words per response", format=".1f"),
        alt.Tooltip("note:N", title="flags"),
    ]
    base = alt.Chart(points)
    bars = [
        base.mark_rule(opacity=0.55, strokeWidth=1.5).encode(x="x_low:Q", x2="x_high:Q", y=y, color=colour),
        base.mark_rule(opacity=0.55, strokeWidth=1.5).encode(x=x, y="y_low:Q", y2="y_high:Q", color=colour),
    ]
    shape = alt.Shape(
        "flagged:N",
        scale=alt.Scale(domain=["sound", "flagged"], range=["circle", "cross"]),
        legend=alt.Legend(title=None, orient="top", symbolFillColor="#888888")
        if (points["flagged"] == "flagged").any()
        else None,
    )
    dots = base.mark_point(filled=True, size=110, opacity=1).encode(x=x, y=y, color=colour, shape=shape, tooltip=tips)
    layers = [*bars, dots]
    if len(points) <= MANY:
        names = base.mark_text(align="left", dx=9, dy=-9, fontSize=12, color="#e6e9ee" if dark else "#1b1f24")
        text = names.encode(x=x, y=y, text="model:N")
        layers.append(text)
    return alt.layer(*layers).properties(height=360)


def effects_chart(effects: pd.DataFrame) -> alt.LayerChart:
    """Differences with intervals, a line at zero. Columns: name, pair, value, low, high, verdict."""
    y = alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=260, labelFlush=False))
    colour = alt.Color(
        "verdict:N",
        title=None,
        scale=alt.Scale(
            domain=["better", "worse", "differs", "no difference shown"],
            range=["#009E73", "#D55E00", "#0072B2", "#8a8a8a"],
        ),
        legend=alt.Legend(orient="top"),
    )
    offset = alt.YOffset("pair:N")
    tips = [
        alt.Tooltip("name:N", title="metric"),
        alt.Tooltip("pair:N", title="run"),
        alt.Tooltip("value:Q", title="difference", format="+.2f"),
        alt.Tooltip("low:Q", format="+.2f"),
        alt.Tooltip("high:Q", format="+.2f"),
        alt.Tooltip("verdict:N"),
    ]
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(strokeDash=[4, 3], opacity=0.6).encode(x="zero:Q")
    base = alt.Chart(effects)
    bars = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title="difference from the base run", axis=alt.Axis(tickCount=10)),
        x2="high:Q",
        y=y,
        yOffset=offset,
        color=colour,
    )
    several = effects["pair"].nunique() > 1
    legend = alt.Legend(orient="top", symbolFillColor="#888888") if several else None
    shape = alt.Shape("pair:N", title=None, legend=legend)
    dots = base.mark_point(filled=True, size=80, opacity=1).encode(
        x="value:Q", y=y, yOffset=offset, color=colour, shape=shape, tooltip=tips
    )
    return alt.layer(zero, bars, dots).properties(height={"step": 18})


def fronts_chart(
    curves: pd.DataFrame,
    points: pd.DataFrame | None,
    colours: Mapping[str, str],
    at: Metric,
    metric: Metric,
    words: bool = False,
) -> alt.LayerChart:
    """Runs cut ever later: a band and a line by sentences each, dashed by words; single runs as diamonds.

    Args:
        curves, points: see `dashboard.frames.fronts`.
        colours: run -> colour.
        words: whether the cuts after words are drawn, too.
    """
    scale = alt.Scale(zero=False, nice=True)
    x = alt.X("x:Q", title=f"{arrow(at)} ({at.unit})", scale=scale, axis=alt.Axis(tickCount=8))
    y = alt.Y("y:Q", title=f"{arrow(metric)} ({metric.unit})", scale=scale, axis=alt.Axis(tickCount=8))
    colour = alt.Color("run:N", scale=alt.Scale(domain=list(colours), range=list(colours.values())), legend=None)
    figures = [alt.Tooltip("x:Q", title=at.name, format=".1f"), alt.Tooltip("y:Q", title=metric.name, format=".1f")]
    limits = [alt.Tooltip(f"{side}:Q", format=".1f") for side in ("low", "high")]
    line = alt.Chart(curves[curves["way"] != "words"])
    order = alt.Order("step:Q")
    layers = [
        line.mark_area(opacity=0.13).encode(x=x, y=alt.Y("low:Q", scale=scale, stack=None), y2="high:Q", color=colour),
        line.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, order=order),
        alt.Chart(curves[(curves["way"] != "words") & curves["cut"].notna()])
        .mark_point(filled=True, opacity=1)
        .encode(
            x=x,
            y=y,
            color=colour,
            size=alt.condition("datum.whole", alt.value(150), alt.value(35)),
            tooltip=[alt.Tooltip("run:N"), alt.Tooltip("cut:N", title="cut after"), *figures, *limits],
        ),
    ]
    if words:
        dashed = alt.Chart(curves[curves["way"] == "words"])
        layers.append(dashed.mark_line(strokeWidth=1.2, strokeDash=[4, 3]).encode(x=x, y=y, color=colour, order=order))
    if points is not None and not points.empty:
        single = alt.Chart(points).mark_point(filled=True, size=140, shape="diamond", opacity=1)
        layers.append(
            single.encode(x=x, y=y, color=colour, tooltip=[alt.Tooltip("run:N"), *figures, alt.Tooltip("verdict:N")])
        )
    return alt.layer(*layers).properties(height=380)


def heat_map(cells: pd.DataFrame, objects: list[str]) -> alt.LayerChart:
    """Hallucinated objects by objects truly present; a click on a cell selects it."""
    pick = alt.selection_point(name="cell", fields=["object", "present"])
    x = alt.X(
        "present:N",
        title="truly in the image",
        sort=None,
        axis=alt.Axis(labelAngle=-90, labelLimit=140, labelOverlap=False, labelFlush=False),
    )
    y = alt.Y(
        "object:N",
        title="hallucinated",
        sort=objects,
        axis=alt.Axis(labelLimit=140, labelOverlap=False, labelFlush=False),
    )
    base = alt.Chart(cells)
    top = float(cells["share"].max())  # the scale ends there, at its darkest
    boxes = (
        base.mark_rect(cornerRadius=2, stroke="rgba(128,128,128,0.25)")
        .encode(
            x=x,
            y=y,
            color=alt.when("datum.responses > 0")
            .then(alt.Color("share:Q", title="% of images", scale=SHARES, legend=alt.Legend(orient="top")))
            .otherwise(alt.value("rgba(128,128,128,0.10)")),
            tooltip=[
                alt.Tooltip("object:N", title="hallucinated"),
                alt.Tooltip("present:N", title="in the image"),
                alt.Tooltip("responses:Q"),
                alt.Tooltip("images:Q", title="images without it"),
                alt.Tooltip("share:Q", format=".1f", title="% of them"),
            ],
        )
        .add_params(pick)
    )
    counts = (
        base.transform_filter("datum.responses > 0")
        .mark_text(fontSize=11)
        .encode(
            x=x,
            y=y,
            text="responses:Q",
            color=alt.condition(f"datum.share > {0.6 * top:.4f}", alt.value("white"), alt.value("black")),
        )
    )
    return alt.layer(boxes, counts).properties(height={"step": 26})


def curve(points: pd.DataFrame, title: str) -> alt.LayerChart:
    """One quantity of a training over its steps; columns step, value, name (of the line)."""
    several = points["name"].nunique() > 1
    x = alt.X("step:Q", title="step", axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    colour = alt.Color(
        "name:N",
        title=None,
        scale=alt.Scale(range=COLOURS),
        legend=alt.Legend(orient="top", symbolOpacity=1) if several else None,
    )
    tips = [alt.Tooltip("step:Q"), alt.Tooltip("name:N"), alt.Tooltip("value:Q", format=".4g")]
    base = alt.Chart(points)
    raw = base.mark_line(opacity=0.3, strokeWidth=1).encode(x=x, y=y, color=colour)
    smooth = base.mark_line(strokeWidth=2).encode(x=x, y=alt.Y("smooth:Q"), color=colour, tooltip=tips)
    return alt.layer(raw, smooth).properties(height=220)


def iteration_chart(points: pd.DataFrame) -> alt.LayerChart:
    """Scores per iteration with intervals; columns iteration, value, low, high, metric."""
    x = alt.X("iteration:O", title="iteration", axis=alt.Axis(labelAngle=0))
    colour = alt.Color("metric:N", title=None, scale=alt.Scale(range=COLOURS), legend=alt.Legend(orient="top"))
    base = alt.Chart(points)
    bars = base.mark_rule().encode(x=x, y=alt.Y("low:Q", title="score"), y2="high:Q", color=colour)
    line = base.mark_line(point=alt.OverlayMarkDef(size=70)).encode(x=x, y="value:Q", color=colour)
    return alt.layer(bars, line).properties(height=260)
