"""Agreement: how far annotators agree, what they disagree on, and what is decided there."""

import streamlit as st

from dashboard.answering import answer_items
from dashboard.choices import choose, put, say, show_image
from dashboard.frames.agreement import findings_of, gold_frame, reliability_frame
from dashboard.reading.studies import open_study
from dashboard.visitor import visitor
from evalkit.annotation.agreement import Disagreement, disagreements, gold_accuracy, reliability
from evalkit.annotation.decided import read_states
from evalkit.annotation.journal import read_state, submit
from evalkit.annotation.study import ADJUDICATOR, OWNER, Study
from evalkit.errors import EvalkitError
from evalkit.reports.markup import clean, escaped, marked


def show() -> None:
    """The page."""
    st.title("Agreement", anchor=False)
    study = open_study()
    if study is None or visitor(study) != OWNER:
        say("This page is for the owner of a study: use the owner's link that `evalkit annotate` prints.")
        return
    try:
        states = read_states(study)
    except EvalkitError as error:
        say(str(error), "error")
        return
    answers = {name: state.answers for name, state in states.items()}
    rows = reliability(study, answers)
    if any(row.units for row in rows):
        st.dataframe(reliability_frame(rows), hide_index=True, alt="agreement with 95 % intervals")
        st.caption("Intervals are clustered by image. 1 is perfect agreement, 0 is what chance reaches.")
    else:
        say("No item has been answered by two annotators yet; `--overlap` sets how many both get.")
    if study.gold:
        st.subheader("Known answers", anchor=False)
        st.dataframe(
            gold_frame(gold_accuracy(study, states)), hide_index=True, alt="accuracy on items with known answers"
        )
    _differing(study, disagreements(study, answers))


def _differing(study: Study, differing: list[Disagreement]) -> None:
    st.subheader(f"Disagreements ({len(differing)})", anchor=False)
    if not differing:
        return
    decided = read_state(study, ADJUDICATOR)
    open_keys = [entry.item.key for entry in differing if decided.latest(entry.item.key) is None]
    st.caption(f"{len(differing) - len(open_keys)} decided. A decision counts alone in every export.")
    names = {clean(entry.item.key): entry for entry in differing}
    entry = names[choose("Item", "item", list(names))]
    picture, said = st.columns([0.38, 0.62], gap="medium")
    with picture:
        show_image(entry.item.image, 640)
    with said:
        st.html(f'<div class="hk-label">prompt</div><div class="hk-text">{escaped(entry.item.prompt)}</div>')
        for name in entry.answers:
            _answer(study, entry, name)
    with st.expander("Decide it yourself", expanded=decided.latest(entry.item.key) is not None):
        answer_items(study, ADJUDICATOR, [one.item for one in differing])


def _answer(study: Study, entry: Disagreement, name: str) -> None:
    """What one annotator said, and a button that makes it the decision."""
    answer, item = entry.answers[name], entry.item
    parts = []
    for number, text in enumerate(item.texts):
        body = marked(text, findings_of(study, item, answer, number))
        parts.append(f'<div class="hk-text">{body}</div>')
    if study.task == "correct":
        parts.append(f'<div class="hk-label">corrected</div><div class="hk-text">{escaped(answer["text"])}</div>')
    if study.task == "compare":
        said = f"less hallucinated: {answer['less_hallucinated']}; better: {answer['better']}"
        parts.append(f'<div class="hk-small">{escaped(said)}</div>')
    put(f'<div class="hk-card"><h4>{escaped(name)}</h4>{"".join(parts)}</div>')
    st.button(f"{name} is right", key=f"take_{item.key}_{name}", on_click=_take, args=(study, item.key, answer))


def _take(study: Study, key: str, answer: dict[str, object]) -> None:
    latest = read_state(study, ADJUDICATOR).latest(key)
    try:
        submit(study, ADJUDICATOR, key, answer, latest.n if latest else 0)
    except EvalkitError as error:
        st.toast(f"not saved: {type(error).__name__}", icon=":material/warning:")


if __name__ == "__main__":
    show()
