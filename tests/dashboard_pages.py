"""What tests of pages ask a page for."""

from streamlit.testing.v1 import AppTest


def sound(app: AppTest) -> AppTest:
    """The app, having raised nothing."""
    assert not app.exception, [(error.message, error.stack_trace) for error in app.exception]
    return app


def html_of(app: AppTest) -> str:
    """All HTML of a page, style left out."""
    parts = [element.value for element in app.get("html")]
    return "\n".join(part for part in parts if not part.startswith("<style>"))
