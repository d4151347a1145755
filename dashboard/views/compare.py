"""Compare: two to four runs on the same items; the effect with its interval first, then the test, then the items."""

from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard.charts import effects_chart
from dashboard.choices import choose, choose_several, explain_empty, opened, say, start
from dashboard.frames.compare import changes_against, effects_frame, items_frame
from dashboard.markup.compare import effects_html
from dashboard.markup.samples import key_values_html, link
from dashboard.reading.cache import remembered
from dashboard.whole_run import draw_front
from evalkit.analysis.comparison import Comparison, Effect, Pair, compare
from evalkit.analysis.front_file import read_fronts
from evalkit.errors import EvalkitError
from evalkit.reports.comparisons import comparison_report
from evalkit.reports.markup import clean, escaped
from evalkit.runs.run import Run, RunSummary
from evalkit.runs.signature import differences

CHANGES = ("better", "worse", "unchanged")
SHOWN_ITEMS = 200


def show() -> None:
    """The page."""
    contents = start("Compare")
    if not contents.runs:
        explain_empty(contents)
        return
    with st.sidebar:
        base = contents.run(choose("Base", "base", [run.name for run in contents.runs]))
        same = [run for run in contents.runs if run.benchmark == base.benchmark and run.name != base.name]
        if not same:
            say(f"{base.name} is the only run of {base.benchmark} here: nothing to compare it with.")
            return
        alike = [run.name for run in same if not differences(base.signature, run.signature)]
        names = choose_several("Against", "other", [run.name for run in same], alike[:1], 3)
        details = st.toggle("Alternative readings of metrics", key="details", bind="query-params")
    if not names:
        say("Choose one to three runs to compare with the base run.")
        return
    infos = [base, *(contents.run(name) for name in names)]
    if not _check_protocols(infos):
        return
    runs = [opened(info) for info in infos]
    if any(run is None for run in runs):
        return
    _compare(infos, [run for run in runs if run is not None], details)


def _check_protocols(infos: Sequence[RunSummary]) -> bool:
    """Refuse runs that were not measured alike, and show where they differ."""
    base, good = infos[0], True
    for other in infos[1:]:
        differing = differences(base.signature, other.signature)
        if differing:
            good = False
            say(f"{other.name} was not measured like {base.name}: the numbers must not be compared.", "error")
            st.html(
                key_values_html(
                    {
                        clean(d.field): f"{d.first or 'absent'} in the base, {d.second or 'absent'} in the other"
                        for d in differing
                    }
                )
            )
    return good


def _compare(infos: Sequence[RunSummary], runs: Sequence[Run], details: bool) -> None:
    metrics = [metric.name for metric in runs[0].metrics if details or not metric.detail]
    try:
        with st.spinner("Resampling …"):
            comparison = remembered(("compare", details), runs, lambda: compare(*runs, metrics=metrics, groups=False))
    except EvalkitError as error:
        say(str(error), "error")
        return
    for pair, other in zip(comparison.pairs, infos[1:], strict=True):
        st.html(
            f"<h3>{escaped(infos[0].label)} → {escaped(other.label)}</h3><div class='hk-small'>"
            f"{pair.items:,} of {pair.total:,} items scored in both · {escaped(other.name)}</div>"
        )
        for placed in pair.fronts:
            st.html(f"<div>{escaped(placed.sentence())}</div>")
        for warning in pair.warnings:
            say(warning, "warning")
        st.html(effects_html(pair.effects, pair.base, pair.other))
    _fronts(comparison, runs)
    frame = effects_frame(comparison.pairs)
    if not frame.empty:
        st.altair_chart(effects_chart(frame), alt="differences with intervals")
    st.caption(
        f"Paired bootstrap, {comparison.level:.0%}; p by randomisation, {comparison.resamples:,} draws, "
        f"Holm-corrected over {comparison.tests} tests. Items are better or worse by their own value of the metric."
    )
    _items(infos, runs)
    _groups(runs, metrics)
    _export(comparison)


def _fronts(comparison: Comparison, runs: Sequence[Run]) -> None:
    """The base's own fronts, from its front.json, with the other runs beside them."""
    placed = [beside for pair in comparison.pairs for beside in pair.fronts]
    for front in remembered("fronts", runs[:1], lambda: read_fronts(runs[0])) if placed else ():
        if own := [beside for beside in placed if beside.at.name == front.at.name]:
            draw_front(front, own[0].base, own)


def _items(infos: Sequence[RunSummary], runs: Sequence[Run]) -> None:
    st.subheader("Items", anchor=False)
    labels = [info.name for info in infos[1:]]
    name = choose("Run", "pair", labels) if len(labels) > 1 else labels[0]
    index = labels.index(name) + 1
    base, other = runs[0], runs[index]
    changes = remembered("changes", [other, base], lambda: changes_against(other, base))
    counts = {change: sum(change in change_words.split() for change_words in changes) for change in CHANGES}
    place = {"run": infos[index].name, "against": infos[0].name, "beside": infos[0].name}
    links = " · ".join(
        f"{count:,} {link('samples', change, change=change, **place)}" for change, count in counts.items()
    )
    rule = "by the first metric in which the item's two values differ, rates first"
    st.html(f"<div>{links} <span class='hk-small'>{rule}</span></div>")
    usual = "worse" if counts["worse"] or not counts["better"] else "better"
    asked = st.segmented_control(
        "Which", CHANGES[:2], default=usual, key="items", bind="query-params", label_visibility="collapsed"
    )
    change = asked or usual
    lines = items_frame(base, other, changes, change)
    if lines.empty:
        say(f"No item got {change}.")
        return
    event = st.dataframe(
        lines.head(SHOWN_ITEMS).drop(columns="sample"),
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key=f"items_{name}_{change}",
        height=min(420, 38 + 35 * len(lines)),
        column_config={
            "id": st.column_config.TextColumn("id", width=70),
            "base": st.column_config.TextColumn(clean(infos[0].label), width=430),
            "other": st.column_config.TextColumn(clean(infos[index].label), width=430),
        },
        alt="items that changed",
    )
    picked = event["selection"]["rows"]
    if picked:
        line = lines.iloc[picked[0]]
        sample = {"sample": str(line["sample"])} if line["sample"] else {}
        st.switch_page("views/samples.py", query_params={**place, "id": str(line["id"]), **sample})


def _groups(runs: Sequence[Run], metrics: Sequence[str]) -> None:
    if not any(row.get("groups") for row in runs[0].rows[:200]):
        return
    st.subheader("By group", anchor=False)
    if not st.toggle("Compare within groups", key="by_group", bind="query-params"):
        return
    try:
        with st.spinner("Resampling within groups …"):
            comparison = remembered(("groups", tuple(metrics)), runs, lambda: compare(*runs, metrics=list(metrics)))
    except EvalkitError as error:
        say(str(error), "error")
        return
    for pair in comparison.pairs:
        for name, values in pair.groups.items():
            st.html(
                f"<b>{escaped(name)}</b> <span class='hk-small'>{escaped(pair.base)} → {escaped(pair.other)}</span>"
            )
            _group_table(pair, values)


def _group_table(pair: Pair, values: Mapping[str, Sequence[Effect]]) -> None:
    effects = [(value, effect) for value, own in values.items() for effect in own]
    st.html(effects_html([e for _, e in effects], pair.base, pair.other, [value for value, _ in effects]))


def _export(comparison: Comparison) -> None:
    line = st.container(horizontal=True)
    for label, format_name, suffix in (
        ("CSV", "csv", "csv"),
        ("Markdown", "markdown", "md"),
        ("LaTeX", "latex", "tex"),
    ):
        line.download_button(
            label,
            comparison_report(comparison, format_name),  # type: ignore[arg-type]
            f"comparison.{suffix}",
            icon=":material/download:",
            on_click="ignore",
        )


if __name__ == "__main__":
    show()
