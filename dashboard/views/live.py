"""Live: runs that are not scored yet, their progress and what can be said of their responses so far."""

import time

import streamlit as st

from dashboard.choices import say, start
from dashboard.frames.live import checks_so_far, seconds_left, span_text
from dashboard.markup.samples import key_values_html, notice
from dashboard.reading.runs import Contents, Unfinished, find
from dashboard.reading.shown import Shown
from evalkit.reports.markup import clean, escaped
from evalkit.runs.records import METRICS

EVERY_S = 2.0
STILL_AFTER_S = 120.0  # without a new line a run is taken for stopped; a big batch may take that long
LATEST = 5
Pace = dict[str, list[tuple[float, int]]]


def show() -> None:
    """The page."""
    start("Live")
    _watch()


@st.fragment(run_every=EVERY_S)  # type: ignore[untyped-decorator]
def _watch() -> None:
    contents = find(Shown.from_environment())
    if not contents.unfinished:
        say("No run is in progress: every run here is scored.")
    for run in contents.unfinished:
        _run(run)
    _newest(contents)


def _run(run: Unfinished) -> None:
    st.html(f"<h3>{escaped(run.label)} <span class='hk-small'>{escaped(run.name)}</span></h3>")
    share = min(1.0, run.done / run.wanted) if run.wanted else 0.0
    st.progress(share)
    age = time.time() - run.changed
    pace: Pace = st.session_state.setdefault("pace", {})
    seen = pace.setdefault(run.name, [])
    seen.append((time.time(), run.done))
    del seen[:-60]
    left = seconds_left(seen, run.wanted)
    facts = [f"{run.done:,} of {run.wanted:,} responses ({share:.0%})", f"last one {span_text(age)} ago"]
    if run.failed:
        facts.append(f"{run.failed:,} failed")
    if run.verdicts:
        facts.append(f"{run.verdicts:,} verdicts")
    if left is not None:
        facts.append(f"about {span_text(left)} left")
    st.html(f"<div>{escaped(' · '.join(facts))}</div>")
    if run.done >= run.wanted:
        st.html(notice(f"All responses are there; scoring is in progress, or run `evalkit score {run.path}`."))
    elif age > STILL_AFTER_S:
        st.html(notice("Nothing new for a while: perhaps stopped. Rerun the same command to resume.", "warning"))
    checks = checks_so_far(run)
    for flag in checks.flags:
        st.html(notice(flag.text, "error" if flag.disqualifies else "warning"))
    with st.expander("So far", expanded=True):
        if checks.facts:
            st.html(key_values_html(checks.facts))
        for row in list(run.rows)[: -LATEST - 1 : -1]:
            shown = row.get("text") if row.get("text") is not None else f"failed: {row.get('failure')}"
            body = f'<div class="hk-text">{escaped(clean(shown, 600))}</div>'
            st.html(f'<div class="hk-label">{escaped(row.get("id"))}</div>{body}')


def _newest(contents: Contents) -> None:
    """The runs that were finished last."""
    newest = sorted(contents.runs, key=lambda run: (run.folder / METRICS).stat().st_mtime, reverse=True)[:5]
    if newest:
        st.subheader("Finished last", anchor=False)
        facts = {}
        for run in newest:
            metric = run.metrics[0]
            value = run.values.get(metric.name)
            scored, total = run.counted
            facts[run.name] = f"{metric.name} {value.text() if value else '-'}   n {scored:,}/{total:,}"
        st.html(key_values_html(facts))


if __name__ == "__main__":
    show()
