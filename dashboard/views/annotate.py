"""Annotate: the items of a study for whoever has a link; for its owner how far everybody is."""

import streamlit as st

from dashboard.answering import answer_items
from dashboard.choices import put, say
from dashboard.markup.samples import notice
from dashboard.reading.studies import open_study
from dashboard.visitor import visitor
from evalkit.annotation.journal import completion, read_state
from evalkit.annotation.study import OWNER, Study, changed_runs
from evalkit.reports.markup import escaped


def show() -> None:
    """The page."""
    study = open_study()
    if study is None:
        say("No study is open. `evalkit annotate RUN --task mark` draws one and opens this page.")
        return
    who = visitor(study)
    if who is None:
        st.title("Annotate", anchor=False)
        say("Open this page with the link you were sent: it ends in ?token=…", "warning")
        return
    st.html(f"<h1>{escaped(study.name)}</h1><div class='hk-small'>{study.task}, {escaped(who)}</div>")
    if who == OWNER:
        _owner(study)
        return
    if study.guideline.strip():
        with st.expander("Guideline", icon=":material/menu_book:"):
            _guideline(study.guideline)
    answer_items(study, who, study.assigned(who))


def _guideline(text: str) -> None:
    """The owner's Markdown; as plain text where it would load or link something from elsewhere."""
    if "![" in text or "](" in text or "<" in text:
        st.text(text)
    else:
        st.markdown(text)


def _owner(study: Study) -> None:
    for run in changed_runs(study):
        put(notice(f"{run.path} was generated again or removed: the study keeps the responses it was drawn from."))
    rows = []
    for name in study.annotators:
        own = completion(study, name, read_state(study, name))
        rows.append({"annotator": name, "answered": own.done, "skipped": own.skipped, "of": own.total})
    st.dataframe(rows, hide_index=True, alt="progress of the annotators")
    say("You are viewing this study as its owner. Annotators use their own links; Agreement compares what they said.")


if __name__ == "__main__":
    show()
