"""Overview: checkpoints x benchmarks, every number with its interval and what belongs beside it."""

import streamlit as st

from dashboard.charts import trade_off_chart
from dashboard.choices import choose, explain_empty, say, start
from dashboard.frames.overview import main_metrics, trade_off
from dashboard.markup.overview import matrix_html, overview_board
from dashboard.markup.samples import key_values_html
from dashboard.reading.cache import cached
from dashboard.reading.shown import Shown
from evalkit.analysis.leaderboard import Board, boards
from evalkit.analysis.published import PublishedRow, read_report
from evalkit.errors import EvalkitError
from evalkit.reports.markup import clean
from evalkit.reports.runs import board_table, boards_csv
from evalkit.reports.tables import render
from evalkit.runs.run import RunSummary


def show() -> None:
    """The page."""
    contents = start("Overview")
    if not contents.runs:
        explain_empty(contents)
        return
    runs = _filtered(contents.runs)
    if not runs:
        say("No runs pass these filters.")
        return
    shown = boards(runs, _published(), mark_best=False)
    st.html(matrix_html(shown))
    st.caption(
        "Value [95 % interval]; beside each rate what it costs: recall or cover, length, samples scored. "
        "Tags are flags, explained below the table of their benchmark; red ones put a run below the others."
    )
    st.divider()
    names = [_title(board, shown) for board in shown]
    board = shown[names.index(choose("Benchmark", "benchmark", names))]
    _plot(board)
    _board(board)
    _export(shown, board)


def _filtered(runs: list[RunSummary]) -> list[RunSummary]:
    with st.sidebar:
        names = sorted({clean(run.benchmark) for run in runs})
        chosen = st.multiselect("Benchmarks", names, key="benchmarks", bind="query-params", placeholder="all")
        text = st.text_input("Checkpoint or folder holds", key="name", bind="query-params", icon=":material/search:")
        sound = st.toggle("Hide flagged runs", key="sound", bind="query-params")
    return [
        run
        for run in runs
        if (not chosen or clean(run.benchmark) in chosen)
        and (not text or text.lower() in f"{run.label}\n{run.name}".lower())
        and not (sound and run.disqualified)
    ]


def _title(board: Board, shown: list[Board]) -> str:
    """Name of a board; several protocols of one benchmark are numbered."""
    same = [other for other in shown if other.benchmark == board.benchmark]
    name = clean(board.benchmark)
    return name if len(same) == 1 else f"{name} (protocol {same.index(board) + 1})"


def _published() -> list[PublishedRow]:
    path = Shown.from_environment().published
    if path is None:
        return []
    try:
        rows: list[PublishedRow] = cached(path, read_report)
    except EvalkitError as error:
        say(str(error), "error")
        return []
    return rows


def _plot(board: Board) -> None:
    rate, quality = main_metrics(board.metrics)
    if quality is None:
        return
    points = trade_off(board, rate, quality)
    if points.empty:
        say(f"{rate.name} or {quality.name} is undefined for every run here.")
        return
    st.altair_chart(
        trade_off_chart(points, rate, quality, st.context.theme.type == "dark"),
        alt=f"{rate.name} against {quality.name} with intervals, one point per run",
    )
    notes = ["Bars are 95 % intervals."]
    if rate.role == "rate":
        notes.append("A model that only says less moves left and down; one that hallucinates less moves left.")
    if (points["flagged"] == "flagged").any():
        notes.append("Crosses are flagged.")
    st.caption(" ".join(notes))
    missing = [run.label for run in board.runs if run.name not in set(points["run"])]
    if missing:
        say(f"Not drawn, since {rate.name} or {quality.name} is undefined: {', '.join(missing)}")


def _board(board: Board) -> None:
    has_details = any(metric.detail for metric in board.metrics)
    details = has_details and st.toggle("Alternative readings of metrics", key="details", bind="query-params")
    st.html(overview_board(board, details))
    flags = [(run, flag) for run in board.runs for flag in run.flags]
    if flags:
        with st.expander(f"Flags ({len(flags)})", icon=":material/flag:"):
            for run, flag in flags:
                say(f"{run.label}: {flag.text}", "error" if flag.disqualifies else "warning")
    with st.expander("Signatures", icon=":material/fingerprint:"):
        st.html(key_values_html({"all": board.signature}))
        st.html(
            key_values_html({run.name: run.signature.long() for run in (*board.runs, *(e.run for e in board.blind))})
        )


def _export(shown: list[Board], board: Board) -> None:
    table = board_table(board, details=bool(st.session_state.get("details")), baselines=True, words=True)
    line = st.container(horizontal=True)
    name = clean(board.benchmark)
    line.download_button(
        "CSV, all benchmarks",
        boards_csv(shown, overview=True),
        "overview.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )
    line.download_button(
        "Markdown", render(table, "markdown"), f"{name}.md", icon=":material/download:", on_click="ignore"
    )
    line.download_button("LaTeX", render(table, "latex"), f"{name}.tex", icon=":material/download:", on_click="ignore")


if __name__ == "__main__":
    show()
