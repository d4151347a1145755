"""The app that `evalkit dashboard` serves. Pages are files; each shows itself when Streamlit runs it.

Their folder must not be called "pages": Streamlit would run its files without this one on the first deep link.
"""

import streamlit as st
from PIL import Image, ImageDraw

from dashboard.markup.samples import PAGE_STYLE, notice
from dashboard.visitor import pages_of_visitor
from evalkit.errors import EvalkitError

PAGES = (
    ("overview", "Overview", ":material/leaderboard:"),
    ("compare", "Compare", ":material/compare_arrows:"),
    ("fronts", "Fronts", ":material/show_chart:"),
    ("samples", "Samples", ":material/image_search:"),
    ("objects", "Objects", ":material/grid_on:"),
    ("training", "Training", ":material/trending_down:"),
    ("live", "Live", ":material/play_circle:"),
    ("annotate", "Annotate", ":material/edit_note:"),
    ("agreement", "Agreement", ":material/handshake:"),
)


def _icon() -> Image.Image:
    """An eye, drawn here: named icons and emoji would be fetched from a server."""
    icon = Image.new("RGBA", (64, 64))
    draw = ImageDraw.Draw(icon)
    draw.ellipse((2, 14, 62, 50), fill="#0b6bcb")
    draw.ellipse((20, 20, 44, 44), fill="white")
    draw.ellipse((26, 26, 38, 38), fill="#11151c")
    return icon


def main() -> None:
    """Set the page up and run the one that the URL names."""
    st.set_page_config(page_title="evalkit", page_icon=_icon(), layout="wide")
    st.html(f"<style>{PAGE_STYLE}</style>")
    known = {name: (title, icon) for name, title, icon in PAGES}
    try:
        names = pages_of_visitor(tuple(known))
    except EvalkitError as error:
        st.html(notice(str(error), "error"))
        return
    pages = [
        st.Page(f"views/{name}.py", title=known[name][0], icon=known[name][1], url_path=name, default=name == names[0])
        for name in names
    ]
    st.navigation(pages).run()


if __name__ == "__main__":
    main()
