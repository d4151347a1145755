"""The app that `evalkit dashboard` serves. Pages are files; each shows itself when Streamlit runs it."""

import streamlit as st

from dashboard.highlight import PAGE_STYLE

PAGES = (
    ("overview", "Overview", ":material/leaderboard:"),
    ("compare", "Compare", ":material/compare_arrows:"),
    ("samples", "Samples", ":material/image_search:"),
    ("objects", "Objects", ":material/grid_on:"),
    ("training", "Training", ":material/trending_down:"),
    ("live", "Live", ":material/play_circle:"),
)


def main() -> None:
    """Set the page up and run the one that the URL names."""
    st.set_page_config(page_title="evalkit", page_icon=":material/visibility:", layout="wide")
    st.html(f"<style>{PAGE_STYLE}</style>")
    pages = [
        st.Page(f"pages/{name}.py", title=title, icon=icon, url_path=name, default=name == "overview")
        for name, title, icon in PAGES
    ]
    st.navigation(pages).run()


if __name__ == "__main__":
    main()
