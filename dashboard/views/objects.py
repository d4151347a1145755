"""Objects: which are hallucinated most, and beside which truly present ones: the cause that the CHAIR paper names."""

import pandas as pd
import streamlit as st

from dashboard.charts import heat_map
from dashboard.choices import choose_run, explain_empty, say, start
from dashboard.frames.objects import co_occurrence, hallucinated_table
from dashboard.reading.cache import remembered
from dashboard.whole_run import show_scenes

SAMPLES = "views/samples.py"


def show() -> None:
    """The page."""
    contents = start("Objects")
    if not contents.runs:
        explain_empty(contents)
        return
    with st.sidebar:
        chosen = choose_run(contents)
        most = st.slider("Objects shown", 5, 40, 15, key="most", bind="query-params")
    if chosen is None:
        return
    info, run = chosen
    table = remembered("objects", [run], lambda: hallucinated_table(run))
    if table.empty:
        say(f"{info.name}: no response has a hallucinated object (or the benchmark does not name objects).")
        return
    st.subheader("Hallucinated most", anchor=False)
    _table(info.name, table.head(most))
    names = [str(name) for name in table["object"].head(most)]
    show_scenes(run)
    cells = remembered(("cells", most), [run], lambda: co_occurrence(run, names, most))
    if cells.empty:
        say("The records of this run list no reference objects: nothing to compare with.")
        return
    st.subheader("Co-occurring objects", anchor=False)
    st.caption(
        "Colour: of the images that hold the object below but not the one at the left, the share whose response "
        "names it all the same. Number: responses. Choose a cell to see them."
    )
    event = st.altair_chart(
        heat_map(cells, names), on_select="rerun", key="cells", alt="hallucinated objects by objects in the image"
    )
    picked = event["selection"].get("cell") or []
    if picked:
        _open(info.name, str(picked[0]["object"]), str(picked[0]["present"]))


def _table(run: str, table: pd.DataFrame) -> None:
    event = st.dataframe(
        table,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        height=38 + 35 * min(20, len(table)),
        key="hallucinated",
        column_config={
            "object": "object",
            "responses": st.column_config.NumberColumn("responses", help="responses that name it"),
            "mentions": st.column_config.NumberColumn("mentions"),
            "absent": st.column_config.NumberColumn("images without it"),
            "share": st.column_config.ProgressColumn("% of these", format="%.1f", min_value=0, max_value=100),
            "beside": st.column_config.TextColumn("most often beside"),
        },
        alt="objects that are hallucinated, the most frequent first",
    )
    rows = event["selection"]["rows"]
    if rows:
        _open(run, str(table["object"].iloc[rows[0]]), "")


def _open(run: str, name: str, present: str) -> None:
    """The samples behind a row or a cell."""
    parameters = {"run": run, "object": name, "present": present}
    st.switch_page(SAMPLES, query_params={key: value for key, value in parameters.items() if value})


if __name__ == "__main__":
    show()
