"""Who looks at the pages of a study: known by the token in the address, kept for the session."""

import streamlit as st

from dashboard.reading.studies import open_study
from evalkit.annotation.study import OWNER, Study

KEY, PARAMETER = "visitor_token", "token"


def visitor(study: Study) -> str | None:
    """The annotator or owner whose token the address bears (or bore when the session began); None for nobody's."""
    asked = st.query_params.get(PARAMETER)
    token = asked if asked is not None else st.session_state.get(KEY)
    name = study.who(token)
    if name is None:
        st.session_state.pop(KEY, None)
        return None
    st.session_state[KEY] = token
    if asked != token and token is not None:
        st.query_params[PARAMETER] = token  # so that a reload of any page is still this person's
    return name


def pages_of_visitor(all_pages: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the pages that may be opened: all of them for the owner and where there is no study, else one."""
    study = open_study()
    if study is None:
        return tuple(name for name in all_pages if name not in ("annotate", "agreement"))
    return (
        ("annotate", *(name for name in all_pages if name != "annotate")) if visitor(study) == OWNER else ("annotate",)
    )
